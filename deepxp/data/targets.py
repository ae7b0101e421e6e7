"""Targets as a loss takes them, from targets as a file holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from deepxp.data.places import Where, by_row
from deepxp.errors import ConfigError, DataError, ShapeError

Kind = Literal["classes", "multilabel", "probabilities", "numbers"]

FEW = 20  # so many classes are believed even where half of them come once


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded targets of m samples.

    kind and y: "classes", (m,) int32 from 0 to C - 1; "multilabel", (m, k) uint8, 0 or 1; "probabilities", (m, C)
        floats whose rows sum to 1; "numbers", (m,) or (m, k) float64.
    classes: the names of the classes in the order of their index, as text; None for numbers.
    outputs: how many things are predicted: C, k, or 1.
    """

    kind: Kind
    y: np.ndarray
    classes: tuple[str, ...] | None
    outputs: int


def encode_targets(
    y: np.ndarray,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    where: Where = by_row,
) -> Targets:
    """Encode raw targets (m,) or (m, k); one-hot arrays are never built, and those that come are undone.

    With kind None the values decide, not the dtype they happen to be stored in:

    - (m,) of text, booleans or whole numbers (1.0 is one): classes. Whole numbers that are hardly ever the same twice,
      every row its own or over 20 with fewer than two rows each, are more likely measured: refused with advice.
    - (m,) with a fraction anywhere: numbers.
    - (m, k) of 0 and 1: classes if every row has exactly one 1 (one-hot), else multilabel.
    - (m, k) of nonnegative rows that sum to 1: probabilities. Other (m, k): numbers.

    `classes`, from a model, fixes the names and their order. Otherwise numbers are sorted as numbers and text as text.
    A label is a name: -1 and 1 are the two classes "-1" and "1", and no label is ever used as an index.

    Raises DataError naming the row (by `where`) and the value, for a label that is not in `classes`, values that are
    not finite or do not fit `kind`, and for fewer than two classes; ShapeError for a shape that does not fit `kind`;
    ConfigError for an unknown kind.
    """
    y = _plain(np.asarray(y))
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError(f"targets of kind {kind!r} are not known; known are {', '.join(get_args(Kind))}")
    _check_finite(y, where)
    if kind is None:
        kind = "classes" if classes is not None and y.ndim == 1 else _infer(y)
        guessed = classes is None
    else:
        guessed = False
    if kind == "numbers":
        return _numbers(y, where)
    if y.ndim == 2:
        return _rows(y, kind, classes, where)
    if kind != "classes":
        raise ShapeError(f"targets of shape {y.shape} cannot be of kind {kind!r}: that takes a column for each class")
    return _classes(y, classes, guessed, where)


def _plain(y: np.ndarray) -> np.ndarray:
    """y with text as NumPy's own str and a single column as (m,)."""
    if y.dtype.kind == "O" and all(isinstance(label, str) for label in y.flat):
        y = y.astype(str)
    if y.dtype.kind in "ST":
        y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y.astype(str)
    if y.dtype.kind not in "buifU":
        raise DataError(f"targets of dtype {y.dtype} cannot be used; they must be real numbers or text")
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ShapeError(f"targets have shape {y.shape}; they must be (m,) or (m, k), with m and k at least 1")
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _check_finite(y: np.ndarray, where: Where) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        _refuse(y, ~np.isfinite(y), "is not a finite number", where)


def _refuse(y: np.ndarray, bad: np.ndarray, fault: str, where: Where) -> None:
    """Raise DataError for the first target that is `bad`."""
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    column = f", target {place[1] + 1}" if len(place) > 1 else ""
    raise DataError(f"{where(place[0])}{column}: {y[place].item()!r} {fault}")


