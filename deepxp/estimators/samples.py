"""Rows of a table, dense or sparse, in batches for a step; arrays of other libraries in, and out again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils._array_api import get_namespace

from deepxp.backend import Backend
from deepxp.data.batches import Batches, Streamed
from deepxp.namespaces import asnumpy
from deepxp.ops.typing import Array
from deepxp.workspace import Workspace


def host(x: Any) -> Any:
    """x as a NumPy array, the same memory where it is on the CPU; a sparse matrix as it is."""
    return x if issparse(x) else asnumpy(x)


def like(x: Any, values: Array) -> Array:
    """NumPy's values as an array of the library of x, on its device. Text stays NumPy's: no other library has it."""
    if issparse(x) or isinstance(x, np.ndarray) or values.dtype.kind not in "fiub":
        return values
    return get_namespace(x)[0].asarray(values, device=x.device)


@dataclass(frozen=True)
class Samples:
    """X (M, n[0]), dense or CSR; Y labels (M,) in int32, or rows (M, n[L]); w (M,) on the host, or None."""

    backend: Backend
    X: Any
    Y: Array
    w: Array | None
    batches: (
        Batches | Streamed | None
    )  # X and Y on the device; a sparse X stays where it is, and becomes dense batch by batch

    @classmethod
    def of(cls, backend: Backend, X: Any, Y: Array, w: Array | None) -> "Samples":
        """Dense tables are moved to the device, once."""
        return cls(backend, X, Y, w, None if issparse(X) else Batches.of(backend, X, Y, None))

    @property
    def labels(self) -> bool:
        """Are the targets labels?"""
        return bool(self.Y.ndim == 1)

    @property
    def total(self) -> float:
        """S, the sum of the weights, of all samples."""
        return self.Y.shape[0] if self.w is None else float(self.w.sum())

    def fill(self, rows: Array, work: Workspace) -> float:
        """Write the samples `rows`, indices on the host, into the workspace. Returns the sum S of their weights.

        The weights are written as w m / S: the mean of m weighted losses is then sum w loss / S.
        """
        write = self.backend.write
        if self.batches is not None:
            self.batches.fill(self.batches.order(rows), work.X, work.Y, work.w)
        else:
            write(work.X, self.X[rows].toarray())
            write(work.Y, self.Y[rows])
        if self.w is None:
            return work.m
        w = self.w[rows]
        S = float(w.sum())
        if S != 0:
            write(work.w, w * (work.m / S))
        return S
