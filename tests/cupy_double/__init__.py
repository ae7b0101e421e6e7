"""A test double of CuPy: it behaves like CuPy where CuPy differs from NumPy, and needs no GPU.

    def test_something(cupy_double):            # one GPU; `cupy` in sys.modules is the double
        import cupy
        with cupy_double.counting() as seen:
            step(X, Y)
        assert seen.allocations == seen.host_waits == seen.host_to_device == 0

    def test_two_gpus(monkeypatch):
        machine = install(monkeypatch, devices=2, memory=1 << 20)

CUDA source runs, too: `RawModule` compiles it for the host (tests/cuda_shim).

What it is for: a device array forgotten on its way to the host, a host array on its way to the device, `float(x)` in
a loop, an array of another device than the current one, a label out of range (wraps), uninitialised memory (NaN), an
allocation or a copied operand in a step that should have none, running out of memory, and every way in which a GPU can
be unusable. What it cannot show: races between streams (a kernel runs at once), and how fast anything is.

It offers no name and no parameter that CuPy 14.2 does not have (tests/test_cupy_double.py compares them), and it is
stricter in two places: arrays of two devices always raise, as on a machine without peer access, and functions in which
CuPy would silently compute with NumPy (`cupy.sum(numpy_array)`) raise.
"""

import importlib
import sys
from importlib.abc import MetaPathFinder
from types import ModuleType

import numpy as np
import pytest

from . import array, cublas, cuda, functions, raw, runtime, state
from .state import Counters, State

__all__ = ["Counters", "State", "break_import", "cupy_double", "install", "uninstall"]

array._operators()


def install(monkeypatch: pytest.MonkeyPatch, wheels: tuple[str, ...] = ("cupy-cuda13x",), **machine: object) -> State:
    """Put a fresh double into `sys.modules` for the rest of the test; returns the pretended machine.

    `machine`: devices=1, driver=13020 (0: none), runtime=13020, memory=1 << 30 (bytes of each device),
    capability="90", version="14.2.0", faults=() of "nvrtc", "headers", "cublas", "busy", "wrong".
    """
    now = State(**machine)  # type: ignore[arg-type]
    monkeypatch.setattr(state, "now", now)
    uninstall(monkeypatch, wheels)
    monkeypatch.setattr(cuda._null, "_pending", [])
    now.cublas = cublas.Library()
    products, streams = (importlib.import_module(f"deepxp.kernels.{name}") for name in ("cublas", "streams"))
    monkeypatch.setattr(products, "library", lambda xp: now.cublas)
    monkeypatch.setattr(products, "_leases", products._Leases())
    monkeypatch.setattr(products, "_free", {})
    monkeypatch.setattr(streams, "_streams", streams._Streams())

    modules = {name: ModuleType(name) for name in ("cupy", "cupy.cuda", "cupy.linalg", "cupyx")}
    for name, source in (("cupy", functions), ("cupy.cuda", cuda)):
        modules[name].__dict__.update({key: getattr(source, key) for key in source.__all__})
    modules["cupy.cuda.runtime"] = ModuleType("cupy.cuda.runtime")
    modules["cupy.cuda.runtime"].__dict__.update({key: getattr(runtime, key) for key in runtime.__all__})
    modules["cupy.cuda.memory"] = ModuleType("cupy.cuda.memory")
    modules["cupy.cuda.memory"].__dict__.update(
        OutOfMemoryError=state.OutOfMemoryError, MemoryPool=cuda.MemoryPool, MemoryPointer=array.MemoryPointer
    )
    del modules["cupy.cuda"].OutOfMemoryError
    modules["cupy"].__dict__.update(__version__=now.version, __path__=[], RawModule=raw.RawModule)
    modules["cupy.linalg"].__dict__.update(norm=functions.norm, matmul=functions.matmul)
    modules["cupyx"].__dict__.update(empty_pinned=empty_pinned, zeros_pinned=zeros_pinned)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return now


def uninstall(monkeypatch: pytest.MonkeyPatch, wheels: tuple[str, ...] = ()) -> None:
    """Hide the real CuPy: `import cupy` then says that there is none."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cupy", "cupyx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cupy", None)
    devices = importlib.import_module("deepxp.devices")  # the attribute of that name is a function
    monkeypatch.setattr(devices, "cupy_wheels", lambda: wheels)


def break_import(
    monkeypatch: pytest.MonkeyPatch, error: Exception, wheels: tuple[str, ...] = ("cupy-cuda13x",)
) -> None:
    """Let `import cupy` raise `error`."""

    class Broken(MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "cupy":
                raise error

    uninstall(monkeypatch, wheels)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])


@pytest.fixture
def cupy_double(monkeypatch: pytest.MonkeyPatch) -> State:
    """The double in place of CuPy, on a machine with one GPU."""
    return install(monkeypatch)


def empty_pinned(shape, dtype=float, order="C"):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, cuda.alloc_pinned_memory(size), order=order)


def zeros_pinned(shape, dtype=float, order="C"):
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made
