"""The values of one step in float64, and the same derivatives from differences alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.gradcheck import EVERY_PARAMETER, STEP
from deepxp.inputs import samples, targets
from deepxp.network import IDENTITY, Network
from deepxp.ops import dense, updates
from deepxp.ops.typing import Array
from deepxp.optimizers import Optimizer
from deepxp.recursions import backward, evaluate_loss, forward

REFERENCE = Backend("cpu", np)  # the definitions themselves, without kernels
SHOWN = 6  # rows, and columns, of a matrix that is shown whole
ENDS = (3, 1)  # of a larger one: so many at the start and at the end
KINK = 1e-3  # a jump of the slope between one side and the other


def shown(n: int) -> list[int]:
    """Which rows or columns of n are shown."""
    return list(range(n)) if n <= SHOWN else [*range(ENDS[0]), *range(n - ENDS[1], n)]


@dataclass(frozen=True)
class Numeric:
    """Central differences beside a derivative: NaN where none was taken, infinity where they met a kink.

    `error` is ||numeric - d|| / (||numeric|| + ||d||) over the `checked` of `size` numbers.
    """

    values: Array
    error: float
    checked: int
    kinks: int

    @property
    def size(self) -> int:
        """How many numbers the derivative has."""
        return int(self.values.size)


class Example:
    """A network, one batch, and every quantity of a step by its name: values["dZ[2]"].

    Columns X (n[0], m) and targets y as `deepxp.train` takes them; labels become columns. It is the network without
    dropout, in float64 on the host.
    """

    def __init__(self, net: Network, X: Any, y: Any, optimizer: Optimizer) -> None:
        theta = net.backend.asnumpy(net.theta)
        self.net = Network(
            net.sizes, net.g[1:-1], net.loss, backend=REFERENCE, seed=net.seed, dtype="float64", scaler=net.scaler,
            theta=theta,
        )  # fmt: skip
        self.optimizer, self.L = optimizer, net.L
        table = samples(X, net.sizes[0])
        self.m = m = table.shape[0]
        rows = net.as_learned(targets(y, net.loss, net.sizes[-1], m))
        rows = np.eye(net.sizes[-1])[rows] if rows.ndim == 1 else rows.astype(float)
        self.work = self.net.memory(m, labels=False, shared=False).workspace(m)
        self.net.fill(self.work.X, table)
        self.work.Y[...] = rows
        self.gradient = self.net.gradient()
        self.values = self._values()

    def _values(self) -> dict[str, Array]:
        net, work, L = self.net, self.work, self.L
        with net.backend.active():
            self.J()
            backward(net, work, self.gradient)
            link = net.g[L].forward(np, work.Z[L])
        layers = {
            "W": net.W, "b": net.b, "Z": work.Z, "A": (*work.A[:L], link), "dW": self.gradient.dW,
            "db": self.gradient.db, "dZ": work.dZ, "dA": work.dA,
        }  # fmt: skip
        values = {
            f"{letter}[{l}]": arrays[l].copy()
            for letter, arrays in layers.items()
            for l in range(L + 1)
            if arrays[l] is not None and (letter, l) != ("dA", L)  # where the loss left dZ[L]
        }
        return values | {"Y": work.Y.T.copy(), "losses": work.losses.copy(), "J": work.J.copy()}

    def J(self) -> float:
        """The loss at the present weights."""
        forward(self.net, self.work)
        return float(evaluate_loss(self.net, self.work, None))

    def losses_from(self, l: int, Z: Array) -> float:
        """The sum of the losses, as a function of Z[l]: dZ and dA are derivatives of the sum, dW and db of the mean."""
        net = self.net
        for k in range(l + 1, self.L + 1):
            A, Z = net.g[k - 1].forward(np, Z), np.empty((net.sizes[k], self.m))
            dense.dense_forward(np, net.W[k], net.b[k], A, IDENTITY, Z, Z)
        losses, dZ = np.empty(self.m), np.empty_like(Z)
        net.loss.evaluate(np, Z, self.work.Y.T, losses, dZ)
        return float(losses.sum())

    def losses_from_activation(self, l: int, A: Array) -> float:
        """The same as a function of A[l]."""
        Z = np.empty((self.net.sizes[l + 1], self.m))
        dense.dense_forward(np, self.net.W[l + 1], self.net.b[l + 1], A, IDENTITY, Z, Z)
        return self.losses_from(l + 1, Z)

    def numeric(self, name: str) -> Numeric | None:
        """Central differences for dW[l], db[l], dZ[l] or dA[l]; None for what is no derivative."""
        letter, _, layer = name.rstrip("]").partition("[")
        if letter not in ("dW", "db", "dZ", "dA"):
            return None
        l = int(layer)
        of: dict[str, tuple[Callable[[], Array], Callable[[Array], float]]] = {
            "dW": (lambda: self.net.W[l], lambda W: self.J()),
            "db": (lambda: self.net.b[l], lambda b: self.J()),
            "dZ": (lambda: self.values[f"Z[{l}]"].copy(), lambda Z: self.losses_from(l, Z)),
            "dA": (lambda: self.values[f"A[{l}]"].copy(), lambda A: self.losses_from_activation(l, A)),
        }
        array, f = of[letter]
        with self.net.backend.active():
            return compared(self.values[name], array(), f)

    def update(self) -> tuple[Array, Array, Array, float]:
        """theta, its gradient and theta after one step of the optimizer, and J after it."""
        net, optimizer = self.net, self.optimizer
        before = net.theta.copy()
        state = [np.zeros_like(before) for _ in range(optimizer.states)]
        rates = optimizer.rates(optimizer.lr, 1)
        for rule, theta, g, own, count in optimizer.updates(net.parameters, self.gradient, state):
            updates.update(np, rule, theta, g, own, rates[:count])
        after, J = net.theta.copy(), self.J()
        net.theta[...] = before
        self.J()
        return before, self.gradient.g.copy(), after, J


def compared(d: Array, at: Array, f: Callable[[Array], float]) -> Numeric:
    """The derivative d of f against (f(x + h) - f(x - h)) / 2h, number by number; of a large one those that are shown.

    `at` is changed in place, and put back.
    """
    values = np.full(d.shape, np.nan)
    here = f(at)
    for index in _places(d):
        old = at[index]
        at[index] = old + STEP
        above = f(at)
        at[index] = old - STEP
        below = f(at)
        at[index] = old
        kink = abs(above - 2 * here + below) / STEP > KINK
        values[index] = np.inf if kink else (above - below) / (2 * STEP)
    f(at)
    seen = np.isfinite(values)
    scale = np.linalg.norm(values[seen]) + np.linalg.norm(d[seen])
    error = float(np.linalg.norm(values[seen] - d[seen]) / scale) if scale else 0.0
    return Numeric(values, error, int(seen.sum()), int(np.isinf(values).sum()))


def _places(d: Array) -> Iterator[tuple[int, ...]]:
    if d.size <= EVERY_PARAMETER:
        yield from np.ndindex(d.shape)
    else:
        yield from ((i, j) for i in shown(d.shape[0]) for j in shown(d.shape[1]))
