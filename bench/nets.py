"""The nets of the comparison, and the batches and weights that every contender starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

BATCHES, FEW_BATCHES = 8, 2
LARGE = (
    64 << 20
)  # bytes of a batch of which FEW are enough: no cache holds one, and the file is read by every contender
LR = 1e-3
# scikit-learn and thinc fold the bias corrections of Adam into the learning rate, which leaves eps smaller than in
# Kingma & Ba's algorithm 1 by sqrt(1 - beta2^t); this is theirs for t = 1, and near it for the steps that are compared
EPS_FOLDED = 1e-8 * (1 - 0.999) ** 0.5


@dataclass(frozen=True)
class Net:
    """Sizes n[0], ..., n[L] and the batch size m."""

    sizes: tuple[int, ...]
    m: int

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} @ {self.m}"

    @property
    def lr(self) -> float:
        """The widest nets take smaller steps: at 1e-3 their loss rises at once, and rounding errors with it, until
        contenders that compute the same thing no longer agree."""
        return LR if max(self.sizes) <= 1024 else LR / 10

    @property
    def batches(self) -> int:
        return BATCHES if 4 * self.sizes[0] * self.m <= LARGE else FEW_BATCHES

    @property
    def parameters(self) -> int:
        return sum(n * (n_prev + 1) for n_prev, n in pairwise(self.sizes))

    @property
    def flops(self) -> int:
        """Of the products of a step: three a layer, but no dA[0]; the rest of a step is small beside them."""
        products = [2 * n * n_prev * self.m for n_prev, n in pairwise(self.sizes)]
        return 3 * sum(products) - products[0]


NETS = (
    Net((64, 32, 10), 32),
    Net((784, 128, 10), 64),
    Net((784, 256, 128, 10), 128),
    Net((784, 512, 512, 10), 512),
    Net((1024, 1024, 1024, 100), 1024),
    Net((2048, 2048, 2048, 2048, 1000), 256),
)
GPU_NETS = (*NETS, Net((4096, 4096, 4096, 1000), 8192))


def write_task(net: Net, path: Path, seed: int = 0) -> None:
    """The learning rate, X (batches, m, n[0]), labels y (batches, m), W1, b1, ..., WL, bL in float32.

    Every X occurs in two batches with different labels, so that no net can fit them: the loss stays away from 0, where
    some contenders would meet subnormal numbers, which are slow, and others would not.
    """
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((net.batches // 2, net.m, net.sizes[0]), dtype=np.float32)
    arrays = {
        "lr": np.array(net.lr),
        "X": np.concatenate([half, half]),
        "y": rng.integers(0, net.sizes[-1], (net.batches, net.m)),
    }
    for l, (n_prev, n) in enumerate(pairwise(net.sizes), start=1):
        arrays[f"W{l}"] = rng.standard_normal((n, n_prev), dtype=np.float32) * np.float32((2 / n_prev) ** 0.5)
        arrays[f"b{l}"] = np.zeros(n, np.float32)
    np.savez(path, **arrays)


@dataclass(frozen=True)
class Start:
    """What a contender finds in the file: rows are samples; W[l-1] is W[l] of the equations."""

    X: np.ndarray
    y: np.ndarray
    W: Sequence[np.ndarray]
    b: Sequence[np.ndarray]
    lr: float

    @classmethod
    def read(cls, path: str) -> "Start":
        with np.load(path) as file:
            L = sum(name.startswith("W") for name in file.files)
            W, b = [file[f"W{l}"] for l in range(1, L + 1)], [file[f"b{l}"] for l in range(1, L + 1)]
            return cls(file["X"], file["y"], W, b, float(file["lr"]))

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.W[0].shape[1], *(W.shape[0] for W in self.W))

    @property
    def theta(self) -> np.ndarray:
        """[W1 ... WL | b1 ... bL]"""
        return np.concatenate([*(W.reshape(-1) for W in self.W), *self.b])
