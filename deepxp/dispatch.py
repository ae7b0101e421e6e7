"""A backend is a value: a name, an array namespace, its kernels, and how arrays get in and out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from deepxp.memory import available
from deepxp.namespaces import host_array
from deepxp.ops.typing import Array, Namespace

FULL = "fp32"  # the precision of products that are not shortened
NOTHING = nullcontext()


@dataclass(frozen=True)
class Backend:
    """`backend[op]` is the function to call for `op`: its kernel here, or `op` itself, with `xp` filled in.

    The reference is a backend too: the same `xp` with `kernels=None`.
    """

    name: str
    xp: Namespace
    kernels: ModuleType | None = None
    device: Any = None  # in the namespace's own words; None is its default
    read_loss_every: int = 1

    overhead: ClassVar[int] = 0  # bytes that computing takes on the device beside the arrays of a run

    def __getitem__(self, op: Callable[..., Any]) -> Callable[..., Any]:
        shadowed = getattr(op, "__module__", "").startswith("deepxp.ops.")  # a user's function of the same name is not
        return partial(getattr(self.kernels, op.__name__, op) if shadowed else op, self.xp)

    @property
    def precision(self) -> str:
        """Of the products of float32, one of PRECISIONS."""
        return str(getattr(self.kernels, "short_form", FULL))

    def owns(self, x: Any) -> bool:
        """Is x an array of this namespace, on this device?"""
        return isinstance(x, np.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Memory that nothing has been written to."""
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Memory of zeros."""
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """x on this device; the same memory where it already is there in the right precision."""
        kind = None if dtype is None else getattr(self.xp, dtype)
        return self.xp.asarray(x if self.owns(x) else host_array(x), dtype=kind, device=self.device)

    def asnumpy(self, x: Array) -> Array:
        """x on the host."""
        return np.asarray(x)

    def write(self, out: Array, x: Any) -> None:
        """Copy a host or device array into memory of this device, in out's precision."""
        if self.xp is not np or not isinstance(x, np.ndarray):
            x = self.asarray(x)
        if x.dtype == out.dtype:
            out[...] = x
        else:
            with self.active():
                out[...] = x

    def copied(self, x: Array) -> Array:
        """An array of this device in memory of its own."""
        return x[()] if self.xp is np and not x.ndim else x + 0.0

    def array(self, memory: Array) -> Array:
        """What the memory holds, as the array that a user of the library expects."""
        return memory

    def numbers(self, count: int, dtype: str) -> tuple[Any, Any]:
        """(sent, read): what `sent[:] = values` writes is what a recorded step reads from `read` when it runs next."""
        values = [0] * count
        return values, values

    def free_memory(self) -> int | None:
        """Bytes that can still be allocated here; None where the system does not say."""
        return available()

    def record(self, step: "Callable[[Backend], None]", X: Array) -> Callable[..., None]:
        """A step over static memory, made ready to be run many times: recorded once where the kernels can, else the
        step itself, on this backend. X is memory that it only reads: what is returned may be given another table of
        that shape and precision, on this device."""
        recorder = getattr(self.kernels, "record", None)
        if recorder is not None:
            return recorder(self, step, X)  # type: ignore[no-any-return]

        def run(table: Array | None = None) -> None:
            if table is not None:
                X[...] = table
            with self.active():
                step(self)

        return run

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked to."""

    def here(self) -> AbstractContextManager[Any]:
        """Inside, this device is the current one."""
        return NOTHING

    def active(self) -> AbstractContextManager[Any]:
        """Inside, this device is the current one, and overflow is left to the check of the loss, which names the layer,
        instead of to NumPy's warnings."""
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")
