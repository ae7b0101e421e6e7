"""An expression as LaTeX for a document, and as MathML for a browser."""

from collections.abc import Sequence
from html import escape

from deepxp.explain.expressions import Equation, Expression
from deepxp.explain.writers import ATOM, CHOICE, FACTOR, SUM, Text, Written

GREEK = {
    "theta": "θ", "beta": "β", "mu": "μ", "rho": "ρ", "eps": "ε", "lambda": "λ", "alpha": "α", "gamma": "γ",
}  # fmt: skip
RELATIONS = {">=": r"\ge", "<=": r"\le", "!=": r"\ne", "and": r"\wedge", "or": r"\vee"}
SIGNS = {">=": "≥", "<=": "≤", "!=": "≠"}


class Latex(Text):
    r"""`A^{[1]} = 0.5\,\left(1 + \tanh\left(0.5\,Z^{[1]}\right)\right)`: in a document."""

    juxtaposed, elementwise, dot = r"\,", r" \odot ", r" \cdot "
    division = called = FACTOR
    functions = ("tanh", "log", "max", "min")

    def parentheses(self, text: str) -> str:
        return rf"\left({text}\right)"

    def relation(self, sign: str) -> str:
        return f" {RELATIONS.get(sign, sign)} "

    def name(self, letter: str, layer: str) -> str:
        return self._letter(letter) + (f"^{{[{layer}]}}" if layer else "")

    def _letter(self, letter: str) -> str:
        stem = letter.rstrip("'0123456789")
        digits, primes = letter[len(stem) :].rstrip("'"), letter.count("'")
        greek = {"eps": "varepsilon"}.get(stem, stem)
        shown = rf"\{greek}" if stem in GREEK else stem if _is_letter(stem) else rf"\mathrm{{{stem}}}"
        return shown.replace("_", r"\_") + (f"_{{{digits}}}" if digits else "") + "'" * primes

    def number(self, digits: str) -> str:
        mantissa, _, exponent = digits.partition("e")
        times = "" if mantissa == "1" else rf"{mantissa} \cdot "
        return rf"{times}10^{{{int(exponent)}}}" if exponent else digits

    def quotient(self, e: Expression) -> str:
        return rf"\frac{{{self(e.parts[0])}}}{{{self(e.parts[1])}}}"

    def _base(self, e: Expression) -> str:
        """What an exponent is put on: not on a name that has one."""
        return self.parentheses(self(e)) if e.op == "symbol" and "[" in e.label else self.at(e, ATOM)

    def power(self, base: Expression, exponent: Expression) -> str:
        return f"{self._base(base)}^{{{self(exponent)}}}"

    def transposed(self, e: Expression) -> str:
        if e.op == "symbol" and "[" in e.label:
            return self(e).removesuffix("}") + r"\mathsf{T}}"
        return rf"{self.at(e, ATOM)}^{{\mathsf{{T}}}}"

    def call(self, name: str, parts: Sequence[Expression]) -> Written:
        if name == "abs":
            return rf"\left|{self(parts[0])}\right|", ATOM
        if name == "exp":
            return f"e^{{{self(parts[0])}}}", FACTOR
        if name == "sqrt":
            return rf"\sqrt{{{self(parts[0])}}}", FACTOR
        least = CHOICE if len(parts) == 1 else SUM
        inner = self.parentheses(", ".join(self.at(part, least) for part in parts))
        return (rf"\{name}" if name in self.functions else rf"\operatorname{{{name}}}") + inner, FACTOR

    def reduction(self, what: str, over: str, e: Expression) -> Written:
        sign = {"sum": r"\sum", "max": r"\max", "min": r"\min"}.get(what, rf"\operatorname{{{what}}}")
        under = rf"_{{\text{{{over}}}}}" if over else ""
        return f"{sign}{under} {self._reduced(what, e)}", FACTOR

    def _reduced(self, what: str, e: Expression) -> str:
        return self.parentheses(self(e)) if what == "mean" or e.op == "reduce" else self.at(e, FACTOR)

    def choice(self, a: Expression, condition: Expression, b: Expression) -> str:
        rows = rf"{self.at(a, SUM)} & {self(condition)} \\ {self.at(b, SUM)} & \text{{else}}"
        return rf"\begin{{cases}} {rows} \end{{cases}}"


