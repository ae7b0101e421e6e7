"""What an array from a file must be to serve as X or y."""

import numpy as np

from deepxp.errors import DataError, ShapeError

REAL = "buif"
TEXT = "US"


def as_table(X: np.ndarray, name: str) -> np.ndarray:
    """X as (m, n), of the dtype it has; images (m, h, w) or (m, h, w, c) are flattened, as a view where they can be.

    Raises DataError for what is not real numbers and ShapeError for other shapes.
    """
    if X.dtype.kind not in REAL:
        raise DataError(f"{name}: the features are of dtype {X.dtype}; they must be real numbers")
    if X.ndim == 1:
        raise ShapeError(
            f"{name}: the features have shape {X.shape}; if that is one feature per sample, use X.reshape(-1, 1)"
        )
    if X.ndim not in (2, 3, 4):
        raise ShapeError(
            f"{name}: the features have shape {X.shape}; use a table (m, n) or images (m, h, w) or (m, h, w, c)"
        )
    return X.reshape(len(X), int(np.prod(X.shape[1:])))


def as_targets(y: np.ndarray, name: str) -> np.ndarray:
    """Targets (m,) or (m, k), of the dtype they have; a single column (m, 1) becomes (m,).

    Raises DataError for what is neither numbers nor text and ShapeError for other shapes.
    """
    if y.dtype.kind not in REAL + TEXT:
        raise DataError(f"{name}: the targets are of dtype {y.dtype}; they must be real numbers or text")
    if y.ndim not in (1, 2):
        raise ShapeError(f"{name}: the targets have shape {y.shape}; they must be (m,) or (m, k)")
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
