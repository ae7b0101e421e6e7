"""The contenders by name: `CONTENDERS[name](task, threads, request)` builds the cases of a task.

A case is something to call over and over. Libraries are imported by the contender's own module, in its own process;
one that is missing is an ImportError, which is the reason that the table gives.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import cycle, islice


class Case:
    """`call(batch)` for batch after batch, in turns; `wait()` returns when the device has done it all."""

    def __init__(self, call: Callable, batches=((),), wait: Callable = lambda last: None) -> None:
        self.call, self.batches, self.wait = call, cycle(batches), wait

    def run(self, steps: int) -> None:
        """That many calls, waited for at the end."""
        call, last = self.call, None
        for batch in islice(self.batches, steps):
            last = call(*batch)
        self.wait(last)

    def values(self, steps: int) -> list:
        """The numbers that many calls give, each read before the next call: it may be written to the same memory."""
        return [self.number(self.call(*batch)) for batch in islice(self.batches, steps)]

    def number(self, given: object) -> float:
        """What a call gave, as a number."""
        return float(given)


def _from(module: str, **options: object) -> Callable:
    def build(task: str, threads: int, request: dict) -> dict[str, Case]:
        builders = import_module(f"contenders.{module}").TASKS
        if task not in builders:
            raise LookupError(f"takes no part in {task}")
        return builders[task](threads=threads, **options, **request)

    return build


CONTENDERS = {
    "deepxp": _from("ours", engine="numba"),
    "deepxp (NumPy alone)": _from("ours", engine="numpy"),
    "deepxp (GPU)": _from("ours", engine="gpu"),
    "PyTorch eager": _from("pytorch", compiled=False),
    "torch.compile": _from("pytorch", compiled=True),
    "JAX jit": _from("jax_jit"),
    "scikit-learn": _from("sklearn_mlp"),
    "thinc": _from("thinc_mlp"),
    "fake": _from("fake"),
}
