import inspect

import array_api_strict as strict
import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp import functions
from deepxp.ops import activations, losses, updates

Z = np.linspace(-3.0, 3.0, 12).reshape(3, 4)
dA = np.linspace(1.0, 2.0, 12).reshape(3, 4)
Y = np.eye(3)[:, [0, 1, 2, 0]]
ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softmax")
RATES = {
    "sgd": (0.1,),
    "momentum": (0.1, 0.9),
    "nesterov": (0.1, 0.9),
    "rmsprop": (0.1, 0.9, 1e-8),
    "adam": (0.1, 0.9, 0.99, 1e-8, 1.5),
    "adamw": (0.1, 0.9, 0.99, 1e-8, 1.5, 0.01),
}
STATES = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1, "adam": 2, "adamw": 2}
COSTS = ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error")


def arguments(name, asarray=np.asarray):
    """Arguments of the op of that name, and the definition it comes from."""
    if name in STATES:
        vectors = [asarray(x) for x in (Z, dA, 0.1 * Z * Z, 0.2 * dA)[: 2 + STATES[name]]]
        return (*vectors, *RATES[name]), getattr(updates, name)
    if name == "log_softmax":
        return (asarray(Z),), losses.log_softmax
    if name.endswith("_backward"):
        return (asarray(dA), asarray(Z)), getattr(activations, name)
    return (asarray(Z),), getattr(activations, name)


NAMES = [*ACTIVATIONS, *(f"{name}_backward" for name in ACTIVATIONS), "log_softmax", *STATES]


def test_every_op_is_here_and_public():
    ops = {name for name, value in vars(functions).items() if callable(value) and not name.startswith("_")}
    assert {*NAMES, *COSTS} <= ops
    for name in (*NAMES, *COSTS):
        assert getattr(dx, name) is getattr(functions, name)
        assert name in dx.__all__


@pytest.mark.parametrize("name", NAMES)
def test_an_op_is_its_definition_with_the_namespace_filled_in(name):
    given, definition = arguments(name)
    found, expected = getattr(dx, name)(*given), definition(np, *given)
    assert type(found) is type(expected)
    assert_array_equal(found, expected)
    assert getattr(dx, name).__doc__ == definition.__doc__
    assert getattr(dx, name).__name__ == name


@pytest.mark.parametrize("name", NAMES)
def test_an_op_works_on_any_array_library(name):
    given, definition = arguments(name, strict.asarray)
    found = getattr(dx, name)(*given)
    expected = definition(np, *arguments(name)[0])
    for one, other in zip(*([x] if not isinstance(x, tuple) else x for x in (found, expected)), strict=True):
        assert isinstance(one, strict.Array if hasattr(strict, "Array") else object)
        assert_allclose(dx.asnumpy(one), other, rtol=1e-13)


def test_an_op_works_on_a_gpu(monkeypatch):
    machine = install(monkeypatch)
    import cupy

    with machine.counting() as seen:
        A = dx.softmax(cupy.asarray(Z))
        J, dZ = dx.softmax_cross_entropy(cupy.asarray(Z), cupy.asarray(Y))
    assert seen.host_waits == seen.device_to_host == 0
    assert_allclose(A.get(), activations.softmax(np, Z))
    assert_allclose(float(J), dx.softmax_cross_entropy(Z, Y)[0])
    assert_allclose(dZ.get(), dx.softmax_cross_entropy(Z, Y)[1])


def test_jax_arrays():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    assert_allclose(dx.gelu(jnp.asarray(Z)), dx.gelu(Z), rtol=2e-5, atol=1e-6)
    assert type(dx.gelu(jnp.asarray(Z))) is type(jnp.asarray(Z))


def test_torch_tensors_work_or_say_what_is_missing():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    try:
        import array_api_compat  # noqa: F401
    except ImportError:
        with pytest.raises(dx.DataError, match="pip install array-api-compat"):
            dx.softmax(torch.tensor(Z))
    else:
        assert_allclose(dx.softmax(torch.tensor(Z)).numpy(), dx.softmax(Z))


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    given, _ = arguments(name, lambda x: np.asarray(x, np.float32))
    found = getattr(dx, name)(*given)
    for array in found if isinstance(found, tuple) else (found,):
        assert array.dtype == np.float32


