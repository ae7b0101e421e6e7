"""What the benchmarks run on: each usable device with its kernels and without them."""

import time
from dataclasses import dataclass

import numpy as np

import deepxp
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels


@dataclass(frozen=True)
class Engine:
    """A backend under the name that it has in the tables."""

    name: str
    backend: Backend

    def timer(self) -> float:
        """The clock, read when the device has done all it was asked to."""
        self.backend.synchronize()
        return time.perf_counter()

    def repeats(self, op) -> bool:
        """Is the op here the same function as on another engine in the table?"""
        kernels = self.backend.kernels
        if kernels is None:
            return False
        own, numpys = getattr(kernels, op.__name__, None), getattr(numpy_kernels, op.__name__, None)
        return own is None or (kernels is not numpy_kernels and own is numpys)


def engines() -> dict[str, Engine]:
    """By name: the definitions on each namespace, and the kernels there."""
    found = [Engine("cpu, definitions", Backend("cpu", np)), Engine("cpu, NumPy", Backend("cpu", np, numpy_kernels))]
    try:
        from deepxp.kernels import numba as numba_kernels
    except ImportError:
        pass
    else:
        found.append(Engine("cpu, Numba", Backend("cpu", np, numba_kernels)))
    for device in deepxp.devices():
        if device.usable and device.name != "cpu":
            gpu = deepxp.backend(device.name)
            plain = type(gpu)(gpu.name, gpu.xp, None, gpu.device, gpu.read_loss_every)
            found += [Engine(f"{device.name}, definitions", plain)]
            if gpu.kernels is not None:
                found.append(Engine(f"{device.name}, CuPy", gpu))
    return {engine.name: engine for engine in found}
