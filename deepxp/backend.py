"""A backend is a value: a name, an array namespace, its kernels, and how arrays get in and out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from deepxp.devices import cupy_for, parse
from deepxp.errors import ConfigError, DeviceError, MixedDevicesError
from deepxp.kernels import cublas, streams
from deepxp.memory import available
from deepxp.namespaces import describe, device_name, host_array, is_array, library
from deepxp.ops.typing import Array, Namespace

FULL = "fp32"
PRECISIONS = (FULL, "tf32", "bf16", "fp16")  # of the products of float32; all but the first only on a GPU
NOTHING = nullcontext()
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

    def copied(self, J: Array) -> Array:
        """A number of this device in memory of its own."""
        return J[()] if self.xp is np else J + 0.0

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


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CuPy on one GPU. CuPy's creation functions take no device: they use the current one, which `active` sets.

    Whatever is done here is done on deepxp's stream, so it is in order with every step, whatever stream the caller
    uses.
    """

    overhead: ClassVar[int] = cublas.WORKSPACE

    def owns(self, x: Any) -> bool:
        return library(x) == "cupy" and x.device.id == self.device.id

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        with self.active():
            return self.xp.empty(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        with self.active():
            return self.xp.zeros(shape, dtype=dtype)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        if is_array(x) and not self.owns(x) and device_name(x) != "cpu":
            if device_name(x) != self.name:
                raise MixedDevicesError(
                    f"expected an array on {self.name} or on the cpu, got a {describe(x)}; move it first"
                )
            x = self.xp.from_dlpack(x)
        with self.active():
            return self.xp.asarray(x if self.owns(x) else host_array(x), dtype=dtype)

    def asnumpy(self, x: Array) -> Array:
        with self.active():
            return x.get()

    def write(self, out: Array, x: Any) -> None:
        with self.active():
            if is_array(x) and device_name(x) != "cpu":
                out[...] = self.asarray(x)
            else:  # in the order of the stream; what is not page-locked has been read when `set` returns
                host = np.ascontiguousarray(host_array(x), dtype=out.dtype)
                out.set(host, stream=self.xp.cuda.get_current_stream())

    def numbers(self, count: int, dtype: str) -> tuple[Any, Any]:
        with self.active():
            sent = streams.Numbers(self.xp, import_module("cupyx").empty_pinned, count, dtype)
        return sent, sent.device

    def lane(self, shape: tuple[int, ...], dtype: Any) -> streams.Lane:
        """A way here for tables that stay on the host, up to `shape` rows and columns at a time."""
        with self.active():
            return streams.Lane(self.xp, import_module("cupyx").empty_pinned, shape, dtype)

    def free_memory(self) -> int | None:
        with self.active():
            return int(self.device.mem_info[0]) + int(self.xp.get_default_memory_pool().free_bytes())

    def synchronize(self) -> None:
        with self.active():
            self.xp.cuda.get_current_stream().synchronize()

    def here(self) -> AbstractContextManager[Any]:
        return streams.Active(self.xp, self.device)

    active = here


def cpu() -> Backend:
    """NumPy with the compiled kernels where Numba is installed, else with those in NumPy itself."""
    try:
        kernels = import_module("deepxp.kernels.numba")  # a quarter of a second, so only for who needs it
    except ImportError:  # not installed, or for another NumPy: `deepxp info` says which
        kernels = import_module("deepxp.kernels.numpy")
    return Backend("cpu", np, kernels)


def gpu(index: int = 0, precision: str = FULL) -> Backend:
    """CuPy on GPU `index`. Raises DeviceError with the reason and the fix where it is not usable."""
    cupy, index = cupy_for(index)
    kernels, device = import_module("deepxp.kernels.precision").KERNELS[precision], cupy.cuda.Device(index)
    return CupyBackend(f"gpu:{index}", cupy, kernels, device, read_loss_every=READ_LOSS_EVERY)


def backend(name: "str | Backend" = "auto", precision: str = FULL) -> Backend:
    """The backend of a device: 'cpu', 'gpu', 'gpu:N' ('cuda[:N]' is an alias), or 'auto': the first usable GPU, else
    the CPU. A backend is returned as it is.

    `precision` is that of the products of float32 on a GPU: 'fp32'; 'tf32', 'bf16' and 'fp16' are shorter, less exact.

    Raises ConfigError for any other name, and for a shorter precision on the CPU; DeviceError where a GPU is asked for
    and not usable. Only 'auto' ever falls back to the CPU.
    """
    if isinstance(name, Backend):
        return name
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    kind, index = parse(name)
    if kind != "cpu":
        try:
            return gpu(index or 0, precision)
        except DeviceError:
            if kind == "gpu":
                raise
    if precision != FULL:
        raise ConfigError(
            f"precision {precision!r} is an arithmetic of GPUs, and the device is the cpu: there it is {FULL!r}"
        )
    return cpu()
