"""The xp of formulas: a definition run on it is an exact expression, whose derivative SymPy can take.

Constants enter as the decimals that the source writes, 0.044715 as 44715/1000000, so that a proof is symbolic and no
rounding is involved. `array` makes object arrays, so that `xp.sum(Z, axis=0)` runs as it stands.
"""

import operator
import random

import numpy as np
import sympy


class Exact:
    """A SymPy expression whose arithmetic takes floats for the decimals they are written as."""

    def __init__(self, expression):
        self.expression = exact(expression) if isinstance(expression, Exact) else sympy.sympify(expression)

    def __repr__(self):
        return f"Exact({self.expression})"

    def __bool__(self):
        raise TypeError(f"{self.expression} has no truth value: a definition has no `if`")


def exact(x):
    """The expression of an Exact, a float or a SymPy number."""
    if isinstance(x, Exact):
        return x.expression
    return sympy.Rational(repr(float(x))) if isinstance(x, int | float) else sympy.sympify(x)


def _operator(f):
    def forward(a, b):
        return NotImplemented if isinstance(b, np.ndarray) else Exact(f(exact(a), exact(b)))

    return forward, lambda a, b: forward(b, a)


for _name in ("add", "sub", "mul", "truediv"):
    _forward, _reflected = _operator(getattr(operator, _name))
    setattr(Exact, f"__{_name}__", _forward)
    setattr(Exact, f"__r{_name}__", _reflected)
for _name in ("gt", "ge", "lt", "le"):
    setattr(Exact, f"__{_name}__", _operator(getattr(operator, _name))[0])
setattr(Exact, "__neg__", lambda a: Exact(-a.expression))  # noqa: B010 - beside its siblings


def array(*expressions):
    """A vector of expressions; `array(...)[:, None]` is a column."""
    out = np.empty(len(expressions), dtype=object)
    out[:] = [Exact(e) for e in expressions]
    return out


def expressions(x):
    """The SymPy expressions in an object array, or the one in an Exact."""
    return [exact(e) for e in x.flat] if isinstance(x, np.ndarray) else exact(x)


def _elementwise(f, operands):
    vectorised = np.frompyfunc(lambda *xs: Exact(f(*map(exact, xs))), operands, 1)
    return staticmethod(lambda *xs: vectorised(*xs))


def _sign(difference):
    """1, -1 or 0 where the assumptions decide it, else None. A negative z is -log(1 + s) for exactly one s > 0."""
    negative = [z for z in difference.free_symbols if z.is_negative]
    as_positive = {z: -sympy.log(1 + sympy.Symbol(f"s_{z}", positive=True)) for z in negative}
    for e in (difference, sympy.factor(sympy.simplify(difference.subs(as_positive)))):
        for sign, known in ((1, e.is_positive), (-1, e.is_negative), (0, e.is_zero)):
            if known:
                return sign
    return None


def _greater(a, b):
    sign = _sign(sympy.expand(a - b))
    if sign is None:
        raise ValueError(f"the assumptions do not decide whether {a} > {b}: look at each side of the kink by itself")
    return sign > 0


def _where(condition, a, b):
    if condition in (sympy.true, sympy.false):
        return a if condition == sympy.true else b
    lhs, rhs = (condition.lhs, condition.rhs) if isinstance(condition, sympy.Gt) else (condition.rhs, condition.lhs)
    return a if _greater(lhs, rhs) else b


class xp:  # noqa: N801 - it stands in for a module
    """The names a definition may use."""

    exp = _elementwise(sympy.exp, 1)
    expm1 = _elementwise(lambda x: sympy.exp(x) - 1, 1)
    log = _elementwise(sympy.log, 1)
    log1p = _elementwise(lambda x: sympy.log(1 + x), 1)
    sqrt = _elementwise(sympy.sqrt, 1)
    tanh = _elementwise(sympy.tanh, 1)
    abs = _elementwise(sympy.Abs, 1)
    sign = _elementwise(sympy.sign, 1)
    maximum = _elementwise(lambda a, b: a if _greater(a, b) else b, 2)
    minimum = _elementwise(lambda a, b: b if _greater(a, b) else a, 2)
    where = _elementwise(_where, 3)

    @staticmethod
    def sum(x, axis=None, keepdims=False):
        return np.sum(x, axis=axis, keepdims=keepdims)

    @staticmethod
    def mean(x):
        return np.sum(x) / x.size

    @staticmethod
    def max(x, axis, keepdims=False):
        """A free symbol for each maximum: what is proved holds whatever is subtracted."""
        shape = np.max(np.zeros(x.shape), axis=axis, keepdims=keepdims).shape
        return array(*sympy.symbols(f"M0:{int(np.prod(shape))}", real=True)).reshape(shape)


def _refuted(e):
    """Is e not 0 at some point? A wrong claim is told by a number, where simplifying could take forever."""
    draw = random.Random(0)
    for _ in range(3):
        point = {}
        for symbol in sorted(e.free_symbols, key=str):
            size = sympy.Rational(draw.randint(1, 97), 53)
            positive = symbol.is_positive or not (symbol.is_negative or draw.random() < 0.5)
            point[symbol] = size if positive else -size
        value = e.subs(point).evalf(30)
        if value.is_number and abs(value) > 1e-20:
            return True
    return False


def is_zero(expression):
    """Is it proved that the expression is 0, for all values that its symbols may take?"""
    e = sympy.sympify(expression)
    if _refuted(e):
        return False
    for form in (sympy.expand, sympy.simplify, lambda e: sympy.simplify(sympy.together(e.rewrite(sympy.exp)))):
        if form(e) == 0:
            return True
    return False
