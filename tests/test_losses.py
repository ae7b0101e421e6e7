"""Losses at ordinary and at extreme values. That dZ = A - Y is the derivative of J is proved in test_proofs."""

import numpy as np
import pytest
from namespaces import complex_step
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops.activations import sigmoid, softmax
from deepxp.ops.losses import (
    LOSSES,
    cost,
    log_softmax,
    poisson_deviance,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_labels,
    squared_error,
    weigh,
)

REFERENCE = Backend("reference", np)
BOTH = pytest.mark.parametrize("xp", [REFERENCE, Backend("kernel", np, numpy_kernels)], ids=["definition", "kernel"])
both_precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])


def evaluate(xp, loss, Z, Y):
    """(losses, dZ) of columns of targets, or of labels."""
    ell, dZ = np.full(Z.shape[1], 77, Z.dtype), np.full(Z.shape, 77, Z.dtype)
    if Y.ndim == 1:
        xp[softmax_cross_entropy_labels](Z, Y, np.arange(Z.shape[0], dtype=np.int32)[:, None], ell, dZ)
    else:
        xp[loss](Z, Y, ell, dZ)
    return ell, dZ


def one_hot(y, C, dtype="float64"):
    return np.eye(C, dtype=dtype)[:, y]


def sample(loss, n=6, m=9, seed=0, dtype="float64"):
    """Z and targets."""
    rng = np.random.default_rng(seed)
    Z = (rng.normal(size=(n, m)) * 3).astype(dtype)
    if loss is squared_error:
        return Z, rng.normal(size=(n, m)).astype(dtype)
    Y = rng.random((n, m))
    return Z, (Y / Y.sum(axis=0) if loss is softmax_cross_entropy else Y).astype(dtype)


EVALUATE = pytest.mark.parametrize(
    "loss", [softmax_cross_entropy, sigmoid_cross_entropy, squared_error, poisson_deviance], ids=lambda f: f.__name__
)


@EVALUATE
@BOTH
def test_dZ_is_the_derivative_of_the_sum_of_the_losses_by_central_differences(loss, xp):
    Z, Y = sample(loss)
    dZ, h = evaluate(xp, loss, Z, Y)[1].copy(), 1e-5
    numeric = np.empty_like(Z)
    for i, j in np.ndindex(Z.shape):
        plus, minus = Z.copy(), Z.copy()
        plus[i, j] += h
        minus[i, j] -= h
        numeric[i, j] = (evaluate(xp, loss, plus, Y)[0].sum() - evaluate(xp, loss, minus, Y)[0].sum()) / (2 * h)
    assert np.linalg.norm(dZ - numeric) < 1e-9 * np.linalg.norm(numeric)
    assert np.linalg.norm(dZ / Z.shape[1] - numeric) > 0.1 * np.linalg.norm(numeric)  # no 1/m in dZ


@EVALUATE
def test_dZ_is_the_derivative_of_the_losses_by_the_complex_step(loss):
    Z, Y = sample(loss)
    dZ, stepped = evaluate(REFERENCE, loss, Z, Y)[1], np.empty_like(Z)
    for i in range(Z.shape[0]):
        at = Z.astype(complex)
        at[i] += 1j * complex_step.STEP
        ell, ignored = np.empty(Z.shape[1], complex), np.empty(Z.shape, complex)
        loss(complex_step, at, Y, ell, ignored)
        stepped[i] = ell.imag / complex_step.STEP
    assert_allclose(dZ, stepped, rtol=1e-12, atol=1e-13)


@BOTH
def test_the_losses_are_their_textbook_formulas(xp):
    Z, Y = sample(softmax_cross_entropy)
    assert_allclose(evaluate(xp, softmax_cross_entropy, Z, Y)[0], -(Y * np.log(softmax(np, Z))).sum(axis=0), rtol=1e-13)
    Z, Y = sample(sigmoid_cross_entropy)
    A = sigmoid(np, Z)
    textbook = -(Y * np.log(A) + (1 - Y) * np.log(1 - A)).sum(axis=0)
    assert_allclose(evaluate(xp, sigmoid_cross_entropy, Z, Y)[0], textbook, rtol=1e-12)
    Z, Y = sample(squared_error)
    assert_allclose(evaluate(xp, squared_error, Z, Y)[0], ((Z - Y) ** 2).sum(axis=0) / 2, rtol=1e-13)


def test_the_poisson_deviance_is_its_textbook_formula_and_nothing_where_a_is_y():
    Z, Y = sample(poisson_deviance)
    Y = np.floor(6 * Y)
    A = np.exp(Z)
    textbook = np.where(Y > 0, Y * np.log(np.where(Y > 0, Y, 1) / A), 0) - Y + A
    assert (Y == 0).any()
    assert_allclose(evaluate(REFERENCE, poisson_deviance, Z, Y)[0], textbook.sum(axis=0), rtol=1e-12)
    ell, dZ = evaluate(REFERENCE, poisson_deviance, np.log(Y + 1), Y + 1)
    assert_allclose(ell, 0, atol=1e-14)
    assert_allclose(dZ, 0, atol=1e-14)


