"""A table of samples in memory: what every reader returns and what training starts from."""

from dataclasses import dataclass, field

import numpy as np

from deepxp.data.places import Where, by_row
from deepxp.data.readers.options import BY_POSITION, Columns
from deepxp.errors import DataError, ShapeError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and their targets as they were read; rows are samples.

    X: (m, n), of the real dtype it was stored in: uint8 stays uint8, a memory-mapped file stays mapped.
    y: raw targets, (m,) of whole numbers, numbers or text, or (m, k); None if the file has none.
    name: what messages call it, a path or `digits`.
    features: the names of the n features, if the file has a header: of its columns, and `city=Oslo` of a category.
    columns: the columns of a table as they were read, to read another one for the same model.
    X_test, y_test: the test part, if the file brings its own.
    target: the target's column in a table: its name, or without a header its position from 0.
    ignored: the columns of a table that are neither.
    where, where_y: the place of a row, and of its target, for messages.

    Raises ShapeError if X is not a table or y does not have a target per row, DataError if X is empty.
    """

    X: np.ndarray
    y: np.ndarray | None
    name: str
    features: tuple[str, ...] | None = None
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    target: str | int | None = None
    ignored: tuple[str, ...] = ()
    columns: Columns = BY_POSITION
    where: Where = field(default=by_row, repr=False)
    where_y: Where = field(default=by_row, repr=False)

    def __post_init__(self) -> None:
        _check_part(self.name, self.X, self.y)
        if self.X_test is None:
            return
        _check_part(f"{self.name}, test part", self.X_test, self.y_test)
        if self.X_test.shape[1] != self.X.shape[1]:
            raise ShapeError(
                f"{self.name}: the test part has {self.X_test.shape[1]} features per row, the rest {self.X.shape[1]}"
            )


def _check_part(name: str, X: np.ndarray, y: np.ndarray | None) -> None:
    if X.ndim != 2:
        raise ShapeError(f"{name}: X has shape {X.shape}; it must be a table (m, n), a sample per row")
    m, n = X.shape
    if m == 0:
        raise DataError(f"{name}: has no rows")
    if n == 0:
        raise DataError(f"{name}: has no feature columns")
    if y is None or (y.ndim >= 1 and len(y) == m):
        return
    if y.ndim >= 1 and len(y) == n:
        raise ShapeError(f"{name}: X is {X.shape} and there are {n} targets; rows are samples, so pass X.T")
    raise ShapeError(f"{name}: {m} rows but targets of shape {y.shape}; every row needs one target")
