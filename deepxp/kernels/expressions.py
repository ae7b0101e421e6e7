"""The xp of C expressions: a definition that runs on it writes its own CUDA source.

    theta, g, rate = symbols("theta", "g", "rate")
    statements(sgd(expressions, theta, g, rate))     # const T t0 = rate * g;  const T t1 = theta - t0;

Numbers are of the kernel's type `T`, constants too: `0.5` becomes `(T)0.5`. What is computed once stands once.
"""

from collections.abc import Callable, Iterable, Sequence
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


def _node(x: Any) -> Node:
    if isinstance(x, C):
        return x.node
    value = float(x)
    if value != value:
        return Node("(T)(0.0 / 0.0)")
    if value in (float("inf"), -float("inf")):
        return Node("(T)(1e300 * 1e300)" if value > 0 else "(T)(-1e300 * 1e300)")
    return Node(f"(T){value!r}" if value >= 0 else f"((T){value!r})")


def _operation(form: str, kind: str = REAL) -> Callable[..., C]:
    return lambda *parts: C(Node(form, tuple(map(_node, parts)), kind))


_ARITHMETIC = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "truediv": "{} / {}", "pow": "pow({}, {})"}
for _name, _form in _ARITHMETIC.items():
    setattr(C, f"__{_name}__", _operation(_form.format("{0}", "{1}")))
    setattr(C, f"__r{_name}__", _operation(_form.format("{1}", "{0}")))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}.items():
    setattr(C, f"__{_name}__", _operation(f"{{}} {_sign} {{}}", CONDITION))
for _name, _sign in {"and": "&&", "or": "||"}.items():
    setattr(C, f"__{_name}__", _operation(f"{{}} {_sign} {{}}", CONDITION))
for _name, _sign, _kind in (("neg", "-", REAL), ("invert", "!", CONDITION)):
    setattr(C, f"__{_name}__", _operation(f"{_sign}{{}}", _kind))

# the functions that a definition may call, those of the array API; abs and sum are also Python's names

maximum, minimum = _operation("maximum({}, {})"), _operation("minimum({}, {})")  # NaN where either is
where = _operation("{} ? {} : {}")
exp, expm1, log, log1p = (_operation(f"{_name}({{}})") for _name in ("exp", "expm1", "log", "log1p"))
sqrt, tanh, sign, abs = (_operation(f"{_name}({{}})") for _name in ("sqrt", "tanh", "sign", "fabs"))


def sum(x: Any, *, axis: int) -> C:
    """The sum over the rows of a column, axis 0; only kernels that go along columns know what to do with it."""
    return _operation("{}", SUM)(x)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ConfigError(
        f"xp.{name} has no CUDA source; a definition may use maximum, minimum, where, exp, expm1, log, log1p, sqrt, "
        "tanh, abs and sign; Activation(..., elementwise=False) runs it as it stands"
    )


def symbols(*names: str) -> tuple[C, ...]:
    """Numbers that have a name already: the parameters of a function."""
    return tuple(C(Node(name)) for name in names)


def statements(outputs: Iterable[Any], known: Sequence[tuple[Node, str]] = ()) -> tuple[list[str], list[str]]:
    """(lines, names): C statements, in order, and under which names the outputs are found after them.

    `known` gives nodes that have been computed before and the names they have.
    """
    names = {id(node): name for node, name in known}
    lines: list[str] = []

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
