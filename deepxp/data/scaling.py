"""Features brought to a common range, by what the training part alone shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepxp.data.places import Where, by_row
from deepxp.errors import ConfigError, DataError, ShapeError

KINDS = ("auto", "standard", "minmax", "range", "none")
BLOCK_VALUES = 2**20  # float64 copies are made of this many values at a time, never of a whole table


@dataclass(frozen=True, eq=False)
class Scaler:
    """x_scaled = (x - shift) * factor, feature by feature; shift and factor are (n,) float64.

    A feature that was constant in training has factor 1 and becomes 0 (with "range" and "none" it has no shift).
    """

    kind: str
    shift: np.ndarray
    factor: np.ndarray

    @property
    def inverse(self) -> tuple[np.ndarray, np.ndarray]:
        """(unit, shift) of x = x_scaled * unit + shift."""
        with np.errstate(divide="ignore"):  # a file may hold anything
            return 1.0 / self.factor, self.shift

    @classmethod
    def fit(cls, X: np.ndarray, kind: str = "auto", where: Where = by_row) -> "Scaler":
        """The scaler that the training samples X (m, n) call for.

        kind: "standard", each feature to mean 0 and standard deviation 1;
            "minmax", each feature to 0..1;
            "range", all of them divided by the largest |x| of the table, as pixels want it: their common unit is
                information, and one at the border, almost always 0, must not be blown up to standard deviation 1;
            "none", as they are;
            "auto", "range" for unsigned integers, which is how images are stored, and "standard" for anything else.

        Raises ConfigError for another kind, DataError for NaN, infinity or a spread beyond float64, naming the row
        (by `where`) and the feature, counted from 1.
        """
        if kind not in KINDS:
            raise ConfigError(f"scaling {kind!r} is not known; known are {', '.join(KINDS)}")
        _check_table(X)
        if kind == "auto":
            kind = "range" if X.dtype.kind == "u" else "standard"
        n = X.shape[1]
        shift, factor = np.zeros(n), np.ones(n)
        if kind == "none":
            return cls(kind, shift, factor)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            low, high, mean = _summary(X, where)
            varies = high > low
            if kind == "range":
                largest = np.maximum(-low, high).max()
                factor[:] = 1.0 / largest if largest > 0.0 else 1.0
            elif kind == "minmax":
                shift = low
                factor[varies] = 1.0 / (high - low)[varies]
            else:
                # the mean of equal values is off by rounding, and the remainder must not become a spread
                shift = np.where(varies, mean, low)
                factor[varies] = 1.0 / _deviation(X, shift)[varies]
        usable = np.isfinite(shift) & np.isfinite(factor) & (factor > 0.0)
        if not usable.all():
            j = int(np.argmin(usable))
            raise DataError(f"feature {j + 1}: values from {low[j]} to {high[j]} cannot be scaled in float64")
        return cls(kind, shift, factor)

    def transform(self, X: np.ndarray, dtype: npt.DTypeLike = np.float32, where: Where = by_row) -> np.ndarray:
        """(X - shift) * factor for X (m, n), as a new array (m, n) of the float `dtype`; computed in float64.

        Raises ShapeError if X has other than n features, and DataError for a value that is not finite, or not within
        `dtype`, naming the row (by `where`) and the feature, counted from 1.
        """
        _check_table(X)
        n = len(self.shift)
        if X.shape[1] != n:
            turned = "; its samples are columns: pass X.T" if X.shape[0] == n else ""
            raise ShapeError(f"X has shape {X.shape}, but {n} features per row are expected{turned}")
        out: np.ndarray = np.empty(X.shape, dtype)
        if out.dtype.kind != "f":
            raise ConfigError(f"dtype {out.dtype} cannot hold scaled features; give a float dtype")
        for start, block in _blocks(X):
            block -= self.shift
            block *= self.factor
            stop = start + len(block)
            with np.errstate(over="ignore"):
                out[start:stop] = block
            _check_finite(out[start:stop], X, start, where)
        return out


def _check_table(X: np.ndarray) -> None:
    if X.ndim != 2 or 0 in X.shape:
        raise ShapeError(f"X has shape {X.shape}; it must be a table (m, n), a sample per row, with m and n at least 1")
    if X.dtype.kind not in "buif":
        raise DataError(f"X is of dtype {X.dtype}; features must be real numbers")


def _blocks(X: np.ndarray) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """X as float64 copies of some rows at a time, each with the number of its first row."""
    step = max(1, BLOCK_VALUES // X.shape[1])
    for start in range(0, len(X), step):
        yield start, np.array(X[start : start + step], dtype=np.float64)


def _summary(X: np.ndarray, where: Where) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimum, maximum and mean of every feature, each (n,)."""
    n = X.shape[1]
    low, high, total = np.full(n, np.inf), np.full(n, -np.inf), np.zeros(n)
    for start, block in _blocks(X):
        _check_finite(block, X, start, where)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        total += block.sum(axis=0)
    return low, high, total / len(X)


def _deviation(X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """sqrt(1/m sum (x - mean)^2) of every feature (n,): a second pass, because E[x^2] - E[x]^2 cancels."""
    total = np.zeros(X.shape[1])
    for _, block in _blocks(X):
        block -= mean
        total += np.einsum("ij,ij->j", block, block)
    deviation: np.ndarray = np.sqrt(total / len(X))
    return deviation


def _check_finite(block: np.ndarray, X: np.ndarray, start: int, where: Where) -> None:
    if np.isfinite(block).all():
        return
    i, j = np.argwhere(~np.isfinite(block))[0]
    value = X[start + i, j]
    fault = f"does not fit {block.dtype}" if np.isfinite(value) else "is not a finite number"
    raise DataError(f"{where(int(start + i))}, feature {j + 1}: {value} {fault}")
