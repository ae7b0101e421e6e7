"""A network on any array namespace, and what is said where it cannot be; array_api_strict is the namespace here."""

import math
import pickle
import sys
from types import SimpleNamespace

import array_api_strict as strict
import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp import rng
from deepxp.data.scaling import Scaler
from deepxp.interop import bits
from deepxp.interop.library import LibraryBackend
from deepxp.ops.random import dropout_bits

NUMPY = dx.Backend("numpy", np)  # the definitions on NumPy's arrays
X = np.random.default_rng(0).normal(size=(5, 70))
y = (X[0] * X[1] > 0).astype(int) + (X[2] > 0)


def network(backend, **options):
    return dx.Network((5, 7, 6, 3), hidden=("gelu", "relu"), backend=backend, seed=4, dtype="float64", **options)


# a namespace handed over


def test_a_namespace_is_a_backend():
    backend = dx.backend(strict)
    assert isinstance(backend, LibraryBackend)
    assert (backend.name, backend.xp) == ("array_api_strict", strict)
    assert dx.backend(strict) == backend
    assert backend.owns(strict.ones(2))
    assert not backend.owns(np.ones(2))
    assert not backend.owns(strict.ones(2, device=strict.Device("device1")))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_layer_code_trains_on_it(dropout):
    options = {"epochs": 2, "batch_size": 32, "l2": 1e-3, "clip_norm": 0.5, "validation": (X, y), "patience": 2}
    nets = [network(backend, dropout=dropout) for backend in (NUMPY, strict)]
    assert_array_equal(nets[0].theta, dx.asnumpy(nets[1].theta))
    expected, found = (dx.train(net, X, y, **options).records for net in nets)
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        assert_allclose(*([r[k] for k in r if k != "seconds"] for r in (other, one)), rtol=1e-12)
    assert_allclose(dx.asnumpy(nets[1].theta), nets[0].theta, rtol=1e-10, atol=1e-14)


def test_the_answer_lives_where_the_samples_live():
    net, here = network(strict), network(NUMPY)
    for on_strict in (net.predict_proba(strict.asarray(X)), net.predict(strict.asarray(X))):
        assert net.backend.owns(on_strict)
    assert_allclose(net.predict_proba(X), here.predict_proba(X), rtol=1e-13)
    assert_array_equal(net.predict(X), here.predict(X))


def test_a_scaled_network_takes_arrays_of_any_library():
    scaler = Scaler.fit(X.T, "standard")
    expected = network(NUMPY, scaler=scaler).predict_proba(X)
    for backend in (NUMPY, strict):
        for given, rtol in ((X, 1e-12), (strict.asarray(X), 1e-12), (X.astype(np.float32), 1e-5)):
            found = dx.asnumpy(network(backend, scaler=scaler).predict_proba(given))
            assert_allclose(found, expected, rtol=rtol)


def test_what_is_shared_and_what_is_copied():
    backend, table = dx.backend(strict), np.arange(6.0).reshape(2, 3)
    shared = backend.asarray(table)
    table[0, 0] = 9.0
    assert float(shared[0, 0]) == 9.0
    memory = backend.zeros((2, 3), "float32")
    backend.write(memory, table)
    table[0, 0] = 7.0
    assert float(memory[0, 0]) == 9.0
    swapped = table.astype(">f8")  # not a byte order that DLPack knows
    assert_array_equal(backend.asnumpy(backend.asarray(swapped)), table)


def test_the_bits_of_dropout_are_those_of_every_device():
    backend, seed = dx.backend(strict), 2**64 - 1
    key, counter = rng.dropout_stream(seed, 2**64 - 1, 2**33 + 1)
    out = backend.zeros((9, 11), "uint16")
    assert backend[dropout_bits].func is bits.dropout_bits
    for words in (counter, counter.tolist()):
        backend[dropout_bits](backend.asarray(key), words, 2**40, out)
        expected = rng.dropout_bits(seed, 2**64 - 1, 2**33 + 1, 2**40, (9, 11))
        assert_array_equal(backend.asnumpy(out), expected)
        out[...] = backend.zeros((9, 11), "uint16")


# what is refused, and how it is said


