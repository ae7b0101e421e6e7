"""How good predictions are, on NumPy arrays in host memory; sums run in float64 whatever the dtype.

As everywhere inside the package a column is a sample: class labels are (m,) or (1, m), numbers and multi-label
indicators (k, m) or (m,), one output or label a row. Targets come first, predictions second, and their shapes agree.
ShapeError and DataError say what does not fit; zero samples is a DataError.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepxp.errors import DataError, ShapeError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Sets of metrics: what a report shows for each kind of task


def classification(y: ArrayLike, y_pred: ArrayLike, classes: int) -> dict[str, float]:
    """{"accuracy", "f1"} for one label a sample: see `accuracy` and `f1`"""
    return {"accuracy": accuracy(y, y_pred), "f1": f1(y, y_pred, classes)}


def multilabel(Y: ArrayLike, Y_pred: ArrayLike) -> dict[str, float]:
    """{"accuracy", "f1"} for several labels a sample: `subset_accuracy`, and the mean over labels of `label_f1`"""
    return {"accuracy": subset_accuracy(Y, Y_pred), "f1": float(label_f1(Y, Y_pred).mean())}


def regression(y: ArrayLike, y_pred: ArrayLike) -> dict[str, float]:
    """{"r2", "mae", "rmse"} for numbers: see the functions of these names"""
    return {"r2": r2(y, y_pred), "mae": mae(y, y_pred), "rmse": rmse(y, y_pred)}


# One label a sample


def accuracy(y: ArrayLike, y_pred: ArrayLike) -> float:
    """1/m sum [y = y_pred], labels of any type"""
    true, predicted = _vectors(y, y_pred)
    return float(np.mean(true == predicted))


def confusion_matrix(y: ArrayLike, y_pred: ArrayLike, classes: int) -> Ints:
    """C[i, j] = sum [y = i and y_pred = j], shape (classes, classes): rows are true classes, columns predicted"""
    true, predicted = _labels(y, y_pred, classes)
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def precision_per_class(y: ArrayLike, y_pred: ArrayLike, classes: int) -> Floats:
    """C[i, i] / sum_k C[k, i], shape (classes,), C as in `confusion_matrix`; 0 for a class that is never predicted"""
    hits, _, predicted = _counts(y, y_pred, classes)
    return _ratio(hits, predicted)


def recall_per_class(y: ArrayLike, y_pred: ArrayLike, classes: int) -> Floats:
    """C[i, i] / sum_k C[i, k], shape (classes,), C as in `confusion_matrix`; 0 for a class without samples"""
    hits, true, _ = _counts(y, y_pred, classes)
    return _ratio(hits, true)


def f1_per_class(y: ArrayLike, y_pred: ArrayLike, classes: int) -> Floats:
    """2 C[i, i] / (sum_k C[i, k] + sum_k C[k, i]), shape (classes,): 2PR / (P + R); 0 for a class found nowhere"""
    hits, true, predicted = _counts(y, y_pred, classes)
    return _ratio(2 * hits, true + predicted)


def f1(y: ArrayLike, y_pred: ArrayLike, classes: int) -> float:
    """Mean of `f1_per_class` over the classes that occur in y or in y_pred, each with the same weight ("macro")

    A class that occurs in neither is not counted, as in scikit-learn.
    """
    hits, true, predicted = _counts(y, y_pred, classes)
    occurs = true + predicted > 0
    return float(_ratio(2 * hits[occurs], (true + predicted)[occurs]).mean())


# Several labels a sample: (k, m) indicators of 0 and 1


def subset_accuracy(Y: ArrayLike, Y_pred: ArrayLike) -> float:
    """1/m sum over samples of [every label is right]"""
    true, predicted = _indicators(Y, Y_pred)
    return float(np.mean((true == predicted).all(axis=0)))


def label_f1(Y: ArrayLike, Y_pred: ArrayLike) -> Floats:
    """2 TP / (2 TP + FP + FN) of each label, shape (k,); 0 for a label that is neither present nor predicted"""
    true, predicted = _indicators(Y, Y_pred)
    return _ratio(2 * (true & predicted).sum(axis=1), true.sum(axis=1) + predicted.sum(axis=1))


# Numbers: each is computed for every output (row), then averaged over them


def r2(y: ArrayLike, y_pred: ArrayLike) -> float:
    """1 - sum (y - y_pred)^2 / sum (y - mean y)^2

    Where y is constant the quotient does not exist: then 1 if every prediction is exact, else 0 (as scikit-learn).
    """
    true, predicted = _numbers(y, y_pred)
    residual = ((true - predicted) ** 2).sum(axis=1)
    total = ((true - true.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    # The mean of equal numbers can differ from them in the last bit, so `total == 0` would not find them.
    constant = true.max(axis=1) == true.min(axis=1)
    score = 1.0 - residual / np.where(constant, 1.0, total)
    return float(np.where(constant, residual == 0.0, score).mean())


def mae(y: ArrayLike, y_pred: ArrayLike) -> float:
    """1/m sum |y - y_pred|, in the unit of y"""
    true, predicted = _numbers(y, y_pred)
    return float(np.abs(true - predicted).mean())


def mse(y: ArrayLike, y_pred: ArrayLike) -> float:
    """1/m sum (y - y_pred)^2, in the unit of y squared: twice the J of the regression loss when there is one output"""
    true, predicted = _numbers(y, y_pred)
    return float(((true - predicted) ** 2).mean())


def rmse(y: ArrayLike, y_pred: ArrayLike) -> float:
    """sqrt(1/m sum (y - y_pred)^2), in the unit of y"""
    true, predicted = _numbers(y, y_pred)
    return float(np.sqrt(((true - predicted) ** 2).mean(axis=1)).mean())


# The door


def _pair(y: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as (k, m)"""
    true, predicted = np.asarray(y), np.asarray(y_pred)
    for array in (true, predicted):
        if array.ndim not in (1, 2):
            raise ShapeError(f"targets and predictions must be (m,) or (k, m), not {array.shape}")
    rows, columns = np.atleast_2d(true), np.atleast_2d(predicted)
    if rows.shape != columns.shape:
        hint = "; transpose one of them with .T" if rows.shape == columns.T.shape else ""
        raise ShapeError(f"targets are {true.shape} and predictions {predicted.shape}; they must agree{hint}")
    if rows.size == 0:
        raise DataError(f"there is nothing to measure in arrays of shape {true.shape}; pass at least one sample")
    return rows, columns


