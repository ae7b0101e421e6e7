"""The xp of the array-API standard, on a device that is not the host.

array_api_strict refuses what the standard does not have, and arrays of `device1` refuse to meet arrays of another
device or to become NumPy arrays by themselves: what runs here has no host copy hidden in it.
"""

from dataclasses import dataclass

import array_api_strict
import numpy as np

from deepxp.backend import Backend

Array = type(array_api_strict.zeros(0))
DEVICE = array_api_strict.Device("device1")
HOST = array_api_strict.Device("CPU_DEVICE")


@dataclass(frozen=True)
class StrictBackend(Backend):
    """array_api_strict on `device1`, with the transfers spelt out."""

    def owns(self, x):
        return isinstance(x, Array) and x.device == self.device

    def asarray(self, x, dtype=None):
        kind = None if dtype is None else getattr(self.xp, dtype)
        if not self.owns(x):
            assert isinstance(x, np.ndarray), f"expected an array of this device or of the host, got {type(x)}"
            x = self.xp.asarray(x, device=HOST).to_device(self.device)
        return x if kind is None else self.xp.astype(x, kind, copy=False)

    def asnumpy(self, x):
        return np.asarray(x.to_device(HOST))

    def write(self, out, x):
        out[...] = self.xp.astype(self.asarray(x), out.dtype, copy=False)


def backend():
    """The generic path, no kernels."""
    return StrictBackend("device1", array_api_strict, device=DEVICE)
