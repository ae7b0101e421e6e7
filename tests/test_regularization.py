"""L2, dropout and clipping, on numbers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops.regularization import clip_by_norm, dropout, l2_gradient, l2_penalty

BOTH = pytest.mark.parametrize(
    "xp", [Backend("reference", np), Backend("kernel", np, numpy_kernels)], ids=["definition", "kernel"]
)
both_precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])
EVERY_BIT = np.arange(65536, dtype=np.uint16).reshape(1, -1)


@pytest.mark.parametrize("keep", [1, 13107, 32768, 58982, 65535, 65536])
@BOTH
def test_over_all_bits_dropout_keeps_a_share_and_has_the_mean_of_its_input(xp, keep):
    out = np.empty((1, 65536))
    xp[dropout](np.full((1, 65536), 3.0), EVERY_BIT, keep, out)
    assert np.count_nonzero(out) == keep
    assert_allclose(out.mean(), 3.0, rtol=1e-13)
    assert_allclose(np.unique(out[out != 0]), 3.0 * 65536 / keep, rtol=1e-15)


@BOTH
def test_the_same_bits_drop_the_same_units_forward_and_backward(xp):
    rng = np.random.default_rng(0)
    A, dA = rng.normal(size=(2, 6, 50))
    bits = rng.integers(0, 65536, (6, 50)).astype(np.uint16)
    H, back = np.empty_like(A), dA.copy()
    xp[dropout](A, bits, 32768, H)
    xp[dropout](back, bits, 32768, back)
    assert_array_equal(H == 0, back == 0)
    assert_allclose(np.sum(H * dA), np.sum(A * back), rtol=1e-12)  # a diagonal matrix is its own transpose


@BOTH
def test_what_is_dropped_is_zero_even_where_it_was_not_a_number(xp):
    out = np.array([[np.inf, np.nan, 1.0]])
    xp[dropout](out, np.array([[40000, 40000, 0]], np.uint16), 32768, out)
    assert_array_equal(out, [[0, 0, 2]])


@both_precisions
def test_a_precision_stays_what_it_is(dtype):
    made = []

    class Result(np.ndarray):
        def __setitem__(self, key, value):
            made.append(np.asarray(value).dtype)
            super().__setitem__(key, value)

    w, g, J = (np.ones(shape, dtype).view(Result) for shape in (4, 4, ()))
    l2_penalty(np, w, 0.1, J)
    l2_gradient(np, w, g, 0.1)
    clip_by_norm(np, g, 0.5)
    dropout(np, w, np.zeros(4, np.uint16), 32768, g)
    assert made == [np.dtype(dtype)] * 4


@BOTH
def test_the_penalty_is_half_lambda_times_the_square(xp):
    J, g, w = np.array(1.0), np.zeros(2), np.array([3.0, 4.0])
    xp[l2_penalty](w, 0.2, J)
    xp[l2_gradient](w, g, 0.2)
    assert_allclose(J, 1.0 + 0.1 * 25)
    assert_allclose(g, 0.2 * w)


@both_precisions
@BOTH
def test_a_gradient_is_never_longer_than_the_limit_and_a_short_one_is_not_touched(xp, dtype):
    g = np.array([3.0, 4.0], dtype)
    xp[clip_by_norm](g, 5.0)
    assert_array_equal(g, [3, 4])
    xp[clip_by_norm](g, 1e6)
    assert_array_equal(g, [3, 4])
    xp[clip_by_norm](g, 1.0)
    assert_allclose(g, [0.6, 0.8], rtol=2 * np.finfo(dtype).eps)
    zero = np.zeros(2, dtype)
    xp[clip_by_norm](zero, 1.0)
    assert_array_equal(zero, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@BOTH
def test_a_gradient_that_is_not_finite_is_not_made_so(xp, bad):
    g = np.array([1.0, bad, 2.0])
    with np.errstate(invalid="ignore"):
        xp[clip_by_norm](g, 1.0)
    assert np.isnan(g[1])


@pytest.mark.parametrize(
    ("dtype", "large"), [("float32", 3e38), ("float32", 1e20), ("float64", 1e300), ("float64", 1.0)]
)
@BOTH
def test_a_gradient_whose_squares_overflow_is_scaled_to_the_limit(xp, dtype, large):
    g = np.array([large, -large, 0, large / 2], dtype)
    with np.errstate(over="ignore"):
        xp[clip_by_norm](g, 0.3)
    assert_allclose(g, 0.3 * np.array([2, -2, 0, 1]) / 3, rtol=1e-6)
