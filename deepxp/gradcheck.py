"""The gradient held against differences of J, and an activation's derivative against differences of the activation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FunctionType
from typing import Any

import numpy as np

from deepxp import rng
from deepxp.errors import ConfigError, GradientError
from deepxp.inputs import is_labels, samples, targets
from deepxp.kernels.tape import Program
from deepxp.network import Network
from deepxp.ops import activations
from deepxp.ops.typing import Array
from deepxp.recursions import backward, class_column, evaluate_loss, forward

STEP = 1e-5  # central differences in float64: truncation about STEP^2, rounding about 1e-16 / STEP
TOLERANCE = 1e-7
EVERY_PARAMETER = 600  # a W[l] or b[l] up to this size is checked number by number, a larger one along directions
DIRECTIONS = 4
REDRAWS = 10
VOCABULARY = ("abs", "exp", "expm1", "log", "log1p", "maximum", "minimum", "sign", "sqrt", "tanh", "where")


@dataclass(frozen=True)
class BlockCheck:
    """One W[l] or b[l]: ||numeric - dW|| / (||numeric|| + ||dW||) over what was checked of it.

    `allowed` is 1e-7, and what rounding does to the numeric side: 2^-52 (|J| + max |Z[L]|) / STEP for each difference.
    Where a gradient is tiny that is all there is to see.
    """

    name: str
    layer: int
    size: int
    checked: int
    directions: bool
    at_kinks: int
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed


@dataclass(frozen=True)
class GradientCheck:
    """The checks of all blocks. `error` is the greatest, `passed` whether all are as small as allowed."""

    blocks: tuple[BlockCheck, ...]

    @property
    def error(self) -> float:
        return max(block.error for block in self.blocks)

    @property
    def passed(self) -> bool:
        return all(block.passed for block in self.blocks) and any(block.checked for block in self.blocks)

    def __str__(self) -> str:
        lines = []
        for block in self.blocks:
            what = "random directions" if block.directions else f"of {block.size} numbers"
            kinks = f", {block.at_kinks} at a kink left out" if block.at_kinks else ""
            verdict = ("ok" if block.checked else "NOT SEEN") if block.passed else "WRONG"
            lines.append(f"{block.name:<6} {block.error:8.1e}  {verdict:<8}  {block.checked} {what}{kinks}")
        return "\n".join(lines)


class _Cost:
    """J and its gradient as functions of theta, in float64, at fixed data and fixed dropout masks."""

    def __init__(self, net: Network, X: Any, y: Any) -> None:
        self.net = net.to(dtype="float64")
        table = samples(X, net.sizes[0])
        rows = net.as_learned(targets(y, net.loss, net.sizes[-1], table.shape[0]))
        self.gradient = self.net.gradient()
        labels = is_labels(net.loss, rows)
        self.classes = class_column(self.net, labels=labels)
        self.work = self.net.memory(table.shape[0], labels=labels).workspace(table.shape[0])
        backend = self.net.backend
        self.net.fill(self.work.X, table)
        backend.write(self.work.Y, rows)
        for l, bits in enumerate(self.work.bits):
            if bits is not None:
                backend.write(bits, rng.dropout_bits(net.seed, 0, 0, l, tuple(bits.shape)))

    def J(self) -> float:
        forward(self.net, self.work)
        return float(evaluate_loss(self.net, self.work, self.classes))

    def magnitude(self) -> float:
        """What J is computed from: a small loss is the difference of logits that are not."""
        return abs(self.J()) + float(np.abs(self.net.backend.asnumpy(self.work.Z[self.net.L])).max())

    def analytic(self) -> Array:
        self.J()
        backward(self.net, self.work, self.gradient)
        return self.net.backend.asnumpy(self.gradient.g).copy()

    def sides(self) -> list[Array]:
        """The slope of every unit of an activation with kinks: a jump of it is a kink crossed."""
        asnumpy = self.net.backend.asnumpy
        kinked = [l for l in range(1, self.net.L) if not self.net.g[l].smooth]
        kept = {l: asnumpy(self.work.kept[l]) for l in kinked}
        return [self.net.g[l].backward(np, np.ones_like(kept[l]), kept[l]) for l in kinked]

    def slope(self, start: int, d: Array) -> float | None:
        """(J(theta + h d) - J(theta - h d)) / 2h, d of unit length from theta[start]; None across a kink."""
        block = self.net.theta[start : start + d.size]
        old, move = block + 0.0, self.net.backend.asarray(STEP * d)
        block[...] = old + move
        J_plus, sides = self.J(), self.sides()
        block[...] = old - move
        J_minus, others = self.J(), self.sides()
        block[...] = old
        same = all((np.abs(one - other) < 1e-3).all() for one, other in zip(sides, others, strict=True))
        return (J_plus - J_minus) / (2 * STEP) if same else None


def gradcheck(net: Network, X: Any, y: Any) -> GradientCheck:
    """Compare the gradient of J with central differences in float64, on columns X (n[0], m) and targets y.

    Of a small W[l] or b[l] every number is checked, of a large one the slope along random directions. Where a
    difference crosses the kink of an activation there is no derivative to compare with: another direction is drawn,
    or the number is left out and counted. The network itself is not touched.
    """
    with net.backend.active():
        cost = _Cost(net, X, y)
        g = cost.analytic()
        return GradientCheck(tuple(_check_block(cost, g, *block) for block in _blocks(net.sizes)))


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[str, int, int, int]]:
    """(name, layer, start, size) of every W[l] and b[l] in theta."""
    start = 0
    for name, counts in (("dW", [n * p for p, n in pairwise(sizes)]), ("db", sizes[1:])):
        for l, size in enumerate(counts, 1):
            yield f"{name}[{l}]", l, start, size
            start += size


def _check_block(cost: _Cost, g: Array, name: str, layer: int, start: int, size: int) -> BlockCheck:
    block = g[start : start + size]
    along = size > EVERY_PARAMETER
    asked = DIRECTIONS if along else size
    found = [pair for i in range(asked) if (pair := _compare(cost, block, start, i, along)) is not None]
    numeric, analytic = np.array(found).T if found else np.zeros((2, 0))
    scale = np.linalg.norm(numeric) + np.linalg.norm(analytic)
    rounding = 4 * np.sqrt(len(found)) * np.finfo(float).eps * cost.magnitude() / STEP
    error = float(np.linalg.norm(numeric - analytic) / scale) if scale else 0.0  # a dead block: both are zero
    allowed = TOLERANCE + float(rounding / scale if scale else 0.0)
    return BlockCheck(name, layer, size, len(found), along, asked - len(found), error, allowed)


def _compare(cost: _Cost, block: Array, start: int, i: int, along: bool) -> tuple[float, float] | None:
    """The slope of J, numeric and analytic: along number i of the block, or along direction i."""
    for draw in range(REDRAWS if along else 1):
        if along:
            # half along the gradient, where J changes enough to be measured; half anywhere, to see what g leaves out
            d = rng.direction(start, i * REDRAWS + draw, block.size)
            length = np.linalg.norm(block)
            d = d + block / length if length > 0 else d
            d /= np.linalg.norm(d)
        else:
            d = np.zeros(block.size)
            d[i] = 1.0
        slope = cost.slope(start, d)
        if slope is not None:
            return slope, float(d @ block)
    return None


@dataclass(frozen=True)  # without it the base's __init__ would not know of __post_init__
class Activation(activations.Activation):
    """A user's own activation: A = forward(xp, Z) and dZ = backward(xp, dA, A) or backward(xp, dA, Z).

    Both are elementwise definitions (see `deepxp.ops`): they take `xp` first and use only operators and those of its
    functions that every engine has, VOCABULARY.
    The third parameter of `backward` is named A or Z and says which of the two it reads. When it is made, the
    derivative is held against central differences; one that is wrong raises GradientError, and one that turns float32
    into float64, or uses another function, ConfigError. `smooth=False` says that it has a kink.
    """

    def __post_init__(self) -> None:
        for what, function, count in (("function", self.forward, 2), ("derivative", self.backward, 3)):
            if not isinstance(function, FunctionType) or function.__defaults__ or function.__kwdefaults__:
                raise ConfigError(
                    f"the {what} of {self.name!r} must be a plain function without default values: forward(xp, Z), "
                    "backward(xp, dA, A) or backward(xp, dA, Z)"
                )
            parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
            if len(parameters) != count or (count == 3 and self.reads not in ("A", "Z")):
                raise ConfigError(
                    f"the {what} of {self.name!r} must be written as forward(xp, Z), backward(xp, dA, A) or "
                    f"backward(xp, dA, Z), its parameters are ({', '.join(parameters)})"
                )
        if self.name in activations.ACTIVATIONS:  # a model file has the name only
            raise ConfigError(f"{self.name!r} is the name of an activation of deepxp; give yours another one")
        check_activation(self)


class _Vocabulary:
    """NumPy, as far as every engine goes."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def __getattr__(self, name: str) -> Any:
        if name not in VOCABULARY:
            raise ConfigError(
                f"{self.activation!r} uses xp.{name}, which not every engine has; there are {', '.join(VOCABULARY)}"
            )
        return getattr(np, name)


