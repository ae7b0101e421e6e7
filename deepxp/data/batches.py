"""A training set handed out in batches: rows are gathered into memory that exists, on the device or on its way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.kernels import streams
from deepxp.kernels.numpy import gather as gather_on_the_host
from deepxp.namespaces import host_array
from deepxp.ops.batches import gather
from deepxp.ops.typing import Array
from deepxp.workspace import Workspace

Scale = Callable[[Array], None]  # of the rows of a batch, in place
Filling = Callable[[Workspace], None]  # what a step that is recorded begins with


@dataclass(frozen=True, eq=False)
class Batches:
    """Tables X (M, n[0]), Y (M, n[L]) or labels (M,), and weights w (M,) or None, all on the backend's device.

    On the CPU they are the caller's own memory, in its own type: uint8 pixels or a memory-mapped file stay what they
    are, and only the rows of a batch are converted.
    """

    backend: Backend
    X: Array
    Y: Array
    w: Array | None
    scale: Scale | None = None

    @classmethod
    def of(
        cls, backend: Backend, X: Array, Y: Array, w: Array | None, scale: Scale | None = None, *, need: int = 0
    ) -> "Batches | Streamed":
        """The tables moved to the device, once, where they fit beside the `need` bytes of a run; else they stay on the
        host, from where batches are sent."""
        if not hasattr(backend, "lane") or fits(backend, (X, Y, w), need):  # the CPU reads tables where they are
            try:
                there = [None if x is None else backend.asarray(x) for x in (X, Y, w)]
                kind = Resident if hasattr(backend, "lane") else cls
                return kind(backend, there[0], there[1], there[2], scale)
            except MemoryError:  # free, but in pieces
                pass
        return Streamed(backend, X, Y, w, scale)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def order(self, rows: Array) -> Array:
        """Indices of samples where `fill` reads them: here, on the device."""
        return self.backend.asarray(rows)

    def fill(self, rows: Array, X: Array, Y: Array, w: Array) -> None:
        """Write the samples `rows` (m,), a part of what `order` gave, into X (m, n[0]), Y and w."""
        take = self.backend[gather]
        take(self.X, rows, X)
        if self.scale is not None:
            self.scale(X)
        take(self.Y, rows, Y)
        if self.w is not None:
            take(self.w, rows, w)

    def ready(self, rows: Array, work: Workspace) -> Filling | None:
        """Fill a workspace with the samples `rows`, or say how the step does it."""
        self.fill(rows, work.X, work.Y, work.w)
        return None


@dataclass(frozen=True, eq=False)
class Resident(Batches):
    """The same on a GPU: which samples are next is written into memory that stays, a piece for each batch size, so that
    a step which begins with gathering them can be recorded with it."""

    next: dict[int, Array] = field(default_factory=dict)

    def ready(self, rows: Array, work: Workspace) -> Filling:
        if work.m not in self.next:
            self.next[work.m] = self.backend.empty((work.m,), "int64")
        self.next[work.m][...] = rows
        return self._gather

    def _gather(self, work: Workspace) -> None:
        self.fill(self.next[work.m], work.X, work.Y, work.w)


class Streamed:
    """The same for tables on the host that do not fit on the device: each batch is gathered into page-locked memory and
    copied while the device works on the one before."""

    def __init__(self, backend: Any, X: Array, Y: Array, w: Array | None, scale: Scale | None) -> None:
        self.backend, self.scale = backend, scale
        self.X, self.Y, self.w = host_array(X), host_array(Y), None if w is None else host_array(w)
        self._lanes: dict[str, streams.Lane] = {}

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def order(self, rows: Array) -> Array:
        """Indices of samples where `fill` reads them: on the host."""
        return np.asarray(rows)

    def fill(self, rows: Array, X: Array, Y: Array, w: Array) -> None:
        """Write the samples `rows` (m,) into X (m, n[0]), Y and w on the device."""
        self._send("X", self.X, rows, X)
        if self.scale is not None:
            self.scale(X)
        self._send("Y", self.Y, rows, Y)
        if self.w is not None:
            self._send("w", self.w, rows, w)

    def ready(self, rows: Array, work: Workspace) -> None:
        """Fill a workspace with the samples `rows`."""
        self.fill(rows, work.X, work.Y, work.w)

    def _send(self, name: str, table: Array, rows: Array, out: Array) -> None:
        if name not in self._lanes or self._lanes[name].rows < out.shape[0]:
            narrower = min(table.dtype, out.dtype, key=lambda dtype: dtype.itemsize)  # fewer bytes to send
            self._lanes[name] = self.backend.lane(out.shape, narrower)
        self._lanes[name].fill(partial(gather_on_the_host, np, table, rows), out)


def fits(backend: Backend, tables: tuple[Array | None, ...], need: int) -> bool:
    """Is there room on the device for those of the tables that are not there yet, beside `need` bytes?"""
    free = backend.free_memory()
    return free is None or need + sum(x.nbytes for x in tables if x is not None and not backend.owns(x)) <= free
