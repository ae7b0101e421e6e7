import json
import subprocess
import sys

import numpy as np
import pytest
from cupy_double import install, uninstall
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.backend import Backend, CupyBackend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops.activations import softmax
from deepxp.ops.losses import log_softmax

Z = np.linspace(-3.0, 3.0, 12).reshape(4, 3)


def run(code):
    """What a fresh interpreter prints as JSON."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


# what a backend gives for an op


def test_an_op_with_a_kernel_is_the_kernel():
    assert Backend("cpu", np, numpy_kernels)[softmax].func is numpy_kernels.softmax


def test_an_op_without_a_kernel_is_the_definition():
    assert not hasattr(numpy_kernels, "log_softmax")
    assert Backend("cpu", np, numpy_kernels)[log_softmax].func is log_softmax


def test_the_reference_backend_has_definitions_only():
    reference = Backend("reference", np)
    assert reference[softmax].func is softmax
    assert_array_equal(reference[softmax](Z), softmax(np, Z))


def test_the_namespace_is_filled_in():
    seen = []

    def op(xp, x):
        seen.append(xp)
        return x

    assert dx.backend("cpu")[op](7) == 7
    assert seen == [np]


def test_a_kernel_takes_part_by_its_name_alone():
    class Kernels:
        @staticmethod
        def softmax(xp, Z):
            return "the kernel"

    assert Backend("custom", np, Kernels)[softmax](Z) == "the kernel"


# by name


def test_cpu():
    backend = dx.backend("cpu")
    assert (backend.name, backend.xp, backend.read_loss_every) == ("cpu", np, 1)


def test_a_backend_is_returned_as_it_is():
    backend = dx.backend("cpu")
    assert dx.backend(backend) is backend
    assert dx.Network((2, 2), backend=backend).backend is backend


def test_two_lookups_give_equal_values_and_a_value_cannot_be_changed():
    assert dx.backend("cpu") == dx.backend("cpu")
    with pytest.raises(AttributeError):
        dx.backend("cpu").name = "gpu"


@pytest.mark.parametrize("name", ["tpu", "", "GPU", "gpu:x", "cpu:0", None, 0])
def test_a_name_that_does_not_exist(name):
    with pytest.raises(dx.ConfigError, match=r"'auto', 'cpu', 'gpu'") as caught:
        dx.backend(name)
    assert repr(name) in str(caught.value)


def test_auto_falls_back_to_the_cpu(monkeypatch):
    uninstall(monkeypatch)
    assert dx.backend("auto").name == "cpu"
    assert dx.Network((2, 2)).backend.name == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda", "gpu:0", "cuda:1"])
def test_only_auto_falls_back(monkeypatch, name):
    uninstall(monkeypatch)
    with pytest.raises(dx.DeviceError, match="To fix it: "):
        dx.backend(name)
    with pytest.raises(dx.DeviceError):
        dx.Network((2, 2), backend=name)


def test_a_gpu_that_is_there_and_does_not_compute_is_no_gpu(monkeypatch):
    install(monkeypatch, faults=("cublas",))
    assert dx.backend("auto").name == "cpu"
    with pytest.raises(dx.DeviceError, match="cuBLAS"):
        dx.backend("gpu")


def test_auto_takes_the_gpu_that_computes(monkeypatch):
    install(monkeypatch, devices=2)
    backend = dx.backend("auto")
    assert isinstance(backend, CupyBackend)
    assert backend.name == "gpu:0"
    assert backend.xp is sys.modules["cupy"]
    assert dx.backend("cuda:1").name == "gpu:1"


# how arrays get in and out


def test_memory_in_the_right_precision_is_taken_as_it_is():
    backend, x = dx.backend("cpu"), np.ones((3, 2), np.float32)
    assert backend.asarray(x) is x
    assert backend.asarray(x, "float32") is x
    assert backend.asarray(x, "float64").dtype == np.float64
    assert backend.asnumpy(x) is x
    assert_array_equal(backend.asarray([[1, 2]], "float32"), np.array([[1, 2]], np.float32))


def test_new_memory_and_writing():
    backend = dx.backend("cpu")
    out = backend.empty((2, 2), "float32")
    assert (out.shape, out.dtype) == ((2, 2), np.float32)
    assert_array_equal(backend.zeros((3,), "uint16"), np.zeros(3, np.uint16))
    backend.write(out, np.arange(4.0).reshape(2, 2))
    assert_array_equal(out, np.arange(4, dtype=np.float32).reshape(2, 2))


def test_the_cpu_has_nothing_to_wait_for():
    assert dx.backend("cpu").synchronize() is None


def test_inside_active_overflow_is_left_to_the_check_of_the_loss():
    with dx.backend("cpu").active():
        assert np.isinf(np.float32(1e38) * np.float32(1e38))
    with pytest.warns(RuntimeWarning, match="overflow"):
        np.float32(1e38) * np.float32(1e38)


# what `import deepxp` costs

SLOW = {
    "cupy", "cupyx", "numba", "llvmlite", "scipy", "sympy", "sklearn", "matplotlib", "pandas", "torch", "jax",
    "array_api_compat", "array_api_strict", "safetensors", "importlib.metadata", "ctypes", "asyncio", "unittest",
    "multiprocessing", "concurrent.futures", "email", "http", "ssl", "socket", "xml", "logging", "sqlite3",
}  # fmt: skip

IMPORTED = """
import sys, json, numpy
before = set(sys.modules)
import deepxp
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_needs_nothing_slow():
    added = run(IMPORTED)
    assert "deepxp.network" in added
    assert not {name for name in added if name in SLOW or name.partition(".")[0] in SLOW}


def test_the_check_of_imports_sees_a_slow_one():
    assert "sqlite3" in run(IMPORTED.replace("import deepxp", "import sqlite3"))


def test_importing_needs_numpy_only():
    """Every package that is neither NumPy nor the standard library is hidden."""
    code = """
import sys, json
from importlib.machinery import PathFinder
class Few(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top in ("numpy", "deepxp", "mkl")
        return super().find_spec(name, path, target) if known else None
sys.meta_path[sys.meta_path.index(PathFinder)] = Few
import numpy
import deepxp as dx
net = dx.Network((4, 3, 2), seed=1)
X = numpy.linspace(0.0, 1.0, 24).reshape(4, 6)
dx.train(net, X, numpy.arange(6) % 2, epochs=1, batch_size=4)
print(json.dumps([net.backend.name, dx.devices()[1].usable, net.predict(X).tolist()]))
"""
    name, usable, labels = run(code)
    assert (name, usable) == ("cpu", False)
    assert len(labels) == 6
