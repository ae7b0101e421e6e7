"""A backend of any array library whose arrays can be written, on one of its devices."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import numpy as np

from deepxp.dispatch import Backend
from deepxp.errors import DeviceError
from deepxp.interop import bits
from deepxp.namespaces import asnumpy, host_array, is_array, on_host
from deepxp.ops.typing import Array, Namespace

READ_LOSS_EVERY = 50  # steps between two host reads of the loss on a device that works asynchronously


@dataclass(frozen=True)
class LibraryBackend(Backend):
    """The definitions on the arrays of a library; `arrays` is their class, `device` where they live."""

    kernels: ModuleType | None = bits
    arrays: Any = object

    @classmethod
    def of(cls, name: str, xp: Namespace, device: Any) -> Self:
        """The backend of a namespace on a device, or on the library's default device.

        Raises DeviceError where the library has no such device.
        """
        try:
            probe = xp.empty((0,), dtype=xp.float32, device=device)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise DeviceError(f"{name} is not usable here: {reason}. To fix it: take a device that it has") from None
        every = 1 if on_host(probe) else READ_LOSS_EVERY
        return cls(name, xp, device=probe.device, read_loss_every=every, arrays=type(probe))

    def kind(self, dtype: str) -> Any:
        """The library's word for a precision."""
        return getattr(self.xp, dtype)

    def owns(self, x: Any) -> bool:
        return isinstance(x, self.arrays) and bool(x.device == self.device)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.empty(shape, dtype=self.kind(dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.zeros(shape, dtype=self.kind(dtype), device=self.device)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """x on this device: the same memory where it is there already, or there in another library's array.

        Memory that is read-only is shared, too, where the library takes it: do not write into it.

        Raises MixedDevicesError for an array that is neither here nor on the host.
        """
        kind = None if dtype is None else self.kind(dtype)
        if not self.owns(x):
            x = self.xp.from_dlpack(x) if self._shares(x) else self.shared(host_array(x))
        return self.xp.asarray(x, dtype=kind, device=self.device)

    def _shares(self, x: Any) -> bool:
        """Is it an array of another library on this device, which is not the host?"""
        if not is_array(x) or on_host(x) or isinstance(x, self.arrays):
            return False
        return bool(x.__dlpack_device__() == self.empty((0,), "float32").__dlpack_device__())

    def shared(self, x: Array) -> Array:
        """A host array as an array of the library, in the same memory where the library can use it."""
        try:
            return self.xp.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError):  # byte order, strides, or what may not be written
            return self.xp.asarray(np.array(x, dtype=x.dtype.newbyteorder("=")))

    def asnumpy(self, x: Array) -> Array:
        return asnumpy(x)

    def write(self, out: Array, x: Any) -> None:
        out[...] = self.xp.asarray(self.asarray(x), dtype=out.dtype)

    def free_memory(self) -> int | None:
        return super().free_memory() if on_host(self.empty((0,), "float32")) else None


@dataclass(frozen=True)
class TorchBackend(LibraryBackend):
    """torch, seen through array-api-compat; inside `active` it records no gradients."""

    def kind(self, dtype: str) -> Any:
        return self.xp.int32 if dtype == "uint16" else getattr(self.xp, dtype)  # torch does not compare uint16

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        return super().asarray(x.detach() if isinstance(x, self.arrays) else x, dtype)

    def here(self) -> AbstractContextManager[Any]:
        return self.xp.no_grad()  # type: ignore[no-any-return]

    active = here

    def free_memory(self) -> int | None:
        if self.device.type == "cuda":
            return int(self.xp.cuda.mem_get_info(self.device)[0])
        return super().free_memory()

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            getattr(self.xp, self.device.type).synchronize()