@pytest.mark.parametrize(("xp", "way_out"), [(np, "backend='cpu'"), (SimpleNamespace, None)])
def test_numpy_has_a_backend_of_its_own(xp, way_out):
    if way_out is None:
        with pytest.raises(dx.ConfigError, match="does not exist: use 'auto'"):
            dx.backend(xp)
    else:
        with pytest.raises(dx.ConfigError, match=way_out):
            dx.backend(xp)


def test_cupy_has_a_backend_of_its_own(monkeypatch):
    install(monkeypatch)
    import cupy

    with pytest.raises(dx.ConfigError, match="backend='gpu'"):
        dx.backend(cupy)


def test_a_module_that_is_no_namespace():
    with pytest.raises(dx.ConfigError, match="math is no namespace of the array-API standard, it has no empty"):
        dx.Network((2, 2), backend=math)


@pytest.mark.parametrize("name", ["torch", "torch:cuda:1", "jax", "jax:cpu"])
def test_a_library_that_is_not_installed(monkeypatch, name):
    package = name.split(":")[0]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "deepxp.interop.jax", raising=False)
    with pytest.raises(dx.DeviceError, match=f"{name!r} needs {package}, .* python -m pip install {package}$"):
        dx.backend(name)


@pytest.mark.parametrize("name", ["torch2", "Jax", "tensorflow", "jax.numpy"])
def test_a_library_that_does_not_exist(name):
    with pytest.raises(dx.ConfigError, match=f"device {name!r} does not exist: .* 'torch' or 'jax'"):
        dx.backend(name)


def test_precisions_are_of_deepxps_own_kernels():
    with pytest.raises(dx.ConfigError, match="'tf32' is of deepxp's own kernels"):
        dx.backend(strict, precision="tf32")


class Foreign:
    """An array of a library that names no namespace: what torch and dask look like from here."""

    shape, device = (2, 3), "cpu"

    def __dlpack__(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            None,
            "test_interop array of shape .* names no array namespace of its own; install the adapter: ",
        ),
        ("1.15.0", r"array-api-compat 1\.15\.0 is too old: python -m pip install --upgrade array-api-compat"),
        ("1.16.0", r"array-api-compat does not know it; make it one of numpy"),
    ],
)
def test_a_library_whose_namespace_has_to_be_adapted(monkeypatch, version, message):
    def unknown(x):
        raise TypeError("not a supported array type")

    adapter = version and SimpleNamespace(__version__=version, array_namespace=unknown)
    monkeypatch.setitem(sys.modules, "array_api_compat", adapter)
    with pytest.raises(dx.DataError, match=message):
        dx.relu(Foreign())


def test_an_array_of_another_device(monkeypatch):
    install(monkeypatch)
    import cupy

    for net in (network(NUMPY), network(strict)):
        with pytest.raises(dx.MixedDevicesError, match=r"got a cupy array of shape \(70, 5\) on gpu:0"):
            net.predict(cupy.asarray(X))


class OnGpu:
    """An array of some library on GPU number `index`."""

    shape, device = (2,), "cuda"

    def __init__(self, index):
        self.index = index

    def __dlpack__(self):
        raise NotImplementedError

    def __dlpack_device__(self):
        return 2, self.index  # kDLCUDA


def test_arrays_on_one_gpu_are_shared_and_those_of_another_refused():
    """On a stand-in for a library with a GPU: which way an array takes, not that it arrives."""
    xp = SimpleNamespace(
        float32="float32",
        empty=lambda *shape, **options: OnGpu(1),
        from_dlpack=lambda x: ("shared", x),
        asarray=lambda x, dtype, device: x,
    )
    backend, there = LibraryBackend("double", xp, device="cuda:1", arrays=str), OnGpu(1)
    assert backend.asarray(there) == ("shared", there)
    with pytest.raises(dx.MixedDevicesError, match="expected an array on the cpu, got a test_interop array"):
        backend.asarray(OnGpu(0))


def test_a_copied_network_keeps_its_library():
    net = network(strict)
    assert net.to().backend is net.backend
    assert net.to("cpu").backend.name == "cpu"
    with pytest.raises(dx.ConfigError, match="'array_api_strict' does not exist"):  # a module has no name to find it by
        pickle.loads(pickle.dumps(net))
