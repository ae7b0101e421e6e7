"""A training set on a device, handed out in batches: rows are gathered into memory that exists."""

from collections.abc import Callable
from dataclasses import dataclass

from deepxp.backend import Backend
from deepxp.ops.batches import gather
from deepxp.ops.typing import Array


@dataclass(frozen=True)
class Batches:
    """Tables X (M, n[0]), Y (M, n[L]) or labels (M,), and weights w (M,) or None, all on the backend's device.

    On the CPU they are the caller's own memory, in its own type: uint8 pixels or a memory-mapped file stay what they
    are, and only the rows of a batch are converted.
    """

    backend: Backend
    X: Array
    Y: Array
    w: Array | None
    scale: Callable[[Array], None] | None = None  # of the rows of a batch, in place

    @classmethod
    def of(
        cls, backend: Backend, X: Array, Y: Array, w: Array | None, scale: Callable[[Array], None] | None = None
    ) -> "Batches":
        """The tables moved to the device, once."""
        return cls(backend, backend.asarray(X), backend.asarray(Y), None if w is None else backend.asarray(w), scale)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def fill(self, rows: Array, X: Array, Y: Array, w: Array) -> None:
        """Write the samples `rows` (m,), indices on the device, into X (m, n[0]), Y and w."""
        take = self.backend[gather]
        take(self.X, rows, X)
        if self.scale is not None:
            self.scale(X)
        take(self.Y, rows, Y)
        if self.w is not None:
            take(self.w, rows, w)
