"""Activations at ordinary and at extreme values. That g' is the derivative of g is proved in test_proofs."""

import tracemalloc

import numpy as np
import pytest
from namespaces import complex_step
from numpy.testing import assert_allclose, assert_array_equal

from deepxp.ops.activations import ACTIVATIONS, gelu_backward, relu_backward, sigmoid, softmax, softmax_backward, tanh

H = 1e-5
GRID = np.linspace(-6.0, 6.0, 241)[None, :] + 0.0123  # not at a kink
ALL = pytest.mark.parametrize("g", ACTIVATIONS.values(), ids=lambda g: g.name)
SMOOTH = pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.smooth], ids=lambda g: g.name)
ELEMENTWISE = pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.elementwise], ids=lambda g: g.name)
both_precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])


def saved(g, Z):
    return g.forward(np, Z) if g.reads == "A" else Z


def assert_is_derivative(backward, g, tolerance=1e-7):
    """Of sum(dA * g(Z)) along random directions."""
    rng = np.random.default_rng(0)
    Z = GRID.reshape(-1)[:240].reshape(4, 60)
    dA, direction = rng.normal(size=(2, *Z.shape))
    numeric = np.sum(dA * (g.forward(np, Z + H * direction) - g.forward(np, Z - H * direction)), axis=0) / (2 * H)
    analytic = np.sum(backward(np, dA, saved(g, Z)) * direction, axis=0)
    assert_allclose(analytic, numeric, rtol=tolerance, atol=tolerance * np.abs(numeric).max())


@ALL
def test_the_derivative_is_that_of_central_differences(g):
    assert_is_derivative(g.backward, g)


@ALL
def test_a_derivative_that_is_off_by_a_millionth_is_seen(g):
    with pytest.raises(AssertionError):
        assert_is_derivative(lambda xp, dA, saved: g.backward(xp, dA, saved) * (1 + 1e-6), g)


@SMOOTH
def test_the_derivative_is_that_of_the_complex_step(g):
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(5, 40)) * 2
    dA, direction = rng.normal(size=(2, *Z.shape))
    stepped = np.sum(dA * g.forward(complex_step, Z + 1j * complex_step.STEP * direction).imag, axis=0)
    analytic = np.sum(g.backward(np, dA, saved(g, Z)) * direction, axis=0)
    assert_allclose(analytic, stepped / complex_step.STEP, rtol=1e-12, atol=1e-13)


@ALL
@both_precisions
def test_a_precision_stays_what_it_is(g, dtype):
    Z = GRID.astype(dtype).reshape(1, -1)
    A = g.forward(np, Z)
    assert A.dtype == dtype
    assert g.backward(np, np.ones_like(Z), saved(g, Z)).dtype == dtype


@ALL
def test_nothing_is_written_to(g):
    Z, dA = np.array([[-1.0, 2.0], [0.5, -0.0]]), np.ones((2, 2))
    before = Z.copy()
    kept = saved(g, Z)
    kept_before = kept.copy()
    g.backward(np, dA, kept)
    assert_array_equal(Z, before)
    assert_array_equal(kept, kept_before)
    assert_array_equal(dA, 1)


@ALL
def test_NaN_goes_through_every_activation(g):
    Z = np.array([[np.nan], [1.0]])
    assert np.isnan(g.forward(np, Z)[0, 0])


@ELEMENTWISE
@both_precisions
def test_large_numbers_give_no_warning_and_no_NaN(g, dtype):
    """Warnings are errors here: nothing overflows where the result does not."""
    Z = np.array([[-1e4, -1000.0, -89.0, 0.0, 89.0, 1000.0, 1e4]], dtype)
    A = g.forward(np, Z)
    assert np.all(np.isfinite(A))
    assert np.all(np.isfinite(g.backward(np, np.ones_like(Z), saved(g, Z))))


LIMITS = {  # g(-1000), g(1000), g'(-1000), g'(1000)
    "identity": (-1000, 1000, 1, 1),
    "relu": (0, 1000, 0, 1),
    "leaky_relu": (-10, 1000, 0.01, 1),
    "sigmoid": (0, 1, 0, 0),
    "tanh": (-1, 1, 0, 0),
    "elu": (-1, 1000, 0, 1),
    "gelu": (0, 1000, 0, 1),
    "silu": (0, 1000, 0, 1),
}


@ELEMENTWISE
def test_the_value_and_slope_far_out(g):
    Z = np.array([[-1000.0, 1000.0]])
    low, high, slope_low, slope_high = LIMITS[g.name]
    assert_allclose(g.forward(np, Z), [[low, high]], rtol=1e-15)
    assert_allclose(g.backward(np, np.ones_like(Z), saved(g, Z)), [[slope_low, slope_high]], rtol=1e-15)


