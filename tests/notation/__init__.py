r"""Readers of formulas: what is written is computed, by a grammar that the writers do not know.

`latex(source, names)` evaluates LaTeX as a reader would: juxtaposed matrices are multiplied, \odot is element by
element, subscripts pick elements, \sum_{k} runs over k, \frac{\partial F}{\partial x} asks `names` for the derivative.
`text(source, names)` reads the notation of the terminal and `mathml(source, names)` a page's, through the same grammar.
"""

import ast
import re
from xml.etree import ElementTree

import numpy as np

FUNCTIONS = {
    "tanh": np.tanh, "log": np.log, "exp": np.exp, "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign,
    "max": np.maximum, "min": np.minimum, "mean": np.mean,
}  # fmt: skip
GREEK = {"varepsilon": "eps"}
TOKEN = re.compile(r"\\[A-Za-z]+|\\[,;!\\]|\d+(?:\.\d+)?(?:e[-+]?\d+)?|d[WZAbaz](?![a-z])|[A-Za-z]|\S")
SPACE = {r"\,", r"\;", r"\!", r"\left", r"\right", r"\quad"}
CLOSING = {")", "}", ",", "&", r"\\", r"\end", "=", "|", "]", "+", "-", ">", "<", r"\wedge", r"\vee", ""}


class Reader:
    """LaTeX, from left to right; `index` holds what the index letters stand for at the moment."""

    def __init__(self, source, names, sizes=(), index=()):
        self.tokens = [token for token in TOKEN.findall(source) if token not in SPACE] + [""]
        self.names, self.sizes, self.index, self.at = names, dict(sizes), dict(index), 0

    @property
    def next(self):
        return self.tokens[self.at]

    def take(self, *wanted):
        token = self.next
        assert not wanted or token in wanted, (token, wanted, self.tokens[max(0, self.at - 5) : self.at + 5])
        self.at += 1
        return token

    def sides(self):
        """The values on either side of each =."""
        found = [self.sum()]
        while self.next == "=":
            self.take()
            found.append(self.sum())
        self.take("")
        return found

    def sum(self):
        value = -self.product() if self.next == "-" and self.take() else self.product()
        while self.next in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self):
        value = self.factor()
        while self.next not in CLOSING:
            if self.next in (r"\odot", r"\cdot"):
                self.take()
                value = value * self.factor()
            else:
                other = self.factor()
                value = value @ other if np.ndim(value) == np.ndim(other) == 2 else value * other
        return value

    def group(self, read=None):
        """{...}"""
        self.take("{")
        value = (read or self.sum)()
        self.take("}")
        return value

    def factor(self):
        value = self.base()
        while self.next == "^":
            self.take()
            if self.tokens[self.at : self.at + 3] == ["{", r"\mathsf", "{"]:
                self.group(self.raw)
                value = np.transpose(value)
            else:
                value = value ** (self.group() if self.next == "{" else float(self.take()))
        return value

    def raw(self):
        """The tokens up to the closing brace."""
        found, depth = [], 0
        while depth or self.next != "}":
            depth += {"{": 1, "}": -1}.get(self.next, 0)
            found.append(self.take())
        return found

    def base(self):
        token = self.take()
        if token[0].isdigit():
            return float(token)
        if token == "(":
            value = self.condition()
            self.take(")")
            return value
        if token == "|":
            value = self.sum()
            self.take("|")
            return np.abs(value)
        if token == r"\frac":
            if self.tokens[self.at : self.at + 2] == ["{", r"\partial"]:
                of, by = (self.group(lambda: (self.take(r"\partial"), self.name())[1]) for _ in "ab")
                return self.names["partial"](*of, *by)
            return self.group() / self.group()
        if token == r"\sqrt":
            return np.sqrt(self.group())
        if token == "e" and self.next == "^":
            self.take()
            return np.exp(self.group() if self.next == "{" else self.base())
        if token in (r"\sum", r"\max", r"\min") and self.next == "_":
            return self.reduction(token)
        if token == r"\begin":
            return self.cases()
        if token == r"\delta":
            i, k = self.subscripts()
            return float(i == k)
        if token == r"\operatorname":
            return self.call("".join(self.group(self.raw)))
        if token.removeprefix("\\") in FUNCTIONS:
            return self.call(token.removeprefix("\\"))
        self.at -= 1
        name, index = self.name()
        value = self.names[name]
        if callable(value):
            self.take("(")
            value = value(self.sum())
            self.take(")")
        if index:
            value = np.asarray(value)
            value = value[(*index, 0)[: value.ndim]]
        if self.transposed:
            value, self.transposed = value.T, False
        return value

    transposed = False

    def name(self):
        """(Z[l], the subscripts): a symbol with its prime, its layer and its indices."""
        token = self.take()
        name = "".join(self.group(self.raw)) if token == r"\mathrm" else token.removeprefix("\\")
        name, index = GREEK.get(name, name), ()
        while self.next in ("'", "_", "^"):
            if self.next == "'":
                name += self.take()
            elif self.next == "_":
                if self.tokens[self.at + 2].isdigit():
                    self.take()
                    name += "".join(self.group(self.raw))
                else:
                    index = self.subscripts()
            elif self.tokens[self.at + 1 : self.at + 3] == ["{", "["]:
                self.take()
                layer = "".join(self.group(self.raw))
                self.transposed = layer.endswith(r"\mathsf{T}")
                name += layer.removesuffix(r"\mathsf{T}")
            else:
                break
        return name, index

    def subscripts(self):
        self.take("_")
        letters = self.group(self.raw) if self.next == "{" else [self.take()]
        return tuple(self.index[letter] for letter in letters)

    def reduction(self, token):
        self.take("_")
        under = "".join(self.group(self.raw)) if self.next == "{" else self.take()
        if under.startswith(r"\text"):
            f = {r"\sum": np.sum, r"\max": np.max, r"\min": np.min}[token]
            return f(self.product(), axis={"units": 0, "samples": 1}[under[6:-1]], keepdims=True)
        start, total = self.at, 0.0
        for k in range(self.sizes[under]):
            self.at, self.index[under] = start, k
            total = total + self.product()
        del self.index[under]
        return total

    def cases(self):
        self.group(self.raw)
        a = self.sum()
        self.take("&")
        condition = self.condition()
        self.take(r"\\")
        b = self.sum()
        self.take("&")
        self.take(r"\text")
        assert self.group(self.raw) == list("else")
        self.take(r"\end")
        self.group(self.raw)
        return np.where(condition, a, b)

    def condition(self):
        value = self.sum()
        if self.next in (">", "<"):
            return value > self.sum() if self.take() == ">" else value < self.sum()
        return value

    def call(self, name):
        if self.next != "(":
            return FUNCTIONS[name](self.factor())
        self.take("(")
        arguments = [self.condition()]
        while self.next == ",":
            self.take()
            arguments.append(self.sum())
        self.take(")")
        return FUNCTIONS[name](*arguments)


