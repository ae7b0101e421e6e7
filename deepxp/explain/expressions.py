"""The xp of formulas: running a definition on it writes down what the definition computes.

A definition gets symbols in place of arrays. Every operator and every function of `Book.xp` makes a node of one
expression; `out[...] = value` makes an equation. The same operation on the same nodes is the same node, so that what
has a name is found again by its name: where a loss computes `softmax(Z) - Y`, and A was softmax(Z), it reads A - Y.
The names that a definition gives to its intermediate results are the names that are shown.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

RELATIONS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "=", "ne": "!=", "and": "and", "or": "or"}


class Expression:
    """An operation and what it is applied to. `scalar`: one number, where others are arrays."""

    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to this class
    __hash__ = object.__hash__

    def __init__(self, book: "Book", op: str, label: str, parts: tuple["Expression", ...], scalar: bool) -> None:
        self.book, self.op, self.label, self.parts, self.scalar = book, op, label, parts, scalar

    @property
    def T(self) -> "Expression":
        """The transposed matrix."""
        return self.parts[0] if self.op == "transpose" else self.book.node("transpose", self)

    @property
    def shape(self) -> "tuple[Expression, Expression]":
        """(n, m) as symbols; what a definition reads of it is m."""
        return self.book.symbol("n", scalar=True), self.book.symbol("m", scalar=True)

    def __setitem__(self, where: Any, value: Any) -> None:
        self.book.assign(self, self.book.expression(value))

    def __bool__(self) -> bool:
        raise TypeError("a definition has no `if`: what it computes cannot depend on a symbol")


class Equation(NamedTuple):
    """target = value"""

    target: Expression
    value: Expression


@dataclass(eq=False)
class Functions:
    """The functions of the array API on expressions; one that is not known here is written by its name."""

    book: "Book"

    def expm1(self, x: Any) -> Expression:
        """e^x - 1"""
        return self.book.node("sub", self.book.node("call", x, label="exp"), 1.0)

    def log1p(self, x: Any) -> Expression:
        """log(1 + x)"""
        return self.book.node("call", self.book.node("add", 1.0, x), label="log")

    def where(self, condition: Expression, a: Any, b: Any) -> Expression:
        """a where condition, else b"""
        return self.book.node("where", a, condition, b)

    def ones_like(self, x: Any, **kind: Any) -> Expression:
        """1"""
        return self.book.expression(1.0)

    def zeros_like(self, x: Any, **kind: Any) -> Expression:
        """0"""
        return self.book.expression(0.0)

    def sum(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Expression:
        """The sum over the units of a sample (axis 0), over samples (axis 1), or over all."""
        return self.book.reduced("sum", x, axis)

    def max(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Expression:
        """The greatest, over the same axes."""
        return self.book.reduced("max", x, axis)

    def min(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Expression:
        """The least, over the same axes."""
        return self.book.reduced("min", x, axis)

    def mean(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Expression:
        """The mean, over the same axes."""
        return self.book.reduced("mean", x, axis)

    def __getattr__(self, name: str) -> Callable[..., Expression]:
        shown = {"maximum": "max", "minimum": "min"}.get(name, name)
        return lambda *x, **named: self.book.node(
            "call", *x, label=shown + "".join(f"_{key}_{value}" for key, value in named.items())
        )


class Book:
    """Where equations are written down, in the order in which they are computed."""

    def __init__(self) -> None:
        self.xp = Functions(self)
        self.equations: list[Equation] = []
        self.names: dict[Expression, Expression] = {}
        self._nodes: dict[Any, Expression] = {}

    def symbol(self, letter: str, layer: int | None = None, *, scalar: bool = False) -> Expression:
        """An array or a number with a name, such as Z[2]."""
        label = letter if layer is None else f"{letter}[{layer}]"
        return self._interned(("symbol", label), "symbol", label, (), scalar)

    def expression(self, x: Any) -> Expression:
        """x itself, or a number as it is written."""
        if isinstance(x, Expression):
            return x
        label = repr(int(x)) if float(x).is_integer() and abs(x) < 1e16 else repr(float(x))
        return self._interned(("number", label), "number", label, (), True)

    def node(self, op: str, *parts: Any, label: str = "") -> Expression:
        """The operation on these parts, the same one if it has been written before."""
        own = tuple(map(self.expression, parts))
        scalar = all(part.scalar for part in own)
        return self._interned((op, label, *map(id, own)), op, label, own, scalar)

    def reduced(self, op: str, x: Any, axis: int | None) -> Expression:
        """A reduction over units, samples or everything."""
        return self.node("reduce", x, label=op + {0: "_units", 1: "_samples"}.get(axis, ""))  # type: ignore[arg-type]

    def _interned(self, key: Any, op: str, label: str, parts: tuple[Expression, ...], scalar: bool) -> Expression:
        if key not in self._nodes:
            self._nodes[key] = Expression(self, op, label, parts, scalar)
        return self._nodes[key]

    def assign(self, target: Expression, value: Expression) -> None:
        """The equation target = value, whose value is known by that name from now on."""
        if target is value:  # one memory: nothing is computed
            return
        if value.parts and self.names.get(value) not in {equation.target for equation in self.equations}:
            self.names[value] = target  # also where it had the name of a local variable
        self.equations.append(Equation(target, value))

    @contextmanager
    def reading_names(self) -> Iterator[None]:
        """Inside, a local variable that a definition has at its end gives its expression a name."""
        before = sys.getprofile()
        local: set[str] = set()

        def look(frame: FrameType, event: str, _: Any) -> None:
            if event == "return" and frame.f_globals.get("__name__") != __name__:
                code = frame.f_code
                for name in code.co_varnames[code.co_argcount :]:
                    value = frame.f_locals.get(name)
                    taken = ("symbol", name) in self._nodes and name not in local
                    if isinstance(value, Expression) and value.parts and not taken:
                        local.add(name)
                        self.names.setdefault(value, self.symbol(name, scalar=value.scalar))

        sys.setprofile(look)
        try:
            yield
        finally:
            sys.setprofile(before)

    def written(self, equation: Equation) -> tuple[Equation, ...]:
        """The equation with names in it, after those of the local variables that it needs."""
        targets = {e.target for e in self.equations}
        meant: dict[Expression, Expression] = {}
        lines: list[Equation] = []

        def named(e: Expression) -> Expression:
            name = self.names.get(e)
            if name is None or name is equation.target or meant.setdefault(name, e) is not e:
                return rebuilt(e)
            if name not in targets and all(line.target is not name for line in lines):
                lines.append(Equation(name, rebuilt(e)))
            return name

        def rebuilt(e: Expression) -> Expression:
            return self.node(e.op, *map(named, e.parts), label=e.label) if e.parts else e

        whole = Equation(equation.target, rebuilt(equation.value))
        return *lines, whole


def _method(op: str, label: str, reflected: bool) -> Callable[[Expression, Any], Expression]:
    def method(a: Expression, b: Any) -> Expression:
        return a.book.node(op, *((b, a) if reflected else (a, b)), label=label)

    return method


for _name, _op, _label in (
    *((name, name, "") for name in ("add", "sub", "mul", "truediv", "matmul", "pow")),
    *((name, "relation", sign) for name, sign in RELATIONS.items()),
):
    setattr(Expression, f"__{_name}__", _method(_op, _label, False))
    setattr(Expression, f"__r{_name}__", _method(_op, _label, True))
for _name, _op, _label in (("neg", "neg", ""), ("abs", "call", "abs"), ("invert", "call", "not")):
    setattr(Expression, f"__{_name}__", lambda a, op=_op, label=_label: a.book.node(op, a, label=label))
