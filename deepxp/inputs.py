"""The door: what a caller hands in, checked once and turned into tables whose rows are samples.

Inside the package columns are samples, (n, m); a table in memory keeps the numbers of a sample together, and `table.T`
is the view that the mathematics sees.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepxp.errors import ConfigError, DataError, ShapeError
from deepxp.namespaces import array_namespace, asnumpy, is_array, library
from deepxp.ops.losses import Loss
from deepxp.ops.typing import Array

UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def samples(X: Any, n: int) -> Array:
    """The table (m, n) behind columns X (n, m); a view where the samples of X are contiguous in memory.

    Raises ShapeError for anything but n rows, and DataError for what is not a number.
    """
    if not isinstance(X, np.ndarray) and not is_array(X):
        X = np.asarray(X)
    if X.ndim != 2:
        raise ShapeError(
            f"X must have shape ({n}, m), a column for each sample, got {tuple(X.shape)}"
            + ("; a single sample x is x[:, None]" if X.ndim == 1 else "")
        )
    if X.shape[0] != n:
        hint = (
            "; its rows are samples: pass X.T"
            if X.shape[1] == n
            else f"; the network has {n} inputs, X has {X.shape[0]} rows"
        )
        raise ShapeError(f"X must have shape ({n}, m), a column for each sample, got {tuple(X.shape)}{hint}")
    if X.shape[1] == 0:
        raise ShapeError(f"X has no samples: its shape is {tuple(X.shape)}")
    if isinstance(X, np.ndarray) and X.dtype.kind not in "fiub":
        raise DataError(f"X must hold real numbers, got dtype {X.dtype}; convert it first, e.g. X.astype('float32')")
    table = X.T
    if isinstance(table, np.ndarray) and not table.flags.c_contiguous:
        table = np.ascontiguousarray(table)
    return table


def check_finite(table: Array) -> None:
    """Raises DataError naming the first sample of a table (m, n) that holds NaN or infinity."""
    if library(table) == "cupy":  # it is looked at where it is; any other is on the host, or has to come here
        xp = array_namespace(table)
        if bool(xp.all(xp.isfinite(table))):
            return
    _finite(asnumpy(table).T, "X")


def count(name: str, value: int) -> int:
    """A number of things, at least 1; anything else is a ConfigError."""
    try:
        count = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be a whole number, got {value!r}") from None
    if count < 1:
        raise ConfigError(f"{name} must be at least 1, got {value!r}")
    return count


def is_labels(loss: Loss, y: Array) -> bool:
    """Are these labels (m,) for a loss that takes labels as they are?"""
    return loss.evaluate_labels is not None and y.ndim == 1


def targets(y: Any, loss: Loss, outputs: int, m: int) -> Array:
    """The targets of m samples as a table on the host: labels (m,) in int32, or rows (m, n[L]).

    y may be labels (m,), one number a sample (m,) where n[L] = 1, or columns (n[L], m). Labels out of range, numbers
    outside [0, 1] where a probability is due, columns that do not sum to 1 and NaN raise DataError naming the sample.
    """
    if type(y) is not np.ndarray:  # a masked array would hide what its mask covers
        y = np.asarray(asnumpy(y) if is_array(y) else y)
    if y.dtype.kind not in "fiub":
        raise DataError(
            f"y must hold numbers, got dtype {y.dtype}; deepxp.data.encode_targets(y) turns names into labels 0..C-1"
        )
    if not y.dtype.isnative:
        y = y.astype(y.dtype.newbyteorder("="))
    if is_labels(loss, y):
        return _labels(y, outputs, m)
    if y.ndim == 1 and outputs == 1:
        y = y[None, :]
    if y.shape != (outputs, m):
        if y.shape == (m, outputs):
            raise ShapeError(f"y has shape {y.shape}: its rows are samples; pass y.T")
        wanted = f"labels ({m},) or columns ({outputs}, {m})" if loss.evaluate_labels else f"({outputs}, {m})"
        if outputs == 1:
            wanted = f"({m},) or (1, {m})"
        raise ShapeError(f"y must have shape {wanted} for {m} samples and {outputs} outputs, got {y.shape}")
    _finite(y, "y")
    least, most = (loss.least, math.inf) if loss.of_numbers else (0.0, 1.0)
    if y.min() < least or y.max() > most:
        sample = int(np.argmax(((y < least) | (y > most)).any(axis=0)))
        wanted = f"of {least:g} or more" if loss.of_numbers else "between 0 and 1"
        raise DataError(
            f"{loss.name} takes targets {wanted}, got {y[:, sample].tolist()} for sample {sample + 1}; "
            "for numbers use loss='squared-error', for more than two classes 'softmax-cross-entropy'"
        )
    if loss.evaluate_labels:
        sums = y.sum(axis=0)
        if (wrong := np.abs(sums - 1) > 1e-3).any():
            sample = int(np.argmax(wrong))
            raise DataError(
                f"the probabilities of a sample must sum to 1, sample {sample + 1} sums to {sums[sample]:g}"
            )
    return np.ascontiguousarray(y.T)


def _labels(y: Array, classes: int, m: int) -> Array:
    if y.shape != (m,):
        raise ShapeError(f"expected a label for each of the {m} samples, got {y.shape[0]}")
    if y.dtype.kind == "f":
        _finite(y, "y")
        if (y != np.floor(y)).any():
            sample = int(np.argmax(y != np.floor(y)))
            raise DataError(f"labels are whole numbers, got {y[sample]} for sample {sample + 1}")
    # as unsigned numbers negative labels are the greatest: one look at a training batch instead of two
    if y.dtype.kind == "i" and y.itemsize < 4:  # and greater than every class
        y = y.astype(np.int32)
    unsigned = y.view(UNSIGNED[y.itemsize]) if y.dtype.kind == "i" else y
    if unsigned.item(unsigned.argmax()) >= classes or (y.dtype.kind == "f" and y.min() < 0):
        sample = int(np.argmax((y < 0) | (y >= classes)))
        raise DataError(
            f"labels must lie in 0..{classes - 1} for {classes} outputs, got {y[sample]} for sample {sample + 1}"
        )
    return np.ascontiguousarray(y, dtype=np.int32)


def _finite(values: Array, name: str) -> None:
    # the sum of finite numbers is finite but for overflow: a cheap look first, the exact one where it fails
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    if not np.isfinite(total) and not (good := np.isfinite(values)).all():
        *rows, sample = np.argwhere(~good.T)[0][::-1]  # the first sample, not the first row
        raise DataError(f"{name} holds {values[(*rows, sample)]} for sample {int(sample) + 1}")


def sample_weights(
    y: Array, m: int, sample_weight: Any = None, class_weight: Mapping[int, float] | Sequence[float] | str | None = None
) -> Array | None:
    """w (m,), or None where all samples count alike.

    class_weight is a weight for each label, or 'balanced': m / (C m_c), with m_c the number of samples of class c.
    """
    if sample_weight is None and class_weight is None:
        return None
    w = np.ones(m)
    if sample_weight is not None:
        given = asnumpy(sample_weight) if is_array(sample_weight) else np.asarray(sample_weight)
        if given.shape != (m,):
            raise ShapeError(f"sample_weight must have shape ({m},), a weight for each sample, got {given.shape}")
        if given.dtype.kind not in "fiub":
            raise DataError(f"sample_weight must hold numbers, got dtype {given.dtype}")
        w = w * given
    if class_weight is not None:
        labels = y if y.ndim == 1 else y[:, 0]
        whole = ((labels >= 0) & (labels == np.floor(labels))).all()
        if labels.shape != (m,) or (y.ndim == 2 and y.shape[1] != 1) or not whole:
            raise ConfigError("class_weight needs one label for each sample; weigh the samples with sample_weight")
        w = w * _class_weights(labels.astype(np.int64), class_weight)
    if not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise DataError("weights must be finite, not negative, and not all zero")
    return w


def _class_weights(labels: Array, class_weight: Mapping[int, float] | Sequence[float] | str) -> Array:
    counts = np.bincount(labels)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ConfigError(f"class_weight must be 'balanced' or a weight for each class, got {class_weight!r}")
        table = labels.size / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping):
        if wrong := [c for c in class_weight if not isinstance(c, int | np.integer) or c < 0]:
            raise ConfigError(f"class_weight names the classes by their labels 0, 1, ..., got {wrong[0]!r}")
        if unseen := [c for c in class_weight if c >= counts.size]:
            raise ConfigError(f"class_weight names class {unseen[0]}, the labels end at {counts.size - 1}")
        table = np.array([float(class_weight.get(c, 1.0)) for c in range(counts.size)])
    else:
        table = np.asarray(class_weight, dtype=float)
        if table.size < counts.size:
            raise ConfigError(f"class_weight has {table.size} weights for labels up to {counts.size - 1}")
    return table[labels]
