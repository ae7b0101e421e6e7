"""The backends by name: NumPy on the CPU, CuPy on a GPU, or another array library."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from deepxp.devices import cupy_for, parse
from deepxp.dispatch import FULL as FULL
from deepxp.dispatch import Backend as Backend  # where every reader looks for it
from deepxp.errors import ConfigError, DeviceError, MixedDevicesError
from deepxp.kernels import cublas, streams
from deepxp.namespaces import describe, device_name, host_array, is_array, library
from deepxp.ops.typing import Array

PRECISIONS = (FULL, "tf32", "bf16", "fp16")  # of the products of float32; all but the first only on a GPU
LIBRARIES = ("torch", "jax")  # by name, beside the namespaces that are handed over
READ_LOSS_EVERY = 50  # steps between two host reads of the loss on a device that works asynchronously


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


def backend(name: str | Backend | ModuleType = "auto", precision: str = FULL) -> Backend:
    """The backend of a device: 'cpu', 'gpu', 'gpu:N' ('cuda[:N]' is an alias), or 'auto': the first usable GPU, else
    the CPU. A backend is returned as it is.

    Or that of another array library: 'torch', 'jax', one of its devices ('torch:cuda:1', 'torch:mps', 'jax:gpu:0'), or
    any array-API namespace whose arrays can be written.

    `precision` is that of the products of float32 on a GPU: 'fp32'; 'tf32', 'bf16' and 'fp16' are shorter, less exact.

    Raises ConfigError for any other name, and for a shorter precision on the CPU; DeviceError where a GPU is asked for
    and not usable. Only 'auto' ever falls back to the CPU.
    """
    if isinstance(name, Backend):
        return name
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if isinstance(name, ModuleType) or (isinstance(name, str) and name.partition(":")[0] in LIBRARIES):
        if precision != FULL:
            raise ConfigError(
                f"precision {precision!r} is of deepxp's own kernels; another library has its own setting"
            )
        return import_module("deepxp.interop").backend(name)  # type: ignore[no-any-return]
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