def _infer(y: np.ndarray) -> Kind:
    if y.ndim == 1:
        return "numbers" if y.dtype.kind == "f" and (y != np.rint(y)).any() else "classes"
    if y.dtype.kind == "U":
        return "classes"
    if ((y == 0) | (y == 1)).all():
        return "classes" if (y.sum(axis=1) == 1).all() else "multilabel"
    return "probabilities" if (y >= 0).all() and _sums_to_one(y).all() else "numbers"


def _sums_to_one(y: np.ndarray) -> np.ndarray:
    close: np.ndarray = np.abs(y.sum(axis=1, dtype=np.float64) - 1.0) <= 1e-4  # room for float16 and rounded decimals
    return close


def _numbers(y: np.ndarray, where: Where) -> Targets:
    if y.dtype.kind == "U":
        _refuse(y, np.ones(y.shape, bool), "is text where a number is to be predicted", where)
    return Targets("numbers", y.astype(np.float64), None, 1 if y.ndim == 1 else y.shape[1])


def _rows(y: np.ndarray, kind: Kind, classes: Sequence[str] | None, where: Where) -> Targets:
    """Targets (m, k) with a column per class."""
    k = y.shape[1]
    names = tuple(map(str, range(k))) if classes is None else tuple(classes)
    if len(names) != k:
        raise ShapeError(f"targets of shape {y.shape} have {k} columns, but the classes are {_shown(names)}")
    if y.dtype.kind == "U":
        raise ShapeError(f"targets of shape {y.shape} are text; give one column of class names")
    if kind == "probabilities":
        if (y < 0).any():
            _refuse(y, y < 0, "is negative and no probability", where)
        if not _sums_to_one(y).all():
            row = int(np.argmin(_sums_to_one(y)))
            raise DataError(f"{where(row)}: the probabilities sum to {y[row].sum():g}, not to 1")
        return Targets(kind, y if y.dtype.kind == "f" else y.astype(np.float64), names, k)
    if not ((y == 0) | (y == 1)).all():
        _refuse(y, (y != 0) & (y != 1), "is neither 0 nor 1", where)
    if kind == "multilabel":
        return Targets(kind, y.astype(np.uint8), names, k)
    if not (y.sum(axis=1) == 1).all():
        row = int(np.argmax(y.sum(axis=1) != 1))
        raise DataError(f"{where(row)}: {int(y[row].sum())} classes at once; that is a target of kind multilabel")
    return Targets(kind, y.argmax(axis=1).astype(np.int32), names, k)


def _classes(y: np.ndarray, classes: Sequence[str] | None, guessed: bool, where: Where) -> Targets:
    """Targets (m,) that name one class each."""
    if y.dtype.kind == "f" and (y != np.rint(y)).any():
        _refuse(y, y != np.rint(y), "names no class; predict it as a number (--loss squared-error)", where)
    labels, indices = np.unique(y, return_inverse=True)
    found = tuple(_name(label) for label in labels.tolist())
    if classes is not None:
        known = {name: index for index, name in enumerate(classes)}
        table = np.array([known.get(name, -1) for name in found], np.int32)
        encoded = table[indices]
        if encoded.min() < 0:
            _refuse(y, encoded < 0, f"is not a class of this model; those are {_shown(classes)}", where)
        return Targets("classes", encoded, tuple(classes), len(classes))
    m, count = len(y), len(found)
    if count == 1:
        raise DataError(f"all {m} targets are {found[0]!r}; there must be at least two classes to tell apart")
    if guessed and m > 2 and (count == m or (count > FEW and 2 * count > m)):
        raise DataError(
            f"the targets take {count} values in {m} rows, too many to be classes; "
            + ("choose another column" if y.dtype.kind == "U" else "predict them as numbers (--loss squared-error)")
        )
    return Targets("classes", indices.astype(np.int32), found, count)


def _name(label: object) -> str:
    """The text of a label: 1.0 is "1", as it would be in a file that stores whole numbers as such."""
    return str(int(label)) if isinstance(label, float) else str(label)


def _shown(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} classes)" if len(names) > most else "")
