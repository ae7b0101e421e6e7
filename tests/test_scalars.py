"""The xp of scalars against NumPy in extended precision: accuracy, special values, and loops that vectorise."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("numba", reason="Numba is not installed: the compiled kernels are not used")
from numba import njit

from deepxp.kernels import scalars

FUNCTIONS = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "abs", "sign")


def looped(name, dtype):
    function = getattr(scalars.namespace(dtype), name)

    @njit(error_model="numpy", fastmath={"contract", "nsz"})
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


def arguments(name, dtype):
    """Numbers over the whole range in which the result is a normal number, thickest around 0."""
    rng = np.random.default_rng(0)
    single = dtype == "float32"
    small = rng.choice([-1.0, 1.0], 20_000) * np.exp(rng.uniform(-60, 0, 20_000))
    reach = 86.4 if single else 700.0
    x = {
        "exp": np.concatenate([rng.uniform(-reach, reach, 20_000), small]),
        "expm1": np.concatenate([rng.uniform(-reach, reach, 20_000), small]),
        "tanh": np.concatenate([rng.uniform(-30, 30, 20_000), small]),
        "log": np.exp(rng.uniform(-80, 80, 40_000)),
        "log1p": np.concatenate([np.exp(rng.uniform(-80, 80, 20_000)), small[small > -0.999]]),
        "sqrt": np.exp(rng.uniform(-80, 80, 40_000)),
    }.get(name, rng.normal(size=40_000))
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_relative_error_is_at_most_three_units_in_the_last_place(name, dtype):
    x = arguments(name, dtype)
    y = np.empty_like(x)
    looped(name, dtype)(x, y)
    exact = getattr(np, name)(x.astype(np.longdouble))
    error = np.abs((y - exact) / np.where(exact == 0, 1, exact))
    assert float(error.max()) < 3 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_zero_one_infinity_and_nan_are_as_in_numpy(name, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1000.0, -1000.0], dtype)
    y = np.empty_like(x)
    looped(name, dtype)(x, y)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x)
    np.testing.assert_allclose(y, exact, rtol=3 * np.finfo(dtype).eps)
    assert_array_equal(np.isnan(y), np.isnan(exact))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_maximum_and_minimum_pass_nan_on_from_either_side(dtype):
    xp = scalars.namespace(dtype)
    real = np.dtype(dtype).type
    for function in (xp.maximum, xp.minimum):
        assert np.isnan(function(real(np.nan), real(1)))
        assert np.isnan(function(real(1), real(np.nan)))
    assert xp.maximum(real(1), real(2)) == 2
    assert xp.minimum(real(1), real(2)) == 1
    assert xp.where(True, real(1), real(2)) == 1


def test_what_would_be_subnormal_is_zero():
    x = np.array([-87.5, -100.0, -103.0], "float32")
    y = np.empty_like(x)
    looped("exp", "float32")(x, y)
    assert_array_equal(y, 0)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sqrt"])
def test_a_loop_in_float32_is_vectorised_and_makes_no_float64(name):
    loop = looped(name, "float32")
    loop(np.ones(4, "float32"), np.ones(4, "float32"))
    text = next(iter(loop.inspect_llvm().values()))
    assert "x float>" in text, "no vectors of float32"
    assert "fpext float" not in text, "arithmetic in float64"


@pytest.mark.parametrize(("dtype", "reach"), [("float32", 87.3), ("float64", 708.0)])
def test_the_exponential_of_falling_numbers_is_exp_and_ends_in_zero(dtype, reach):
    x = np.concatenate([-np.linspace(0, reach, 100_001), -np.exp(-np.linspace(0, 60, 10_001))]).astype(dtype)
    y = np.empty_like(x)
    looped("exp_falling", dtype)(x, y)
    exact = np.exp(x.astype(np.longdouble))
    assert float(np.abs(y / exact - 1).max()) < 3 * np.finfo(dtype).eps
    x = np.array([0.0, -0.0, -np.inf, np.nan, -710.0, -1e30], dtype)
    y = np.empty_like(x)
    looped("exp_falling", dtype)(x, y)
    assert_array_equal(y, [1, 1, 0, np.nan, 0, 0])
