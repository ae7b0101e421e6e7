"""Rows of a table, dense or sparse, with their targets and weights: handed to a step in batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.data.batches import Batches
from deepxp.ops.typing import Array
from deepxp.workspace import Workspace


@dataclass(frozen=True)
class Samples:
    """X (M, n[0]), dense or CSR; Y labels (M,) in int32, or rows (M, n[L]); w (M,) on the host, or None."""

    backend: Backend
    X: Any
    Y: Array
    w: Array | None
    batches: Batches | None  # X and Y on the device; a sparse X stays where it is, and becomes dense batch by batch

    @classmethod
    def of(cls, backend: Backend, X: Any, Y: Array, w: Array | None) -> "Samples":
        """Dense tables are moved to the device, once."""
        dense = isinstance(X, np.ndarray)
        return cls(backend, X, Y, w, Batches.of(backend, X, Y, None) if dense else None)

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
            self.batches.fill(self.backend.asarray(rows), work.X, work.Y, work.w)
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
