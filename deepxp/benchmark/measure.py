"""What is timed and how: the clock is read around rounds of repeated calls, and the medians of the rounds are reported.

A round lasts so long that neither the clock nor the waiting counts. A device that computes while the host goes on is
waited for before both readings. The contenders take turns, in the opposite order every other time, so that whatever
slows the machine for a while slows all of them. Clock and backends are passed in.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.network import IDENTITY
from deepxp.ops import dense
from deepxp.ops.activations import softmax
from deepxp.ops.losses import softmax_cross_entropy_labels
from deepxp.ops.typing import Array
from deepxp.step import TrainingStep

PRODUCTS = ("W A", "dZ A^T", "W^T dZ")
ITEMS = (*PRODUCTS, "softmax", "copy", "loss", "transfer", "step")
"""In the order of measuring; a transfer there is only where the device has memory of its own."""

OUTPUTS = 10  # n[L] of the network n-n-n-10 that is trained
MOST_REPEATS = 100_000


@dataclass(frozen=True)
class Call:
    """Something to do on a backend."""

    backend: Backend
    run: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of a call: the first one, and over `rounds` rounds of `repeats` calls the median, least and greatest."""

    first: float
    seconds: float
    low: float
    high: float
    rounds: int
    repeats: int


@dataclass(frozen=True)
class Stopwatch:
    """`rounds` is how many are wanted, `least` the seconds that one of them should last."""

    clock: Callable[[], float]
    rounds: int = 15
    least: float = 0.003

    def once(self, call: Call, repeats: int = 1) -> float:
        """The seconds of one round, the device waited for at both ends."""
        with call.backend.active():
            call.backend.synchronize()
            start = self.clock()
            for _ in repeat(None, repeats):
                call.run()
            call.backend.synchronize()
            return self.clock() - start

    def compare(self, calls: Mapping[str, Call], limit: float) -> dict[str, Timing | str]:
        """The timing of each call, or that the memory did not suffice.

        After `limit` seconds no further round is begun; first calls, which may compile, are not counted, and every
        call is repeated at least once.
        """
        first: dict[str, float] = {}
        failed: dict[str, Timing | str] = {}
        for name, call in calls.items():
            try:
                first[name] = self.once(call)
            except MemoryError as error:
                failed[name] = out_of_memory(error)
        deadline = self.clock() + limit
        # the calibration's last round is the first of the sample: nothing is thrown away where time is short
        begun = {name: self._calibrate(calls[name]) for name in first}
        repeats = {name: count for name, (count, _) in begun.items()}
        samples = {name: [seconds / count] for name, (count, seconds) in begun.items()}
        for done in range(1, self.rounds):
            if self.clock() >= deadline:
                break
            for name in reversed(first) if done % 2 else first:
                samples[name].append(self.once(calls[name], repeats[name]) / repeats[name])
        return failed | {
            name: Timing(first[name], statistics.median(s), min(s), max(s), len(s), repeats[name])
            for name, s in samples.items()
        }

    def _calibrate(self, call: Call) -> tuple[int, float]:
        """How many calls make a round, and the seconds of one such round."""
        repeats, seconds = 1, self.once(call)
        while seconds < self.least and repeats < MOST_REPEATS:
            missing = math.ceil(self.least / seconds) if seconds > self.least / 10 else 10
            repeats = min(MOST_REPEATS, repeats * missing)
            seconds = self.once(call, repeats)
        return repeats, seconds


def out_of_memory(error: MemoryError) -> str:
    """Why there is no number."""
    return f"out of memory: {' '.join(str(error).split())}" if str(error) else "out of memory"


class Batch:
    """Random numbers of one (m, n) on the host: the matrices of a layer, and a batch of m samples."""

    def __init__(self, m: int, n: int, dtype: str) -> None:
        random: Any = np.random.default_rng(0)
        self.m, self.n, self.dtype = m, n, dtype
        self.W = random.standard_normal((n, n), dtype) / np.sqrt(n).astype(dtype)
        self.A, self.dZ = (random.standard_normal((n, m), dtype) for _ in range(2))
        self.b = np.zeros((n, 1), dtype)
        self.labels = random.integers(n, size=m).astype(np.int32)
        self.classes = np.arange(n, dtype=np.int32)[:, None]
        self.X = random.standard_normal((m, n), dtype)
        self.y = random.integers(OUTPUTS, size=m).astype(np.int32)


def calls(backend: Backend, batch: Batch, step: TrainingStep) -> dict[str, Call]:
    """What is timed of a batch on a backend, by the names in ITEMS."""
    n, m, dtype = batch.n, batch.m, batch.dtype
    with backend.active():
        W, b, A, dZ, labels, classes = map(
            backend.asarray, (batch.W, batch.b, batch.A, batch.dZ, batch.labels, batch.classes)
        )
        Z, dA, dW, losses = (backend.empty(shape, dtype) for shape in ((n, m), (n, m), (n, n), (m,)))
        work = step.workspace(m, labels=True)

    def transfer() -> None:
        backend.write(work.X, batch.X)
        backend.write(work.Y, batch.y)

    with backend.active():
        transfer()
    found: dict[str, Callable[[], object]] = {
        "W A": partial(backend[dense.dense_forward], W, b, A, IDENTITY, Z, Z),
        "dZ A^T": partial(backend[dense.weight_gradient], dZ, A, dW),
        "W^T dZ": partial(backend[dense.input_gradient], W, dZ, dA),
        "softmax": partial(backend[softmax], A),
        "copy": partial(backend.write, dA, A),
        "loss": partial(backend[softmax_cross_entropy_labels], A, labels, classes, losses, dA),
        "step": partial(step.run, work, labels=True),
    }
    if not shares_memory(backend):
        found["transfer"] = transfer
    return {item: Call(backend, found[item]) for item in ITEMS if item in found}


def shares_memory(backend: Backend) -> bool:
    """Is the memory of this device the host's, so that nothing has to be moved?"""
    return backend.owns(np.empty(0))


def square_product(backend: Backend, N: int, dtype: str) -> Call:
    """A product of two N x N matrices. Two: of a matrix with itself NumPy computes only half."""
    tile: Array = np.random.default_rng(0).standard_normal((256, 256)).astype(dtype)
    with backend.active():
        A, B = (backend.asarray(np.tile(tile, (-(-N // 256),) * 2)[:N, :N].copy()) for _ in range(2))
        out = backend.empty((N, N), dtype)
    return Call(backend, partial(backend[dense.input_gradient], A, B, out))
