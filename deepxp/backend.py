"""A backend is a value: a name, an array namespace, its kernels, and how arrays get in and out."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from deepxp.devices import cupy_for, parse
from deepxp.errors import DeviceError, MixedDevicesError
from deepxp.namespaces import describe, device_name, host_array, is_array, library
from deepxp.ops.typing import Array, Namespace

READ_LOSS_EVERY = 50  # steps between two host reads of the loss on a device that works asynchronously


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

    def __getitem__(self, op: Callable[..., Any]) -> Callable[..., Any]:
        shadowed = getattr(op, "__module__", "").startswith("deepxp.ops.")  # a user's function of the same name is not
        return partial(getattr(self.kernels, op.__name__, op) if shadowed else op, self.xp)

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
        out[...] = x if self.xp is np and isinstance(x, np.ndarray) else self.asarray(x)

    def copied(self, J: Array) -> Array:
        """A number of this device in memory of its own."""
        return J[()] if self.xp is np else J + 0.0

    def record(self, step: "Callable[[Backend], None]") -> Callable[[], None]:
        """A step over static memory, made ready to be run many times: recorded once where the kernels can, else the
        step itself, on this backend."""
        recorder = getattr(self.kernels, "record", None)
        return partial(step, self) if recorder is None else recorder(self, step)

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked to."""

    def active(self) -> AbstractContextManager[Any]:
        """Inside, this device is the current one, and overflow is left to the check of the loss, which names the layer,
        instead of to NumPy's warnings."""
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CuPy on one GPU. CuPy's creation functions take no device: they use the current one, which `active` sets."""

    def owns(self, x: Any) -> bool:
        return library(x) == "cupy" and x.device.id == self.device.id

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        with self.device:
            return self.xp.empty(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        with self.device:
            return self.xp.zeros(shape, dtype=dtype)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        if is_array(x) and not self.owns(x) and device_name(x) != "cpu":
            if device_name(x) != self.name:
                raise MixedDevicesError(
                    f"expected an array on {self.name} or on the cpu, got a {describe(x)}; move it first"
                )
            x = self.xp.from_dlpack(x)
        with self.device:
            return self.xp.asarray(x if self.owns(x) else host_array(x), dtype=dtype)

    def asnumpy(self, x: Array) -> Array:
        return x.get()

    def write(self, out: Array, x: Any) -> None:
        if is_array(x) and device_name(x) != "cpu":
            out[...] = self.asarray(x)
        else:
            out.set(np.ascontiguousarray(host_array(x), dtype=out.dtype))

    def synchronize(self) -> None:
        with self.device:
            self.xp.cuda.get_current_stream().synchronize()

    def active(self) -> AbstractContextManager[Any]:
        return self.device  # type: ignore[no-any-return]


def cpu() -> Backend:
    """NumPy with the compiled kernels where Numba is installed, else with those in NumPy itself."""
    try:
        kernels = import_module("deepxp.kernels.numba")  # a quarter of a second, so only for who needs it
    except ImportError:  # not installed, or for another NumPy: `deepxp info` says which
        kernels = import_module("deepxp.kernels.numpy")
    return Backend("cpu", np, kernels)


def gpu(index: int = 0) -> Backend:
    """CuPy on GPU `index`. Raises DeviceError with the reason and the fix where it is not usable."""
    cupy, index = cupy_for(index)
    kernels, device = import_module("deepxp.kernels.cupy"), cupy.cuda.Device(index)
    return CupyBackend(f"gpu:{index}", cupy, kernels, device, read_loss_every=READ_LOSS_EVERY)


def backend(name: "str | Backend" = "auto") -> Backend:
    """The backend of a device: 'cpu', 'gpu', 'gpu:N' ('cuda[:N]' is an alias), or 'auto': the first usable GPU, else
    the CPU. A backend is returned as it is.

    Raises ConfigError for any other name; DeviceError where a GPU is asked for and not usable. Only 'auto' ever falls
    back to the CPU.
    """
    if isinstance(name, Backend):
        return name
    kind, index = parse(name)
    if kind == "cpu":
        return cpu()
    if kind == "gpu":
        return gpu(index or 0)
    try:
        return gpu()
    except DeviceError:
        return cpu()