@BOTH
def test_a_cross_entropy_is_no_squared_error(xp):
    """Two pairs of columns of the same squared error have different cross-entropies."""
    Y = one_hot(np.array([0, 0]), 3)
    Z = np.log(np.array([[0.5, 0.5], [0.25, 0.5 - 1e-9], [0.25, 1e-9]]))
    ell, _ = evaluate(xp, softmax_cross_entropy, Z, Y)
    assert_allclose(ell, np.log(2.0), rtol=1e-12)
    A = softmax(np, Z)
    squared = ((A - Y) ** 2).sum(axis=0)
    assert squared[1] > 1.2 * squared[0]


# extreme values


@both_precisions
@BOTH
def test_a_cross_entropy_of_1000_is_reported_as_1000(xp, dtype):
    """A loss taken from a clipped probability ends at 34.5, one from an unclipped one at infinity."""
    Z = np.array([[1000.0, 0.0], [0.0, 1000.0]], dtype)
    for Y in (one_hot([1, 0], 2, dtype), np.array([1, 0], np.int32)):
        ell, dZ = evaluate(xp, softmax_cross_entropy, Z, Y)
        assert_array_equal(ell, 1000)
        assert_array_equal(dZ, [[1, -1], [-1, 1]])
    ell, dZ = evaluate(xp, sigmoid_cross_entropy, np.array([[1000.0, -1000.0]], dtype), np.array([[0, 1]], dtype))
    assert_array_equal(ell, 1000)
    assert_array_equal(dZ, [[1, -1]])


@both_precisions
@BOTH
def test_a_certain_and_right_answer_costs_nothing(xp, dtype):
    ell, dZ = evaluate(xp, softmax_cross_entropy, np.array([[800.0], [-800.0]], dtype), np.array([0], np.int32))
    assert_array_equal(ell, 0)
    assert_array_equal(dZ, 0)
    ell, dZ = evaluate(xp, sigmoid_cross_entropy, np.array([[800.0, -800.0]], dtype), np.array([[1, 0]], dtype))
    assert_array_equal(ell, 0)
    assert_array_equal(dZ, 0)


@BOTH
def test_a_small_loss_is_not_rounded_away(xp):
    """log(1 + e^-z) for z = 50 is 2e-22; 1 - a would have been 0."""
    ell, _ = evaluate(xp, sigmoid_cross_entropy, np.array([[50.0, -50.0]]), np.array([[1.0, 0.0]]))
    assert_allclose(ell, np.exp(-50.0), rtol=1e-12)


