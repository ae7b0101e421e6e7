"""Train, validation and test part of a dataset, from an order that the caller drew."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import chosen, in_file
from deepxp.errors import ConfigError


class Parts(NamedTuple):
    """The three parts of a dataset; a part that was not asked for is None, never an empty table."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None


def split(
    dataset: Dataset,
    *,
    order: np.ndarray,
    test: float = 0.2,
    validation: float = 0.0,
    labels: np.ndarray | None = None,
) -> Parts:
    """Split by `order`, a permutation of the m rows: first the test part, then validation, the rest trains.

    With `labels` (m,), whole numbers from 0, the split is stratified: every part has of every class the share that all
    rows have, to within about a row. A class too small for a row in every part is kept to train: as long as less than
    half of the rows is held out, training sees every class.

    `test` and `validation` are fractions of all m rows; a part that is asked for gets at least one. Because the test
    part comes first, asking for more validation never moves a row into or out of it. A dataset with its own test part
    keeps that one, whatever `test` says.

    Parts are copies of their rows, also of a memory-mapped file, taken in the order they are stored in, so that a disk
    is read forwards. When nothing is held out, the train part is the dataset's own memory.

    Raises ConfigError for fractions that leave no row to train on and for an order that is no permutation.
    """
    m = len(dataset.X)
    if order.shape != (m,) or not np.array_equal(np.sort(order), np.arange(m)):
        raise ConfigError(f"{dataset.name}: order must hold each of the rows 0..{m - 1} once, to split {m} rows")
    if labels is not None:
        order = _stratified(order, labels)
    m_test = 0 if dataset.X_test is not None else _rows(m, test, "test")
    m_validation = _rows(m, validation, "validation")
    held_out = m_test + m_validation
    if held_out >= m:
        raise ConfigError(
            f"{dataset.name}: {m_test} test and {m_validation} validation rows out of {m} leave none to train on"
        )
    return Parts(
        train=_take(dataset, order[held_out:]),
        validation=_take(dataset, order[m_test:held_out]) if m_validation else None,
        test=_take(dataset, order[:m_test]) if m_test else _own_test(dataset),
    )


def _stratified(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The order in which the j-th of the m_c rows of each class, counted from 0, comes at (j + 1/2) / m_c of the way:
    whatever its length, a part of it holds each class in its share."""
    ordered = labels[order]
    by_class = np.argsort(ordered, kind="stable")  # the rows of a class one after another, each in its order
    sizes = np.bincount(ordered)
    nth = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.empty(len(order))
    place[by_class] = (nth + 0.5) / np.repeat(sizes, sizes)
    return order[np.argsort(place, kind="stable")]


def _rows(m: int, fraction: float, part: str) -> int:
    if not 0.0 <= fraction < 1.0:
        raise ConfigError(f"{part}={fraction} is not a fraction of the rows; give a number from 0 to less than 1")
    return max(1, round(m * fraction)) if fraction else 0


def _take(dataset: Dataset, rows: np.ndarray) -> Dataset:
    if len(rows) == len(dataset.X):
        return replace(dataset, X_test=None, y_test=None)
    rows = np.sort(rows)
    return replace(
        dataset,
        X=dataset.X[rows],
        y=None if dataset.y is None else dataset.y[rows],
        X_test=None,
        y_test=None,
        where=chosen(dataset.where, rows),
        where_y=chosen(dataset.where_y, rows),
    )


def _own_test(dataset: Dataset) -> Dataset | None:
    if dataset.X_test is None:
        return None
    where = in_file(f"{dataset.name}, test part")
    return Dataset(dataset.X_test, dataset.y_test, dataset.name, dataset.features, where=where, where_y=where)