def test_rates_may_be_named():
    (theta, g, m, v, *rates), _ = arguments("adam")
    named = dict(zip(("rate", "beta1", "beta2", "eps", "scale"), rates, strict=True))
    assert_array_equal(dx.adam(theta, g, m, v, **named), dx.adam(theta, g, m, v, *rates))
    assert_array_equal(dx.sgd(theta=theta, g=g, rate=0.1), dx.sgd(theta, g, 0.1))


def test_the_signature_shows_no_xp():
    assert str(inspect.signature(dx.softmax)).startswith("(Z")
    assert list(inspect.signature(dx.sgd).parameters) == ["theta", "g", "rate"]
    assert list(inspect.signature(dx.squared_error).parameters) == ["Z", "Y"]


# costs


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_j_and_its_derivative(name):
    J, dZ = getattr(dx, name)(Z, Y)
    ell, expected = np.empty(4), np.empty((3, 4))
    getattr(losses, name)(np, Z, Y, ell, expected)
    assert_allclose(J, ell.mean())
    assert_array_equal(dZ, expected)
    for i, j in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[i, j] = 1e-6
        slope = (getattr(dx, name)(Z + step, Y)[0] - getattr(dx, name)(Z - step, Y)[0]) / 2e-6
        assert_allclose(dZ[i, j], 4 * slope, atol=1e-8)  # dZ is that of the sum, J is the mean of 4


def test_cross_entropy_of_integer_targets_is_not_rounded():
    J, dZ = dx.softmax_cross_entropy(Z, Y.astype(int))
    assert_allclose(J, dx.softmax_cross_entropy(Z, Y)[0])
    assert dZ.dtype == np.float64


@pytest.mark.parametrize("name", COSTS)
def test_whole_numbers_for_z_are_refused_rather_than_rounded(name):
    with pytest.raises(dx.DataError, match=r"Z must hold real floating numbers, got int64"):
        getattr(dx, name)(np.array([[1, 2], [3, 4]]), np.eye(2))


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 3), (3, 1)])
def test_targets_of_another_shape_are_refused_rather_than_broadcast(name, shape):
    with pytest.raises(dx.ShapeError, match=r"Y must have the shape of Z, \(3, 4\), got ") as caught:
        getattr(dx, name)(Z, np.zeros(shape))
    assert str(shape) in str(caught.value)


# what is refused


@pytest.mark.parametrize("name", [*ACTIVATIONS, "log_softmax"])
def test_lists_are_refused_with_the_way_out(name):
    with pytest.raises(dx.DataError, match=r"expected arrays, got list; make one first, e\.g\. numpy\.asarray\(x\)"):
        getattr(dx, name)([1.0, 2.0])


@pytest.mark.parametrize("name", COSTS)
def test_lists_are_refused_by_the_costs(name):
    with pytest.raises(dx.DataError, match="expected arrays, got list, list"):
        getattr(dx, name)([[1.0]], [[1.0]])
    with pytest.raises(dx.DataError, match="expected arrays, got ndarray, list"):
        getattr(dx, name)(Z, Y.tolist())


def test_one_list_among_arrays_is_refused():
    with pytest.raises(dx.DataError, match="expected arrays, got list, ndarray"):
        dx.relu_backward(dA.tolist(), Z)


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_takes_columns(name):
    with pytest.raises(dx.ShapeError, match=r"Z is \(n\[L\], m\)"):
        getattr(dx, name)(Z[0], Y[0])


def test_two_libraries_are_both_named():
    message = r"numpy array of shape \(3, 4\) on cpu and a array_api_strict array"
    with pytest.raises(dx.MixedDevicesError, match=message):
        dx.relu_backward(dA, strict.asarray(Z))
    with pytest.raises(dx.MixedDevicesError, match=message):
        dx.squared_error(Z, strict.asarray(Y))
    with pytest.raises(dx.MixedDevicesError, match=r"\(2,\) on .*CPU_DEVICE.* and .*device1"):
        dx.sgd(strict.ones(2), strict.ones(2, device=strict.Device("device1")), 0.1)