@pytest.mark.parametrize("shift", [800.0, -800.0, 1e6])
@BOTH
def test_a_shift_of_all_logits_changes_nothing(xp, shift):
    Z, Y = sample(softmax_cross_entropy)
    for targets in (Y, np.arange(9, dtype=np.int32) % 6):
        here, there = (evaluate(xp, softmax_cross_entropy, z, targets) for z in (Z, Z + shift))
        assert_allclose(there[0], here[0], rtol=1e-8)
        assert_allclose(there[1], here[1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@EVALUATE
@BOTH
def test_a_bad_number_is_never_a_finite_loss(xp, loss, bad):
    """Only of its own sample, and in dZ or the loss of every way to give the targets."""
    Z, Y = sample(loss)
    Z[2, 3] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        ell, dZ = evaluate(xp, loss, Z, Y)
        assert not np.isfinite(ell[3])
        assert np.all(np.isfinite(np.delete(ell, 3))) and np.all(np.isfinite(np.delete(dZ, 3, axis=1)))
        J = np.empty(())
        xp[cost](ell, J)
        assert not np.isfinite(J)
        if loss is softmax_cross_entropy:
            assert np.isnan(evaluate(xp, loss, Z, np.arange(9, dtype=np.int32) % 6)[0][3])


@BOTH
def test_minus_infinity_rules_a_class_out_but_not_the_right_one(xp):
    Z = np.array([[0.0, 0.0], [1.0, 1.0], [-np.inf, -np.inf]])
    ell, dZ = evaluate(xp, softmax_cross_entropy, Z, np.array([0, 2], np.int32))
    assert_allclose(ell[0], np.log(1 + np.e))
    assert ell[1] == np.inf
    assert_array_equal(dZ[2], [0, -1])


# labels, columns, two classes


@both_precisions
@BOTH
def test_labels_and_one_hot_columns_are_the_same_targets(xp, dtype):
    Z, _ = sample(softmax_cross_entropy, dtype=dtype)
    y = np.arange(9, dtype=np.int32) % 6
    for one, other in zip(
        evaluate(xp, softmax_cross_entropy, Z, y),
        evaluate(xp, softmax_cross_entropy, Z, one_hot(y, 6, dtype)),
        strict=True,
    ):
        assert_allclose(one, other, rtol=1e-5 if dtype == "float32" else 1e-14, atol=1e-6 if dtype == "float32" else 0)


@BOTH
def test_two_classes_are_the_sigmoid_of_the_difference_of_two_logits(xp):
    rng = np.random.default_rng(3)
    Z, y = rng.normal(size=(2, 40)) * 20, rng.integers(0, 2, 40).astype(np.int32)
    two, dZ2 = evaluate(xp, softmax_cross_entropy, Z, y)
    one, dZ1 = evaluate(xp, sigmoid_cross_entropy, Z[1:] - Z[:1], y[None].astype(float))
    assert_allclose(two, one, rtol=1e-12, atol=1e-14)
    assert_allclose(dZ2[1], dZ1[0], rtol=1e-12, atol=1e-14)
    assert_allclose(dZ2[0], -dZ1[0], rtol=1e-12, atol=1e-14)


@BOTH
def test_one_class_is_always_right(xp):
    ell, dZ = evaluate(xp, softmax_cross_entropy, np.array([[3.0, -1e4]]), np.ones((1, 2)))
    assert_array_equal(ell, 0)
    assert_array_equal(dZ, 0)


@BOTH
def test_several_labels_at_once_are_several_losses(xp):
    Z, Y = sample(sigmoid_cross_entropy)
    rows = [evaluate(xp, sigmoid_cross_entropy, Z[i : i + 1], Y[i : i + 1]) for i in range(6)]
    ell, dZ = evaluate(xp, sigmoid_cross_entropy, Z, Y)
    assert_allclose(ell, sum(r[0] for r in rows), rtol=1e-13)
    assert_allclose(dZ, np.concatenate([r[1] for r in rows]), rtol=1e-13)


def test_log_softmax_of_far_apart_logits_is_exact():
    assert_array_equal(log_softmax(np, np.array([[0.0], [-2000.0]])), [[0], [-2000]])


# weights, the mean, precision


@BOTH
def test_a_weight_of_two_is_the_sample_twice(xp):
    Z, Y = sample(softmax_cross_entropy)
    ell, dZ = evaluate(xp, softmax_cross_entropy, Z, Y)
    w = np.array([2.0, 0.0, *[1.0] * 7])
    weighted, dZ_weighted = ell.copy(), dZ.copy()
    xp[weigh](w, weighted, dZ_weighted)
    assert_array_equal(weighted, w * ell)
    assert_array_equal(dZ_weighted, w * dZ)
    assert_allclose(weighted.sum(), ell[[0, 0, *range(2, 9)]].sum(), rtol=1e-14)


@BOTH
def test_the_cost_is_the_mean(xp):
    J = np.empty(())
    xp[cost](np.array([1.0, 2.0, 6.0]), J)
    assert J == 3


@EVALUATE
@both_precisions
def test_a_precision_stays_what_it_is(loss, dtype):
    """The results are looked at before they are cast on their way into memory."""
    made = []

    class Result(np.ndarray):
        def __setitem__(self, key, value):
            made.append(value.dtype)
            super().__setitem__(key, value)

    Z, Y = sample(loss, dtype=dtype)
    ell, dZ, J = (np.empty(shape, dtype).view(Result) for shape in (9, (6, 9), ()))
    loss(np, Z, Y, ell, dZ)
    weigh(np, np.ones(9, dtype), ell, dZ)
    cost(np, ell, J)
    if loss is softmax_cross_entropy:
        y, classes = np.arange(9, dtype=np.int32) % 6, np.arange(6, dtype=np.int32)[:, None]
        softmax_cross_entropy_labels(np, Z, y, classes, ell, dZ)
    assert len(made) >= 5 and set(made) == {np.dtype(dtype)}


def test_a_loss_and_its_link_are_one_object():
    assert {name: loss.link.name for name, loss in LOSSES.items()} == {
        "softmax-cross-entropy": "softmax",
        "sigmoid-cross-entropy": "sigmoid",
        "squared-error": "identity",
    }
    assert [name for name, loss in LOSSES.items() if loss.evaluate_labels] == ["softmax-cross-entropy"]


def test_the_functions_return_the_mean_and_dZ():
    Z, Y = sample(softmax_cross_entropy)
    ell, dZ = evaluate(REFERENCE, softmax_cross_entropy, Z, Y)
    J, got = dx.softmax_cross_entropy(Z, Y)
    assert_allclose(float(J), ell.mean(), rtol=1e-15)
    assert_array_equal(got, dZ)
