"""A backend on which memory that must not be read holds NaN.

Memory that nothing has been written to is NaN; what an op fills is NaN before it runs; what it consumes is NaN after
it. A step that reads any of those is not the same step any more.
"""

import inspect
from dataclasses import dataclass

import numpy as np

from deepxp.backend import Backend

FILLS = {
    "dense_forward": ("Z", "A"),
    "activation_backward": ("dZ", "db"),
    "weight_gradient": ("dW",),
    "input_gradient": ("dA_prev",),
    "softmax_cross_entropy": ("losses", "dZ"),
    "softmax_cross_entropy_labels": ("losses", "dZ"),
    "sigmoid_cross_entropy": ("losses", "dZ"),
    "squared_error": ("losses", "dZ"),
    "dropout": ("out",),
    "gather": ("out",),
}


def consumed(op, call):
    """The arguments that the docstring of `op` calls consumed in this call."""
    if op.__name__ == "activation_backward":
        return ("dA",)
    if op.__name__ == "dense_forward" and call["g"].reads == "A":
        return ("Z",)
    return ()


def poison(x):
    """Numbers nobody may use: NaN, or for integers the largest."""
    x[...] = np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).max


@dataclass(frozen=True)
class PoisonBackend(Backend):
    """NumPy, with `kernels` or without."""

    def empty(self, shape, dtype):
        out = np.empty(shape, dtype)
        poison(out)
        return out

    def __getitem__(self, op):
        run, names = super().__getitem__(op), list(inspect.signature(op).parameters)[1:]

        def poisoned(*arguments):
            call = dict(zip(names, arguments, strict=True))
            fills = [call[name] for name in FILLS.get(op.__name__, ())]
            arrays = [x for x in arguments if isinstance(x, np.ndarray)]
            for out in fills:
                # an output that is also an argument is the caller's way of saying: in place
                if sum(np.shares_memory(out, x) for x in arrays) == 1 or op.__name__ == "dense_forward":
                    poison(out)
            result = run(*arguments)
            for name in consumed(op, call):
                if not any(np.shares_memory(call[name], out) for out in fills if out is not call[name]) and not any(
                    call[name] is out and other != name for other, out in call.items()
                ):
                    poison(call[name])
            return result

        return poisoned