class MathML(Latex):
    """The same for a browser, which sets it without a library and without a network."""

    minus, plus = "<mo>−</mo>", "<mo>+</mo>"
    juxtaposed, elementwise, dot = "<mo>&#x2062;</mo>", "<mo>⊙</mo>", "<mo>·</mo>"

    def equation(self, equation: Equation, *, annotated: bool = True) -> str:
        """A `math` element, with the LaTeX of it to copy."""
        shown = self.row(super().equation(equation))
        if annotated:
            tex = escape(LATEX.equation(equation))
            shown = f'<semantics>{shown}<annotation encoding="application/x-tex">{tex}</annotation></semantics>'
        return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">{shown}</math>'

    def row(self, *pieces: str) -> str:
        return f"<mrow>{''.join(pieces)}</mrow>"

    def parentheses(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"

    def relation(self, sign: str) -> str:
        return f"<mo>{escape(SIGNS.get(sign, sign))}</mo>"

    def difference(self) -> str:
        return self.minus

    def name(self, letter: str, layer: str) -> str:
        shown = self._letter(letter)
        return f"<msup>{shown}<mrow><mo>[</mo><mn>{layer}</mn><mo>]</mo></mrow></msup>" if layer else shown

    def _signed(self, text: str) -> bool:
        return super()._signed(text.replace("<mrow>", ""))

    def _letter(self, letter: str) -> str:
        stem = letter.rstrip("'0123456789")
        digits, primes = letter[len(stem) :].rstrip("'"), letter.count("'")
        if stem in GREEK or not _is_letter(stem):
            shown = f"<mi>{escape(GREEK.get(stem, stem))}</mi>"
        else:
            shown = "".join(f"<mi>{letter}</mi>" for letter in stem)
            shown = f"<mrow>{shown}</mrow>" if len(stem) > 1 else shown
        shown = f"<msub>{shown}<mn>{digits}</mn></msub>" if digits else shown
        return f"<msup>{shown}<mo>{'′' * primes}</mo></msup>" if primes else shown

    def number(self, digits: str) -> str:
        mantissa, _, exponent = digits.partition("e")
        times = "" if mantissa == "1" else f"<mn>{mantissa}</mn><mo>·</mo>"
        power = f"<mrow>{times}<msup><mn>10</mn><mn>{int(exponent or 0)}</mn></msup></mrow>"
        return power if exponent else f"<mn>{digits}</mn>"

    def quotient(self, e: Expression) -> str:
        return f"<mfrac>{self.row(self(e.parts[0]))}{self.row(self(e.parts[1]))}</mfrac>"

    def power(self, base: Expression, exponent: Expression) -> str:
        return f"<msup>{self.row(self._base(base))}{self.row(self(exponent))}</msup>"

    def transposed(self, e: Expression) -> str:
        if e.op == "symbol" and "[" in e.label:
            return self(e).removesuffix("</mrow></msup>") + "<mi>T</mi></mrow></msup>"
        return f"<msup>{self.row(self.at(e, ATOM))}<mi>T</mi></msup>"

    def call(self, name: str, parts: Sequence[Expression]) -> Written:
        if name == "abs":
            return f"<mrow><mo>|</mo>{self(parts[0])}<mo>|</mo></mrow>", ATOM
        if name == "exp":
            return f"<msup><mi>e</mi>{self.row(self(parts[0]))}</msup>", FACTOR
        if name == "sqrt":
            return f"<msqrt>{self(parts[0])}</msqrt>", FACTOR
        least = CHOICE if len(parts) == 1 else SUM
        inner = "<mo>,</mo>".join(self.at(part, least) for part in parts)
        return f"<mrow><mi>{escape(name)}</mi><mo>&#x2061;</mo>{self.parentheses(inner)}</mrow>", FACTOR

    def reduction(self, what: str, over: str, e: Expression) -> Written:
        sign = "<mo>∑</mo>" if what == "sum" else f"<mi>{what}</mi>"
        under = f"<munder>{sign}<mtext>{over}</mtext></munder>" if over else sign
        return self.row(under, "<mo>&#x2061;</mo>" if what != "sum" else "", self._reduced(what, e)), FACTOR

    def choice(self, a: Expression, condition: Expression, b: Expression) -> str:
        lines = ((self.at(a, SUM), self(condition)), (self.at(b, SUM), "<mtext>else</mtext>"))
        rows = "".join(f"<mtr><mtd>{x}</mtd><mtd>{when}</mtd></mtr>" for x, when in lines)
        return f'<mrow><mo>{{</mo><mtable class="cases">{rows}</mtable></mrow>'


def _is_letter(stem: str) -> bool:
    """Is it written in italics: one letter, or d and one letter?"""
    return len(stem) == 1 or (len(stem) == 2 and stem[0] == "d" and stem[1].isupper()) or stem == "db"


LATEX, MATHML = Latex(), MathML()
