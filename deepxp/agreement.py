"""Do two devices compute the same? Every quantity of a step, layer by layer, held against float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepxp import rng
from deepxp.backend import Backend, cpu
from deepxp.inputs import is_labels, samples, targets
from deepxp.network import Network
from deepxp.ops.typing import Array
from deepxp.recursions import backward, class_column, evaluate_loss, forward

Trace = dict[tuple[str, int], Array]


@dataclass(frozen=True)
class Difference:
    """How far one quantity of one layer is from float64 on the two devices, and how far it may be on the second."""

    quantity: str
    layer: int
    error: float
    other_error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.other_error <= self.allowed  # False for NaN, too


@dataclass(frozen=True)
class Agreement:
    """All quantities, in the order in which a step computes them."""

    device: str
    other: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return self.first is None

    @property
    def first(self) -> Difference | None:
        """The first quantity that differs by more than rounding, or None."""
        return next((d for d in self.differences if not d.passed), None)

    def __str__(self) -> str:
        lines = [f"{'':<8}{'error on ' + self.device:>18}{'error on ' + self.other:>18}{'allowed':>12}"]
        for d in self.differences:
            name, verdict = f"{d.quantity}[{d.layer}]", "" if d.passed else "  DIFFERS"
            lines.append(f"{name:<8}{d.error:18.1e}{d.other_error:18.1e}{d.allowed:12.1e}{verdict}")
        return "\n".join(lines)


def compare(net: Network, other: str | Backend, X: Any, y: Any) -> Agreement:
    """Z, A, dZ, dW, db and dA of every layer of one step on the network's device and on another.

    They agree where the other's error against float64 is at most 4 times the first one's own, plus 8 eps times the
    sum of the products' absolute values, |A| |B|: what a sum in another order may differ by.
    """
    twin = net.to(other)
    first, second = trace(net, X, y), trace(twin, X, y)
    exact_net = net.to(cpu(), dtype="float64")
    exact = trace(exact_net, X, y)
    eps = float(np.finfo(net.dtype).eps)
    differences = []
    for (quantity, l), size in _magnitudes(exact_net, exact):
        error, other_error = (float(np.max(np.abs(t[quantity, l] - exact[quantity, l]))) for t in (first, second))
        differences.append(Difference(quantity, l, error, other_error, 4 * error + 8 * eps * float(np.max(size))))
    return Agreement(net.backend.name, twin.backend.name, tuple(differences))


def trace(net: Network, X: Any, y: Any) -> Trace:
    """All quantities of one step, on the host: {(quantity, layer): array}."""
    table = samples(X, net.sizes[0])
    rows = net.as_learned(targets(y, net.loss, net.sizes[-1], table.shape[0]))
    labels = is_labels(net.loss, rows)
    backend = net.backend
    with backend.active():
        work = net.memory(table.shape[0], labels=labels, shared=False).workspace(table.shape[0])
        net.fill(work.X, table)
        backend.write(work.Y, rows)
        for l, bits in enumerate(work.bits):
            if bits is not None:
                backend.write(bits, rng.dropout_bits(net.seed, 0, 0, l, tuple(bits.shape)))
        gradient = net.gradient()
        forward(net, work)
        evaluate_loss(net, work, class_column(net, labels=labels))
        backward(net, work, gradient)
        found = {"A": work.H, "Z": work.Z, "dZ": work.dZ, "dW": gradient.dW, "db": gradient.db, "dA": work.dA}
        return {
            (quantity, l): backend.asnumpy(arrays[l]).astype(np.float64)
            for quantity, arrays in found.items()
            for l in range(0 if quantity == "A" else 1, net.L + 1)
        }


def _magnitudes(net: Network, exact: Trace) -> Iterator[tuple[tuple[str, int], Array]]:
    """Each quantity in order, with |A| |B| of the product that makes it, or its own size where none does."""
    m = exact["A", 0].shape[1]
    for l in range(1, net.L + 1):
        yield ("Z", l), abs(net.W[l]) @ abs(exact["A", l - 1]) + abs(net.b[l])
        yield ("A", l), abs(exact["A", l])
    for l in range(net.L, 0, -1):
        if l < net.L:
            yield ("dA", l), abs(net.W[l + 1]).T @ abs(exact["dZ", l + 1])
        yield ("dZ", l), abs(exact["dZ", l])
        yield ("dW", l), abs(exact["dZ", l]) @ abs(exact["A", l - 1]).T / m
        yield ("db", l), abs(exact["dZ", l]).sum(axis=1) / m
