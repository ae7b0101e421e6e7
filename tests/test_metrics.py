"""Metrics, against cases worked out by hand and against scikit-learn."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_equal

from deepxp import metrics
from deepxp.errors import DataError, ShapeError


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn, the reference, is not installed")


# y      0 0 0 1 1 2        class 3 has no samples and is never predicted, class 2 has one and is never predicted
# y_pred 0 0 1 1 0 1
Y, Y_PRED = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])


def test_classes_by_hand():
    assert_equal(metrics.accuracy(Y, Y_PRED), 3 / 6)
    C = metrics.confusion_matrix(Y, Y_PRED, 4)
    assert_array_equal(C, [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert C.dtype == np.int64
    assert_allclose(metrics.precision_per_class(Y, Y_PRED, 4), [2 / 3, 1 / 3, 0, 0])
    assert_allclose(metrics.recall_per_class(Y, Y_PRED, 4), [2 / 3, 1 / 2, 0, 0])
    assert_allclose(metrics.f1_per_class(Y, Y_PRED, 4), [2 / 3, 2 / 5, 0, 0])
    assert_allclose(metrics.f1(Y, Y_PRED, 4), (2 / 3 + 2 / 5 + 0) / 3)  # the fourth class is nowhere
    assert_equal(metrics.classification(Y, Y_PRED, 4), {"accuracy": 0.5, "f1": metrics.f1(Y, Y_PRED, 4)})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float32])
def test_labels_of_any_type_and_as_a_row(dtype):
    y, y_pred = np.array([[0, 99, 99, 7]], dtype), np.array([0, 99, 7, 99])
    C = metrics.confusion_matrix(y, y_pred, 100)  # 99 * 100 does not fit uint8
    assert_equal((C[0, 0], C[99, 99], C[99, 7], C[7, 99], C.sum()), (1, 1, 1, 1, 4))
    assert_equal(metrics.accuracy(y, y_pred), 0.5)


def test_two_classes_as_booleans():
    y, y_pred = np.array([True, True, False]), np.array([1, 0, 0])
    assert_array_equal(metrics.confusion_matrix(y, y_pred, 2), [[1, 0], [1, 1]])
    assert_equal(metrics.accuracy(np.array(["a", "b"]), np.array(["a", "a"])), 0.5)


def test_several_labels_by_hand():
    Y = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]])
    Y_pred = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]])
    assert_equal(metrics.subset_accuracy(Y, Y_pred), 2 / 4)
    assert_allclose(metrics.label_f1(Y, Y_pred), [2 / 3, 4 / 5, 0])
    assert_equal(metrics.multilabel(Y.astype(bool), Y_pred * 1.0), {"accuracy": 0.5, "f1": (2 / 3 + 4 / 5) / 3})


def test_numbers_by_hand():
    y, y_pred = np.array([1.0, 2, 3, 6]), np.array([1.0, 2, 5, 4])
    assert_allclose(metrics.mae(y, y_pred), 1)
    assert_allclose(metrics.mse(y, y_pred), 2)
    assert_allclose(metrics.rmse(y, y_pred), np.sqrt(2))
    assert_allclose(metrics.r2(y, y_pred), 1 - 8 / 14)  # the mean of y is 3
    assert_equal(metrics.regression(y, y_pred), {"r2": 1 - 8 / 14, "mae": 1.0, "rmse": np.sqrt(2)})
    both = np.stack([y, y]), np.stack([y_pred, y])  # the second output is exact
    assert_allclose(list(metrics.regression(*both).values()), [1 - 4 / 14, 0.5, np.sqrt(2) / 2])


def test_r2_of_a_constant_target():
    y = np.full(3, 0.1)
    assert y.mean() != 0.1  # so the sum of squares around the mean is not 0
    assert_equal(metrics.r2(y, y), 1.0)
    assert_equal(metrics.r2(y, y + 1), 0.0)
    assert_equal(metrics.r2([3.0], [3.0]), 1.0)
    assert_equal(metrics.r2(y, np.full(3, np.nan)), 0.0)
    assert_equal(metrics.r2([1.0, 2.0], [np.nan, 2.0]), np.nan)


def test_sums_run_in_float64():
    y = np.full(100_000, 100, np.float16)  # their sum of squares overflows float16 a thousand times over
    assert_allclose(metrics.rmse(y, y * 2), 100)
    assert_equal(metrics.mae(np.array([0], np.uint8), np.array([1], np.uint8)), 1.0)


def test_against_scikit_learn(sklearn):
    rng = np.random.default_rng(0)
    for m in (1, 7, 300):
        y, y_pred = rng.integers(0, 4, m), rng.integers(1, 5, m)
        options = {"labels": range(6), "average": None, "zero_division": 0}
        assert_allclose(metrics.accuracy(y, y_pred), sklearn.accuracy_score(y, y_pred))
        assert_array_equal(metrics.confusion_matrix(y, y_pred, 6), sklearn.confusion_matrix(y, y_pred, labels=range(6)))
        assert_allclose(metrics.precision_per_class(y, y_pred, 6), sklearn.precision_score(y, y_pred, **options))
        assert_allclose(metrics.recall_per_class(y, y_pred, 6), sklearn.recall_score(y, y_pred, **options))
        assert_allclose(metrics.f1_per_class(y, y_pred, 6), sklearn.f1_score(y, y_pred, **options))
        options = {"average": "macro", "zero_division": 0}
        assert_allclose(metrics.f1(y, y_pred, 6), sklearn.f1_score(y, y_pred, **options))


def test_several_labels_and_numbers_against_scikit_learn(sklearn):
    rng = np.random.default_rng(1)
    Y, Y_pred = rng.integers(0, 2, (2, 5, 40))
    Y[3] = Y_pred[3] = 0
    assert_allclose(metrics.subset_accuracy(Y, Y_pred), sklearn.accuracy_score(Y.T, Y_pred.T))
    assert_allclose(metrics.label_f1(Y, Y_pred), sklearn.f1_score(Y.T, Y_pred.T, average=None, zero_division=0))

    A, A_pred = rng.normal(size=(2, 4, 40))
    A[0], A[1], A_pred[1] = 2, 3, 3  # constant targets, missed and met
    assert_allclose(metrics.r2(A, A_pred), sklearn.r2_score(A.T, A_pred.T))
    assert_allclose(metrics.mae(A, A_pred), sklearn.mean_absolute_error(A.T, A_pred.T))
    assert_allclose(metrics.mse(A, A_pred), sklearn.mean_squared_error(A.T, A_pred.T))
    assert_allclose(metrics.rmse(A, A_pred), sklearn.root_mean_squared_error(A.T, A_pred.T))


@pytest.mark.parametrize("label", [-1, 3, 0.5, np.nan, np.inf])
def test_a_label_out_of_range(label):
    for pair in ([0, label], [0, 1]), ([0, 1], [0, label]):
        with pytest.raises(DataError, match=r"is not one of 0 to 2"):
            metrics.confusion_matrix(*pair, 3)
        with pytest.raises(DataError, match=r"is not one of 0 to 2"):
            metrics.f1(*pair, 3)


def test_what_does_not_fit_is_named():
    for metric in (metrics.accuracy, metrics.mae, metrics.r2, metrics.subset_accuracy):
        with pytest.raises(ShapeError, match=r"\(3,\).*\(4,\)"):
            metric(np.zeros(3), np.zeros(4))
        with pytest.raises(ShapeError, match=r"\.T"):
            metric(np.zeros(3), np.zeros((3, 1)))  # would broadcast to (3, 3)
        with pytest.raises(ShapeError):
            metric(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
        with pytest.raises(DataError, match="at least one sample"):
            metric(np.zeros(0), np.zeros(0))
    with pytest.raises(ShapeError, match=r"\.T"):
        metrics.accuracy(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ShapeError, match="several labels"):
        metrics.accuracy(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"0\.7"):
        metrics.label_f1([[0, 1]], [[0.7, 1]])
    with pytest.raises(DataError, match="dtype"):
        metrics.f1(["a"], ["b"], 2)