def latex(source, names):
    """The value of an expression."""
    reader = Reader(source, names)
    value = reader.sum()
    reader.take("")
    return value


def text(source, names):
    """The same of the notation of the terminal: Python's precedence, with juxtaposition as an operator beside *."""
    source = re.sub(r"\|([^|]*)\|", r"abs(\1)", source)
    source = source.replace(" where ", "\0").replace(", else ", "\1")
    source = re.sub(r"([A-Za-z]+)\[(\d+)\]", r"\1_\2_", source).replace("'", "_new_").replace("^T", ".T")
    source = re.sub(r"(?<=[\w)]) (?=[\w(])", " @ ", source.replace("^", "**"))
    tree = ast.parse(source.replace("\0", " if ").replace("\1", " else "), mode="eval")
    tree = ast.fix_missing_locations(_Juxtaposition().visit(tree))
    known = {re.sub(r"\[(\d+)\]", r"_\1_", name).replace("'", "_new_"): value for name, value in names.items()}
    return eval(
        compile(tree, "a formula", "eval"), FUNCTIONS | REDUCTIONS | {"where": np.where, "beside": _beside} | known
    )


def _beside(a, b):
    return a @ b if np.ndim(a) == np.ndim(b) == 2 else a * b


REDUCTIONS = {
    "where": np.where,
    "beside": _beside,
    "sum_units": lambda x: np.sum(x, axis=0, keepdims=True),
    "max_units": lambda x: np.max(x, axis=0, keepdims=True),
    "sum_samples": lambda x: np.sum(x, axis=1, keepdims=True),
}


class _Juxtaposition(ast.NodeTransformer):
    """a b as the product of matrices or with a number, and a choice as one of arrays."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.MatMult):
            return ast.Call(ast.Name("beside", ast.Load()), [node.left, node.right], [])
        return node

    def visit_IfExp(self, node):
        self.generic_visit(node)
        return ast.Call(ast.Name("where", ast.Load()), [node.test, node.body, node.orelse], [])


def mathml(source, names):
    """The same of a `math` element or a part of one."""
    return latex(as_latex(ElementTree.fromstring(f"<x>{source}</x>")), names)


SIGNS = {"−": "-", "⊙": r" \odot ", "·": r" \cdot ", "\u2061": "", "\u2062": " ", "′": "'", "∑": r"\sum"}
LETTERS = {"θ": "theta", "β": "beta", "μ": "mu", "ρ": "rho", "ε": "varepsilon"}


def as_latex(element):
    """MathML as LaTeX; what is beside the formula, such as its annotation, is left out."""
    tag, parts = element.tag.rpartition("}")[2], [as_latex(child) for child in element if "annotation" not in child.tag]
    own = (element.text or "").strip("\n")
    match tag:
        case "mi" if own in LETTERS:
            return rf"\{LETTERS[own]} "
        case "mi" if own in FUNCTIONS:
            return rf"\operatorname{{{own}}}"
        case "mi" if own == "T":
            return r"\mathsf{T}"
        case "mi" if len(own) > 1:
            return rf"\mathrm{{{own}}}"
        case "mi" | "mn":
            return own
        case "mtext":
            return rf"\text{{{own}}}"
        case "mo":
            return SIGNS.get(own, own)
        case "mfrac":
            return rf"\frac{{{parts[0]}}}{{{parts[1]}}}"
        case "msqrt":
            return rf"\sqrt{{{''.join(parts)}}}"
        case "msup" if parts[1] == "'":
            return parts[0] + "'"
        case "msup":
            return f"{parts[0]}^{{{parts[1]}}}"
        case "msub":
            return f"{parts[0]}_{{{parts[1]}}}"
        case "munder":
            return f"{parts[0].replace('operatorname{max}', 'max')}_{{{parts[1]}}}"
        case "mtable":
            rows = r" \\ ".join(" & ".join(as_latex(cell) for cell in row) for row in element)
            return rf"\begin{{cases}}{rows}\end{{cases}}"
        case "mrow" if parts[:1] == ["{"]:
            return parts[1]
    return "".join(parts)
