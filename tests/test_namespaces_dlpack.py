"""Memory shared with other libraries in both directions: the addresses are those of the same memory."""

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.data.batches import Batches
from deepxp.data.scaling import Scaler
from deepxp.inputs import samples

pytestmark = pytest.mark.interop

M = 50
X = np.random.default_rng(0).normal(size=(M, 4)).astype(np.float32)  # a row for each sample, as tables are
y = np.arange(M) % 3


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def jax():
    return pytest.importorskip("jax", reason="JAX is not installed")


def address(x):
    """Where the numbers of an array of any of the libraries begin."""
    if isinstance(x, np.ndarray):
        return x.__array_interface__["data"][0]
    return x.data_ptr() if hasattr(x, "data_ptr") else x.unsafe_buffer_pointer()


def aligned(x):
    """A copy of x where JAX can share it: at a multiple of 64."""
    room = np.empty(x.nbytes + 64, np.uint8)
    start = -room.__array_interface__["data"][0] % 64
    out = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def network(backend="cpu", **options):
    return dx.Network((4, 8, 3), backend=backend, seed=1, **options)


def trained_on(backend, given):
    """The table that a run of `train` reads its batches from."""
    table = samples(given, 4)
    return Batches.of(dx.backend(backend), table, y, None, None).X


# in: arrays of other libraries as data


def test_numpy_trains_on_the_memory_of_torch(torch):
    given = torch.tensor(X)
    table = trained_on("cpu", given.T)
    assert type(table) is np.ndarray
    assert address(table) == address(given)


def test_numpy_trains_on_the_memory_of_jax(jax):
    given = jax.numpy.asarray(X)
    table = trained_on("cpu", np.from_dlpack(given).T)  # `given.T` would be a copy that JAX makes
    assert type(table) is np.ndarray
    assert address(table) == address(given)


def test_torch_trains_on_the_memory_of_numpy_and_of_jax(torch, jax):
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    for given in (X, jax.numpy.asarray(X)):
        table = dx.backend("torch").asarray(given)
        assert isinstance(table, torch.Tensor)
        assert address(table) == address(given)
    assert address(trained_on("torch", X.T)) == address(X)


def test_torch_takes_what_is_read_only_without_a_copy(torch, tmp_path):
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert address(trained_on("torch", mapped.T)) == address(mapped)


def test_jax_trains_on_the_memory_of_numpy_and_of_torch(jax, torch):
    given = aligned(X)
    for x in (given, torch.from_dlpack(given)):
        assert address(dx.backend("jax").asarray(x)) == address(given)


@pytest.mark.parametrize("scaler", [None, "standard"])
def test_it_is_the_same_data_whatever_library_it_comes_from(torch, jax, scaler):
    options = {"scaler": scaler and Scaler.fit(X, scaler)}
    expected = dx.train(network(**options), X.T, y, epochs=2).records[-1]["loss"]
    for given, target in ((torch.tensor(X).T, torch.tensor(y)), (jax.numpy.asarray(X).T, jax.numpy.asarray(y))):
        net = network(**options)
        assert dx.train(net, given, target, epochs=2).records[-1]["loss"] == expected
        assert_array_equal(net.predict_proba(given), net.predict_proba(X.T))
        assert dx.evaluate(net, given, target) == dx.evaluate(net, X.T, y)
        step = dx.TrainingStep(net.to(), batch_size=M)
        twin = dx.TrainingStep(net.to(), batch_size=M)
        assert float(step(given, target, sample_weight=torch.ones(M))) == float(twin(X.T, y, sample_weight=np.ones(M)))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_what_is_written_into_memory_is_a_copy(library):
    """A batch may be written again while the library still computes."""
    pytest.importorskip(library)
    if library == "torch":
        pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    backend, batch = dx.backend(library), aligned(X)
    memory = backend.empty(batch.shape, "float32")
    backend.write(memory, batch)
    batch[...] = 0.0
    assert_array_equal(backend.asnumpy(memory), X)


# out: parameters as arrays of other libraries


def test_torch_sees_and_writes_the_parameters_of_numpy(torch):
    net = network()
    for mine, theirs in ((net.theta, torch.from_dlpack(net.theta)), (net.W[2], torch.from_dlpack(net.W[2]))):
        assert address(theirs) == address(mine)
    torch.from_dlpack(net.W[2]).mul_(2.0)
    assert_array_equal(net.W[2], 2.0 * network().W[2])


def test_numpy_sees_and_writes_the_parameters_of_torch(torch):
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    net = network("torch")
    assert address(np.from_dlpack(net.W[1])) == address(net.W[1])
    np.from_dlpack(net.b[2])[...] = 3.0
    assert_array_equal(net.b[2].numpy(), np.full((3, 1), 3.0))


def test_the_parameters_of_jax_are_shared_as_they_are(torch, jax):
    net = network("jax")
    theirs = torch.from_dlpack(net.theta)
    assert address(theirs) == address(net.theta) == address(np.from_dlpack(net.theta))
    before = theirs.clone()
    dx.train(net, X.T, y, epochs=1)  # puts another array in their place
    assert_array_equal(theirs, before)
    assert_allclose(torch.from_dlpack(net.W[1]), network().W[1], atol=0.1)  # W[l] is a part of theta: a copy


def test_predictions_go_on_without_a_copy(torch):
    A = network().predict_proba(torch.tensor(X).T)
    assert address(torch.from_dlpack(A)) == address(A)


# across devices


def test_a_gpu_takes_arrays_of_the_host_and_gives_none_away(torch, monkeypatch):
    """On the double of CuPy, which says what moves."""
    machine = install(monkeypatch)
    import cupy

    net = network("gpu")
    with machine.counting() as seen:
        A = net.predict_proba(torch.tensor(X).T)
    assert seen.host_to_device > 0
    assert_allclose(A, network().predict_proba(X.T), rtol=1e-5)
    for backend in ("cpu", "torch", "jax"):
        if backend == "torch":
            pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
        pytest.importorskip(backend) if backend != "cpu" else None
        with pytest.raises(dx.MixedDevicesError, match=r"on the cpu, got a cupy array of shape \(50, 4\) on gpu:0"):
            network(backend).predict(cupy.asarray(X).T)
    with pytest.raises(dx.MixedDevicesError, match=r"got a torch array of shape \(50, 4\) on cpu and a cupy array"):
        dx.relu_backward(torch.tensor(X), cupy.asarray(X))
