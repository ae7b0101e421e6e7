"""deepxp.functions on the arrays of torch, JAX and dask: every definition, and what each library adds to it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_functions import COSTS, NAMES, arguments

import deepxp as dx

pytestmark = pytest.mark.interop

Z = np.linspace(-3.0, 3.0, 12).reshape(3, 4)
Y = np.eye(3)[:, [0, 1, 2, 0]]


@pytest.fixture(params=["torch", "jax", "dask"])
def asarray(request):
    """How an array of each library is made; float64 where the library has it switched on, else float32."""
    module = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    if request.param == "jax":
        return module.numpy.asarray
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    if request.param == "torch":
        return module.tensor
    return lambda x: pytest.importorskip("dask.array").from_array(np.asarray(x), chunks=2)


def tolerance(x):
    return {"rtol": 2e-5, "atol": 2e-6} if str(x.dtype).endswith("float32") else {"rtol": 1e-12, "atol": 1e-15}


def tuples(x):
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("name", NAMES)
def test_an_op_is_its_definition_on_numpy(asarray, name):
    given, definition = arguments(name, asarray)
    expected = definition(np, *arguments(name)[0])
    for one, other in zip(tuples(getattr(dx, name)(*given)), tuples(expected), strict=True):
        assert type(one) is type(asarray(Z))
        assert_allclose(np.asarray(one), other, **tolerance(one))


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_j_and_its_derivative(asarray, name):
    expected = getattr(dx, name)(Z, Y)
    for one, other in zip(getattr(dx, name)(asarray(Z), asarray(Y)), expected, strict=True):
        assert type(one) is type(asarray(Z))
        assert tuple(one.shape) == other.shape
        assert_allclose(np.asarray(one), other, **tolerance(one))


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_leaves_what_it_is_given_alone(asarray, name):
    z, target = asarray(Z), asarray(Y)
    getattr(dx, name)(z, target)
    assert_array_equal(np.asarray(z), np.asarray(asarray(Z)))
    assert_array_equal(np.asarray(target), np.asarray(asarray(Y)))


def test_two_libraries_are_both_named(asarray):
    with pytest.raises(
        dx.MixedDevicesError, match=r"got a numpy array of shape \(3, 4\) on cpu and a (torch|jax|dask) "
    ):
        dx.relu_backward(Z, asarray(Z))


def test_the_namespace_of_an_array(asarray):
    xp = dx.array_namespace(asarray(Z), 0.5, None)
    assert type(xp.exp(asarray(Z))) is type(asarray(Z))


# torch: autograd finds the derivatives that deepxp writes down


@pytest.fixture
def torch():
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("name", COSTS)
def test_autograd_finds_the_derivative_of_a_cost(torch, name):
    z = torch.tensor(Z, requires_grad=True)
    J, dZ = getattr(dx, name)(z, torch.tensor(Y))
    J.backward()
    assert_allclose(4 * z.grad.numpy(), dZ.detach().numpy(), rtol=1e-12, atol=1e-15)  # J is the mean of 4


def test_autograd_goes_through_a_change_of_precision(torch):
    z = torch.tensor(Z, dtype=torch.float32, requires_grad=True)
    J, dZ = dx.squared_error(z, torch.tensor(Y))  # targets in float64
    J.backward()
    assert dZ.dtype == z.grad.dtype == torch.float32
    assert_allclose(4 * z.grad.numpy(), Z - Y, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "gelu", "silu", "softmax", "relu", "leaky_relu"])
def test_autograd_finds_the_derivative_of_an_activation(torch, name):
    z, dA = torch.tensor(Z + 0.01, requires_grad=True), torch.tensor(np.linspace(1.0, 2.0, 12).reshape(3, 4))
    A = getattr(dx, name)(z)
    A.backward(dA)
    reads = z if name in ("gelu", "silu") else A
    expected = getattr(dx, f"{name}_backward")(dA, reads.detach())
    assert_allclose(z.grad.numpy(), expected.numpy(), rtol=1e-9, atol=1e-15)


# JAX: the definitions are traced, differentiated and mapped


@pytest.fixture
def jax():
    return pytest.importorskip("jax", reason="JAX is not installed")


@pytest.mark.parametrize("name", COSTS)
def test_jax_traces_and_differentiates_a_cost(jax, name):
    cost, (z, target) = getattr(dx, name), (jax.numpy.asarray(Z), jax.numpy.asarray(Y))
    J, dZ = jax.jit(cost)(z, target)
    assert_allclose(J, cost(z, target)[0], rtol=1e-6)
    slope = jax.grad(lambda z: cost(z, target)[0])(z)  # z is traced, the targets are not
    assert_allclose(4 * slope, dZ, rtol=1e-5, atol=1e-6)


def test_jax_traces_and_maps_an_op(jax):
    z = jax.numpy.asarray(Z)
    assert_allclose(jax.jit(dx.softmax)(z), dx.softmax(z), rtol=1e-6)
    assert_allclose(jax.vmap(dx.gelu)(z), dx.gelu(z), rtol=1e-6)
    (theta,) = jax.jit(dx.sgd)(z, z, 0.5)
    assert_allclose(theta, 0.5 * Z, rtol=1e-6)


# dask: a plan, which deepxp only adds to


@pytest.fixture
def da():
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    return pytest.importorskip("dask.array", reason="dask is not installed")


def test_dask_computes_nothing_before_it_is_asked(da):
    computed = []

    def block(x):
        computed.append(x.shape)
        return x

    z = da.from_array(Z, chunks=(3, 2)).map_blocks(block, dtype=Z.dtype, meta=np.empty((0, 0)))
    A, (J, dZ) = dx.softmax(z), dx.softmax_cross_entropy(z, da.from_array(Y, chunks=(3, 2)))
    assert computed == []
    assert (A.chunks, dZ.chunks, J.shape) == (z.chunks, z.chunks, ())
    assert_allclose(float(J), dx.softmax_cross_entropy(Z, Y)[0])
    assert computed


def test_dask_arrays_are_data_that_are_computed_first(da):
    net = dx.Network((3, 2), backend="cpu", seed=1)
    assert_array_equal(net.predict_proba(da.from_array(Z, chunks=2)), net.predict_proba(Z))
    y = da.from_array(np.array([0, 1, 0, 1]), chunks=2)
    given = ((da.from_array(Z, chunks=2), y), (Z, y.compute()))
    losses = [dx.train(net.to(), *data, epochs=1).records[0]["loss"] for data in given]
    assert losses[0] == losses[1]


def test_dask_is_no_backend(da):
    with pytest.raises(dx.ConfigError, match="dask arrays are no backend of this kind: compute them"):
        dx.Network((3, 2), backend=da)