def check_activation(g: activations.Activation) -> None:
    """Raises GradientError where `backward` is not the derivative of `forward` at 200 points between -6 and 6."""
    Z = np.linspace(-6.0, 6.0, 200) + 0.0123  # beside the round numbers, where kinks are
    dA = np.linspace(0.5, 2.0, 200)
    xp = _Vocabulary(g.name) if g.elementwise else np
    _check_engines(g)
    try:
        with np.errstate(all="ignore"):
            numeric = dA * (g.forward(xp, Z + STEP) - g.forward(xp, Z - STEP)) / (2 * STEP)
            analytic = g.backward(xp, dA, g.forward(xp, Z) if g.reads == "A" else Z)
    except ValueError as refused:
        if "truth value" not in str(refused):
            raise
        raise ConfigError(
            f"{g.name!r} decides between branches for a whole array at once; write xp.where(Z > 0, one, other) in "
            "place of if, and / or, or Python's min and max"
        ) from None
    error = np.abs(numeric - analytic) / np.maximum(1.0, np.abs(numeric))
    if not (error < 1e-6).all():
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        raise GradientError(
            f"the derivative of {g.name!r} is wrong: at Z = {Z[worst]:.4g}, dA = {dA[worst]:.4g} it gives "
            f"{analytic[worst]:.6g}, central differences give {numeric[worst]:.6g}"
        )
    for what, result in _in_single(g, Z.astype(np.float32)):
        if result.dtype != np.float32:
            raise ConfigError(
                f"{what} of {g.name!r} makes {result.dtype} of float32; write constants as plain floats, such as 0.5, "
                "not as NumPy numbers"
            )


def _check_engines(g: activations.Activation) -> None:
    """Can the definitions be written down, as every engine but NumPy itself has to?"""
    try:
        for definition, arrays in ((g.forward, 1), (g.backward, 2)):
            if g.elementwise:
                Program(definition, arrays, 0, (0,))
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"{g.name!r} does something with its arguments that not every engine can ({error}); use operators and "
            f"functions of its parameter xp: {', '.join(VOCABULARY)}"
        ) from None


def _in_single(g: activations.Activation, Z: Array) -> Iterator[tuple[str, Array]]:
    with np.errstate(all="ignore"):
        A = g.forward(np, Z)
        yield "the function", A
        yield "the derivative", g.backward(np, np.ones_like(Z), A if g.reads == "A" else Z)
