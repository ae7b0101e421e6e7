"""An expression as text, and the grammar that LaTeX and MathML share with it.

A product element by element has a sign, * or ⊙; the matrix product and the product with one number have none. There are
parentheses where the value would change without them, and hardly anywhere else.
"""

from collections.abc import Sequence

from deepxp.explain.expressions import Equation, Expression

CHOICE, SUM, PRODUCT, FACTOR, ATOM = range(5)  # how tightly a written expression holds together
Written = tuple[str, int]


def factors(e: Expression) -> list[Expression]:
    """What is multiplied, from left to right; a factor beside itself is a power."""
    if e.op != "mul":
        return [e]
    found: list[Expression] = []
    counts: list[int] = []
    for factor in (f for part in e.parts for f in factors(part)):
        if found and found[-1] is factor:
            counts[-1] += 1
        else:
            found.append(factor)
            counts.append(1)
    return [f if n == 1 else e.book.node("pow", f, n) for f, n in zip(found, counts, strict=True)]


class Text:
    """`A[1] = 0.5 (1 + tanh(0.5 Z[1]))`: in a terminal."""

    minus, plus, juxtaposed, elementwise, dot = "-", " + ", " ", " * ", " * "
    division = PRODUCT  # how tightly a quotient holds together
    called = ATOM

    def __call__(self, e: Expression) -> str:
        """The expression."""
        return self.at(e, CHOICE)

    def equation(self, equation: Equation) -> str:
        """`target = value`"""
        return self.row(self(equation.target), self.relation("="), self(equation.value))

    def at(self, e: Expression, least: int) -> str:
        """The expression, in parentheses where it would fall apart beside what stands around it."""
        text, level = getattr(self, f"_{e.op}")(e)
        return text if level >= least else self.parentheses(text)

    # how it is set

    def row(self, *pieces: str) -> str:
        """Pieces side by side."""
        return "".join(pieces)

    def parentheses(self, text: str) -> str:
        """(text)"""
        return f"({text})"

    def relation(self, sign: str) -> str:
        """A sign between two sides."""
        return f" {sign} "

    def difference(self) -> str:
        """The sign of a difference."""
        return " - "

    def name(self, letter: str, layer: str) -> str:
        """A symbol."""
        return f"{letter}[{layer}]" if layer else letter

    def number(self, digits: str) -> str:
        """A number."""
        return digits

    def quotient(self, e: Expression) -> str:
        """a / b"""
        a, b = e.parts
        return self.row(self.at(a, PRODUCT), " / ", self.at(b, FACTOR))

    def power(self, base: Expression, exponent: Expression) -> str:
        """a^b"""
        return f"{self.at(base, ATOM)}^{self.at(exponent, ATOM)}"

    def transposed(self, e: Expression) -> str:
        """a^T"""
        return f"{self.at(e, ATOM)}^T"

    def call(self, name: str, parts: Sequence[Expression]) -> Written:
        """A function of its arguments."""
        if name == "abs":
            inner = self(parts[0])
            return (f"abs({inner})" if "|" in inner else f"|{inner}|"), ATOM
        least = CHOICE if len(parts) == 1 else SUM
        return f"{name}({', '.join(self.at(part, least) for part in parts)})", ATOM

    def reduction(self, what: str, over: str, e: Expression) -> Written:
        """A sum, greatest, least or mean over units, samples or all."""
        return f"{what}_{over}({self(e)})" if over else f"{what}({self(e)})", ATOM

    def choice(self, a: Expression, condition: Expression, b: Expression) -> str:
        """a where condition, else b"""
        return f"{self.at(a, SUM)} where {self(condition)}, else {self(b)}"

    # the grammar

    def _symbol(self, e: Expression) -> Written:
        letter, _, layer = e.label.rstrip("]").partition("[")
        return self.name(letter, layer), ATOM

    def _number(self, e: Expression) -> Written:
        digits = e.label.removeprefix("-")
        return (self.number(e.label), ATOM) if digits == e.label else (self.row(self.minus, self.number(digits)), SUM)

    def _add(self, e: Expression) -> Written:
        a, b = e.parts
        return self.row(self.at(a, SUM), self.plus, self._right(b, SUM)), SUM

    def _sub(self, e: Expression) -> Written:
        a, b = e.parts
        return self.row(self.at(a, SUM), self.difference(), self._right(b, PRODUCT)), SUM

    def _right(self, e: Expression, least: int) -> str:
        """The right side of a sum: a sign in front of it would meet the sign of the sum."""
        text = self.at(e, least)
        return self.parentheses(text) if self._signed(text) else text

    def _signed(self, text: str) -> bool:
        return text.startswith(self.minus)

    def _neg(self, e: Expression) -> Written:
        return self.row(self.minus, self.at(e.parts[0], PRODUCT)), SUM

    def _mul(self, e: Expression) -> Written:
        every = factors(e)
        if len(every) == 1:
            return getattr(self, f"_{every[0].op}")(every[0])  # type: ignore[no-any-return]
        signs = [self._between(every[: i + 1], right) for i, right in enumerate(every[1:])]
        first, level = self._factor(every[0], "", signs[0]), PRODUCT
        if every[0].op == "neg" or every[0].label.startswith("-"):
            first, level = self(every[0]), SUM  # -a b is (-a) b
        pieces = [first]
        for i, factor in enumerate(every[1:]):
            pieces += [signs[i], self._factor(factor, signs[i], signs[i + 1] if i + 1 < len(signs) else "")]
        return self.row(*pieces), level

    def _between(self, left: list[Expression], right: Expression) -> str:
        if right.op == "number" or (right.op in ("pow", "truediv") and factors(right.parts[0])[0].op == "number"):
            return self.dot
        return self.juxtaposed if right.scalar or all(e.scalar for e in left) else self.elementwise

    def _factor(self, e: Expression, before: str, after: str) -> str:
        """A quotient may stand first or last in a product, a matrix product after a number, a large sign last."""
        if e.op == "truediv" and (not after or (not before and after != self.juxtaposed)):
            return self.at(e, PRODUCT)
        if e.op == "matmul" and not after and before == self.juxtaposed:
            return self.at(e, PRODUCT)
        if e.op == "reduce" and after and self.called != ATOM:
            return self.parentheses(self(e))
        return self.at(e, FACTOR)

    def _truediv(self, e: Expression) -> Written:
        return self.quotient(e), self.division

    def _matmul(self, e: Expression) -> Written:
        return self.juxtaposed.join(
            self.at(part, PRODUCT if part.op == "matmul" else FACTOR) for part in e.parts
        ), PRODUCT

    def _pow(self, e: Expression) -> Written:
        return self.power(*e.parts), FACTOR

    def _transpose(self, e: Expression) -> Written:
        return self.transposed(e.parts[0]), FACTOR

    def _relation(self, e: Expression) -> Written:
        a, b = e.parts
        return self.row(self.at(a, SUM), self.relation(e.label), self.at(b, SUM)), CHOICE

    def _where(self, e: Expression) -> Written:
        return self.choice(*e.parts), CHOICE

    def _call(self, e: Expression) -> Written:
        return self.call(e.label, e.parts)

    def _reduce(self, e: Expression) -> Written:
        what, _, over = e.label.partition("_")
        return self.reduction(what, over, e.parts[0])


TEXT = Text()