def _vectors(y: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    true, predicted = _pair(y, y_pred)
    if true.shape[0] != 1:
        hint = "pass .T" if true.shape[1] == 1 else "several labels a sample have functions of their own"
        raise ShapeError(f"class labels must be (m,) or (1, m), not {true.shape}; {hint}")
    return true[0], predicted[0]


def _labels(y: ArrayLike, y_pred: ArrayLike, classes: int) -> tuple[Ints, Ints]:
    true, predicted = _vectors(y, y_pred)
    return _whole(true, classes), _whole(predicted, classes)


def _whole(labels: NDArray[Any], classes: int) -> Ints:
    if labels.dtype.kind not in "biuf":
        raise DataError(f"class labels must be the numbers 0 to {classes - 1}, not of dtype {labels.dtype}")
    # NaN fails every comparison, so it is found as well; floats are welcome because 0/1 targets are often stored so.
    fits = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
    if not fits.all():
        raise DataError(f"class label {labels[~fits][0]} is not one of 0 to {classes - 1}; check the labels or classes")
    return labels.astype(np.int64)


def _indicators(Y: ArrayLike, Y_pred: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    true, predicted = _pair(Y, Y_pred)
    for array in (true, predicted):
        fits = (array == 0) | (array == 1)
        if not np.all(fits):
            raise DataError(f"label indicators must be 0 or 1, not {array[~fits][0]}; compare probabilities with 0.5")
    return true == 1, predicted == 1


def _numbers(y: ArrayLike, y_pred: ArrayLike) -> tuple[Floats, Floats]:
    true, predicted = _pair(y, y_pred)
    return true.astype(np.float64), predicted.astype(np.float64)


def _counts(y: ArrayLike, y_pred: ArrayLike, classes: int) -> tuple[Ints, Ints, Ints]:
    """Of each class: samples that are right, that belong to it, that were predicted to; no (classes, classes) array"""
    true, predicted = _labels(y, y_pred, classes)
    hits, of, to = (np.bincount(of, minlength=classes) for of in (true[true == predicted], true, predicted))
    return hits, of, to


def _ratio(part: Ints, whole: Ints) -> Floats:
    """part / whole, and 0 where whole is 0"""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