def test_sigmoid_and_tanh_saturate_exactly():
    far = np.array([-1000.0, 1000.0])
    assert_array_equal(sigmoid(np, far), [0, 1])
    assert_array_equal(tanh(np, far), [-1, 1])
    assert_array_equal(sigmoid(np, np.array([-np.inf, 0.0, np.inf])), [0, 0.5, 1])


def test_sigmoid_is_symmetric():
    assert_allclose(sigmoid(np, GRID) + sigmoid(np, -GRID), 1.0, rtol=1e-15)


def test_the_derivative_at_a_kink_is_the_one_from_the_left():
    zero = np.zeros((1, 1))
    assert relu_backward(np, np.ones((1, 1)), zero) == 0
    assert ACTIVATIONS["leaky_relu"].backward(np, np.ones((1, 1)), zero) == 0.01


def test_what_a_derivative_reads_is_the_name_of_its_parameter():
    reads = {g.name: g.reads for g in ACTIVATIONS.values()}
    assert reads.pop("gelu") == reads.pop("silu") == "Z"
    assert set(reads.values()) == {"A"}


def test_a_record_and_its_functions_have_one_name():
    for name, g in ACTIVATIONS.items():
        assert g.name == name == g.forward.__name__
        assert g.backward.__name__ == f"{name}_backward"


# softmax


@pytest.mark.parametrize("shift", [0.0, 800.0, -800.0])
@both_precisions
def test_the_columns_of_softmax_sum_to_one_and_keep_their_order(shift, dtype):
    Z = (np.random.default_rng(2).normal(size=(7, 50)) * 3 + shift).astype(dtype)
    A = softmax(np, Z)
    eps = np.finfo(dtype).eps
    assert_allclose(A.sum(axis=0), 1.0, rtol=8 * eps)
    assert_array_equal(np.argsort(A, axis=0), np.argsort(Z, axis=0))
    assert np.all(A > 0)


def test_e_to_the_800_never_happens():
    assert_array_equal(softmax(np, np.array([[800.0], [-800.0], [0.0]])), [[1], [0], [0]])


def test_softmax_takes_each_column_by_itself():
    Z = np.random.default_rng(3).normal(size=(4, 6))
    whole = softmax(np, Z)
    for j in range(6):
        assert_array_equal(whole[:, j : j + 1], softmax(np, Z[:, j : j + 1]))


def test_softmax_of_one_class_is_certain_and_has_no_slope():
    A = softmax(np, np.array([[3.0, -1000.0]]))
    assert_array_equal(A, 1)
    assert_array_equal(softmax_backward(np, np.array([[5.0, -2.0]]), A), 0)


def test_softmax_of_two_classes_is_the_sigmoid_of_their_difference():
    Z = np.random.default_rng(4).normal(size=(2, 30)) * 10
    assert_allclose(softmax(np, Z)[1], sigmoid(np, Z[1] - Z[0]), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_spoils_its_column_and_no_other(bad):
    Z = np.zeros((3, 2))
    Z[1, 0] = bad
    with np.errstate(invalid="ignore"):
        A = softmax(np, Z)
    assert np.isnan(A[1, 0])
    assert_allclose(A[:, 1], 1 / 3)


def test_the_jacobian_of_softmax_is_never_built():
    C, m = 100, 200
    rng = np.random.default_rng(5)
    dA, A = rng.normal(size=(C, m)), softmax(np, rng.normal(size=(C, m)))

    def peak(f):
        tracemalloc.start()
        try:
            f()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(lambda: softmax_backward(np, dA, A)) < 4 * A.nbytes  # the Jacobian of all samples would be 100
    jacobian = lambda: A.T[:, :, None] * (np.eye(C) - A.T[:, None, :])  # noqa: E731
    assert peak(jacobian) > 50 * A.nbytes
    whole = np.einsum("jik,ij->kj", jacobian(), dA)
    assert_allclose(softmax_backward(np, dA, A), whole, rtol=1e-10, atol=1e-15)


def test_gelu_in_single_precision_is_close_to_gelu_in_double():
    Z = GRID.astype(np.float32)
    one, two = (gelu_backward(np, np.ones_like(z), z) for z in (Z, Z.astype(np.float64)))
    assert_allclose(one, two, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(
    ("dtype", "large"), [("float32", 3e38), ("float32", 1e20), ("float64", 1e308), ("float64", 20)]
)
def test_the_slope_of_gelu_is_0_or_1_however_far_out(dtype, large):
    Z = np.array([-large, large], dtype)
    with np.errstate(over="ignore"):
        assert_array_equal(gelu_backward(np, np.ones_like(Z), Z), [0, 1])
