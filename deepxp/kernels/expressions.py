"""The xp of C expressions: a definition that runs on it writes its own CUDA source.

    theta, g, rate = symbols("theta", "g", "rate")
    statements(sgd(expressions, theta, g, rate))     # const T t0 = rate * g;  const T t1 = theta - t0;

Numbers are of the kernel's type `T`, constants too: `0.5` becomes `(T)0.5`. What a definition computes once stands once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deepxp.errors import ConfigError

REAL, CONDITION, SUM = "T", "bool", "sum"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: a piece of C with a place for each of its parts, or a name or constant without any."""

    form: str
    parts: tuple["Node", ...] = ()
    kind: str = REAL


class C:
    """A number in a kernel. Operators give new ones; `x[...] = y` lets x stand for the value of y from there on."""

    __slots__ = ("node",)
    __hash__ = None  # type: ignore[assignment]  # `==` is an operation

    def __init__(self, node: Node) -> None:
        self.node = node

    def __setitem__(self, index: Any, value: Any) -> None:
        self.node = _node(value)

    def __bool__(self) -> bool:
        raise ConfigError("a definition may not ask for the truth of a number: write xp.where instead of if, and, or")

    def __add__(self, other: Any) -> "C":
        return _made("{} + {}", self, other)

    def __radd__(self, other: Any) -> "C":
        return _made("{} + {}", other, self)

    def __sub__(self, other: Any) -> "C":
        return _made("{} - {}", self, other)

    def __rsub__(self, other: Any) -> "C":
        return _made("{} - {}", other, self)

    def __mul__(self, other: Any) -> "C":
        return _made("{} * {}", self, other)

    def __rmul__(self, other: Any) -> "C":
        return _made("{} * {}", other, self)

    def __truediv__(self, other: Any) -> "C":
        return _made("{} / {}", self, other)

    def __rtruediv__(self, other: Any) -> "C":
        return _made("{} / {}", other, self)

    def __neg__(self) -> "C":
        return _made("-{}", self)

    def __lt__(self, other: Any) -> "C":
        return _made("{} < {}", self, other, kind=CONDITION)

    def __le__(self, other: Any) -> "C":
        return _made("{} <= {}", self, other, kind=CONDITION)

    def __gt__(self, other: Any) -> "C":
        return _made("{} > {}", self, other, kind=CONDITION)

    def __ge__(self, other: Any) -> "C":
        return _made("{} >= {}", self, other, kind=CONDITION)

    def __eq__(self, other: object) -> "C":  # type: ignore[override]
        return _made("{} == {}", self, other, kind=CONDITION)

    def __ne__(self, other: object) -> "C":  # type: ignore[override]
        return _made("{} != {}", self, other, kind=CONDITION)

    def __and__(self, other: Any) -> "C":
        return _made("{} && {}", self, other, kind=CONDITION)

    def __or__(self, other: Any) -> "C":
        return _made("{} || {}", self, other, kind=CONDITION)

    def __invert__(self) -> "C":
        return _made("!{}", self, kind=CONDITION)


def _node(x: Any) -> Node:
    if isinstance(x, C):
        return x.node
    value = float(x)
    if value != value:
        return Node("(T)(0.0 / 0.0)")
    if value in (float("inf"), -float("inf")):
        return Node("(T)(1e300 * 1e300)" if value > 0 else "(T)(-1e300 * 1e300)")
    return Node(f"(T){value!r}" if value >= 0 else f"((T){value!r})")


def _made(form: str, *parts: Any, kind: str = REAL) -> C:
    return C(Node(form, tuple(map(_node, parts)), kind))


def symbols(*names: str) -> tuple[C, ...]:
    """Numbers that have a name already: the parameters of a function."""
    return tuple(C(Node(name)) for name in names)


def statements(outputs: Iterable[Any], known: Sequence[tuple[Node, str]] = ()) -> tuple[list[str], list[str]]:
    """(lines, names): C statements, in order, and under which names the outputs are found after them.

    `known` gives nodes that have been computed before and the names they have.
    """
    names, lines = {id(node): name for node, name in known}, []

    def name(node: Node) -> str:
        if not node.parts:
            return names.get(id(node), node.form)
        if id(node) not in names:
            value = node.form.format(*map(name, node.parts))
            names[id(node)] = f"t{len(lines)}"
            lines.append(f"const {node.kind} t{len(lines)} = {value};")
        return names[id(node)]

    return lines, [name(_node(x)) for x in outputs]


def nodes(outputs: Iterable[Any]) -> list[Node]:
    """Every node that the outputs depend on, each once."""
    found: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in found:
            found[id(node)] = node
            for part in node.parts:
                visit(part)

    for x in outputs:
        visit(_node(x))
    return list(found.values())


# the functions that a definition may call


def maximum(a: Any, b: Any) -> C:
    """NaN where either is."""
    return _made("maximum({}, {})", a, b)


def minimum(a: Any, b: Any) -> C:
    """NaN where either is."""
    return _made("minimum({}, {})", a, b)


def where(condition: Any, a: Any, b: Any) -> C:
    """a where the condition holds, else b"""
    return _made("{} ? {} : {}", condition, a, b)


def exp(x: Any) -> C:
    """e^x"""
    return _made("exp({})", x)


def expm1(x: Any) -> C:
    """e^x - 1"""
    return _made("expm1({})", x)


def log(x: Any) -> C:
    """The natural logarithm."""
    return _made("log({})", x)


def log1p(x: Any) -> C:
    """log(1 + x)"""
    return _made("log1p({})", x)


def sqrt(x: Any) -> C:
    """The square root."""
    return _made("sqrt({})", x)


def tanh(x: Any) -> C:
    """The hyperbolic tangent."""
    return _made("tanh({})", x)


def abs(x: Any) -> C:
    """|x|"""
    return _made("fabs({})", x)


def sign(x: Any) -> C:
    """-1, 0 or 1; NaN of NaN"""
    return _made("sign({})", x)


def sum(x: Any, *, axis: int) -> C:
    """The sum over the rows of a column; only kernels that go along columns know what to do with it."""
    if axis != 0:
        raise ConfigError(f"a kernel sums over axis 0, got axis={axis}")
    return _made("{}", x, kind=SUM)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ConfigError(
        f"xp.{name} has no CUDA source; a definition may use maximum, minimum, where, exp, expm1, log, log1p, sqrt, "
        "tanh, abs and sign; Activation(..., elementwise=False) runs it as it stands"
    )
