"""The backends on which the tests of the mathematics run, and what holds for a whole run of the tests."""

import gc
import importlib
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_double import cupy_double  # noqa: F401 - a fixture

import deepxp
from deepxp.backend import Backend

BACKENDS = ("numpy", "numba", "reference", "strict", "cupy_double", pytest.param("gpu", marks=pytest.mark.gpu))


def make_backend(name, monkeypatch):
    """The backend of a name in BACKENDS; skips with the reason where there is no GPU."""
    if name == "numpy":
        return Backend("numpy", np, importlib.import_module("deepxp.kernels.numpy"))
    if name == "numba":
        pytest.importorskip("numba")
        return Backend("numba", np, importlib.import_module("deepxp.kernels.numba"))
    if name == "reference":
        return Backend("reference", np)
    if name == "strict":
        pytest.importorskip("array_api_strict")  # not on every machine that has a GPU
        return importlib.import_module("namespaces.strict").backend()
    if name == "cupy_double":
        from cupy_double import install

        install(monkeypatch)
        return deepxp.backend("gpu")
    gpu = next(device for device in deepxp.devices() if device.name != "cpu")
    if not gpu.usable:
        pytest.skip(gpu.reason)
    return deepxp.backend("gpu")


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """NumPy with its kernels, Numba's or none, array_api_strict on `device1`, the double of CuPy, and a GPU."""
    return make_backend(request.param, monkeypatch)


@pytest.fixture(params=BACKENDS[-2:])
def gpu(request, monkeypatch):
    """A GPU, pretended and real: what only a GPU can prove is run on the double, too, so that no test runs for the
    first time where one is at hand."""
    return make_backend(request.param, monkeypatch)


def pytest_collection_finish():
    """What was imported to collect the tests stays to the end: no garbage collection needs to look at it again. With a
    recorded step comes one, and the hundred thousands of objects of SymPy, Numba and others took it 0.1 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _an_interrupt_is_heard():
    """A shell starts what it runs in the background deaf to Ctrl-C, which children of a process inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _undrawn():
    """curves.png takes longer to draw than the trainings of the tests: it is empty, but for a test that asks for
    `drawn`."""
    with pytest.MonkeyPatch.context() as patch:
        empty = SimpleNamespace(draw=lambda records, path: path.write_bytes(b""))
        patch.setattr("deepxp.cli.curves", empty, raising=False)
        yield


@pytest.fixture
def drawn(monkeypatch):
    """curves.png is drawn."""
    monkeypatch.delattr("deepxp.cli.curves")
    monkeypatch.setattr("deepxp.cli.curves", importlib.import_module("deepxp.cli.curves"))
