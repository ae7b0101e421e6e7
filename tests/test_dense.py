"""The lines of one dense layer, held against loops over single numbers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.dense import activation_backward, dense_forward, input_gradient, weight_gradient

BOTH = pytest.mark.parametrize(
    "xp", [Backend("reference", np), Backend("kernel", np, numpy_kernels)], ids=["definition", "kernel"]
)
n, n_prev, m = 4, 3, 5
rng = np.random.default_rng(0)
W, b, A_prev, dA = (
    rng.normal(size=(n, n_prev)),
    rng.normal(size=(n, 1)),
    rng.normal(size=(n_prev, m)),
    rng.normal(size=(n, m)),
)


def nan(*shape, dtype="float64"):
    return np.full(shape, np.nan, dtype)


@BOTH
def test_a_column_of_Z_is_W_times_a_sample_plus_b(xp):
    Z, A = nan(n, m), nan(n, m)
    xp[dense_forward](W, b, A_prev, ACTIVATIONS["gelu"], Z, A)
    for i, j in np.ndindex(n, m):
        assert_allclose(Z[i, j], sum(W[i, k] * A_prev[k, j] for k in range(n_prev)) + b[i, 0], rtol=1e-13)
    assert_allclose(A, ACTIVATIONS["gelu"].forward(np, Z), rtol=1e-15)


@pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.reads == "A"], ids=lambda g: g.name)
@BOTH
def test_Z_and_A_may_be_the_same_memory_where_the_derivative_reads_A(xp, g):
    apart, together = nan(n, m), nan(n, m)
    xp[dense_forward](W, b, A_prev, g, nan(n, m), apart)
    xp[dense_forward](W, b, A_prev, g, together, together)
    assert_array_equal(together, apart)


@pytest.mark.parametrize("g", ACTIVATIONS.values(), ids=lambda g: g.name)
@BOTH
def test_dZ_may_be_the_memory_of_dA(xp, g):
    Z = W @ A_prev + b
    kept = g.forward(np, Z) if g.reads == "A" else Z
    apart, together, db1, db2 = nan(n, m), dA.copy(), nan(n, 1), nan(n, 1)
    xp[activation_backward](g, dA.copy(), kept, apart, db1)
    xp[activation_backward](g, together, kept, together, db2)
    assert_array_equal(together, apart)
    assert_array_equal(db1, db2)
    assert_allclose(apart, g.backward(np, dA, kept), rtol=1e-15)


@BOTH
def test_db_is_the_mean_over_the_samples_of_dZ(xp):
    dZ, db = dA.copy(), nan(n, 1)
    xp[activation_backward](ACTIVATIONS["identity"], dZ, dA, dZ, db)
    for i in range(n):
        assert_allclose(db[i, 0], sum(dA[i, j] for j in range(m)) / m, rtol=1e-13)


@BOTH
def test_dW_is_the_mean_of_the_outer_products_of_the_samples(xp):
    dW = nan(n, n_prev)
    xp[weight_gradient](dA, A_prev, dW)
    assert_allclose(dW, sum(np.outer(dA[:, j], A_prev[:, j]) for j in range(m)) / m, rtol=1e-12)


@BOTH
def test_dA_of_the_layer_before_has_no_1_over_m(xp):
    dA_prev = nan(n_prev, m)
    xp[input_gradient](W, dA, dA_prev)
    for k, j in np.ndindex(n_prev, m):
        assert_allclose(dA_prev[k, j], sum(W[i, k] * dA[i, j] for i in range(n)), rtol=1e-12)


@BOTH
def test_a_sample_twice_is_the_same_mean_gradient(xp):
    once, twice = nan(n, n_prev), nan(n, n_prev)
    xp[weight_gradient](dA, A_prev, once)
    xp[weight_gradient](np.hstack([dA, dA]), np.hstack([A_prev, A_prev]), twice)
    assert_allclose(twice, once, rtol=1e-13)


@pytest.mark.parametrize("layout", ["C", "F"])
@BOTH
def test_the_storage_order_of_the_input_cannot_be_told(xp, layout):
    X = np.array(A_prev, order=layout)
    Z, dW = nan(n, m), nan(n, n_prev)
    xp[dense_forward](W, b, X, ACTIVATIONS["tanh"], Z, Z)
    xp[weight_gradient](dA, X, dW)
    assert_allclose(Z, np.tanh(W @ A_prev + b), rtol=1e-14)
    assert_allclose(dW, dA @ A_prev.T / m, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("g", ACTIVATIONS.values(), ids=lambda g: g.name)
def test_a_precision_stays_what_it_is(g, dtype):
    """In the definitions, whose results are cast on their way into memory: so they are looked at before."""
    made = []

    class Result(np.ndarray):
        def __setitem__(self, key, value):
            made.append(np.asarray(value).dtype)
            super().__setitem__(key, value)

    def out(*shape):
        return np.empty(shape, dtype).view(Result)

    w, bias, x, d = (v.astype(dtype) for v in (W, b, A_prev, dA))
    Z, A, dZ = out(n, m), out(n, m), out(n, m)
    dense_forward(np, w, bias, x, g, Z, A)
    activation_backward(np, g, d, A if g.reads == "A" else Z, dZ, out(n, 1))
    weight_gradient(np, dZ, x, out(n, n_prev))
    input_gradient(np, w, dZ, out(n_prev, m))
    assert made == [np.dtype(dtype)] * 6
