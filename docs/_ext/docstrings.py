"""Docstrings as they are written: the equation first, then sentences. No markup but `code`, so none is looked for.

A definition is shown with the formula that it writes when it is run on symbols, and a signature as it stands in the
source: `X: Array`, which Python would resolve to Any.
"""

import ast
import inspect
import re
import textwrap

from deepxp.explain.expressions import Equation
from deepxp.explain.formulas import definition, update
from deepxp.explain.typeset import MATHML
from deepxp.network import Network
from deepxp.optimizers import OPTIMIZERS

CODE = re.compile(r"`([^`]+)`")
WORD = re.compile(r"((?<!\S)\*\w+\*(?!\w))")  # *consumed*
SPECIAL = re.compile(r"([\\*_|])")
SOURCE = re.compile(r" {4}(\([^()]*\))$")  # `g(Z) = max(Z, 0.01 Z)    (Maas et al. 2013)`
EQUATION = re.compile(r"[\w\]')|] = |^\S+ = ")


def escaped(text):
    """reStructuredText that says a line as it is, but `code` as code and an *emphasised* word as one."""
    parts = CODE.split(text)
    parts[1::2] = [f"``{code}``" for code in parts[1::2]]
    for k in range(0, len(parts), 2):
        pieces = WORD.split(parts[k])
        parts[k] = "".join(piece if i % 2 else SPECIAL.sub(r"\\\1", piece) for i, piece in enumerate(pieces))
    return "".join(parts)


def plain(lines, opens_with_an_equation):
    """A docstring as reStructuredText: an equation set apart, indented parts as they stand, sentences."""
    paragraphs = [block.split("\n") for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))]
    for k, paragraph in enumerate(paragraphs):
        if all(line.startswith("    ") for line in paragraph):
            yield from ["::", "", *paragraph, ""]
        elif k == 0 and opens_with_an_equation:
            yield from [".. container:: equation", "", *(f"   | {escaped(line.strip())}" for line in paragraph), ""]
        elif any(line.startswith(" ") for line in paragraph):  # `name: what it is`, and its further lines indented
            yield from [*("* " + escaped(item) for item in items(paragraph)), ""]
        elif any(re.match(r"\S+( +\S+)? {3,}\S", line) for line in paragraph):  # a small table, in columns
            yield from ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            yield from [*map(escaped, paragraph), ""]


def items(lines):
    """Each line that is not indented, with those after it that are."""
    found = []
    for line in lines:
        if line.startswith(" "):
            found[-1] += " " + line.strip()
        else:
            found.append(line.removeprefix("- "))
    return found


def docstring(app, what, name, thing, options, lines):
    """Rewrites the lines of one docstring in place."""
    lines[:] = plain(lines, what in ("function", "method", "class") and EQUATION.search(lines[0]) if lines else False)
    if formulas := list(written(name, thing)):
        lines += [".. raw:: html", "", f'    <div class="written">{"".join(map(MATHML.equation, formulas))}</div>', ""]


def written(name, function):
    """The equations of an activation, of its derivative, or of an update rule, as they write them themselves."""
    home, _, short = name.rpartition(".")
    if home == "deepxp.ops.updates" and short in OPTIMIZERS:
        yield from update(OPTIMIZERS[short](), Network((1, 1), loss="squared-error"))[0].equations
    elif home == "deepxp.ops.activations" and inspect.isfunction(function) and function.__module__ == home:
        names = list(inspect.signature(function).parameters)[1:]
        for target, value in definition(function, *names):
            returned = target.label == function.__name__
            yield Equation(target.book.symbol("dZ" if "dA" in names else "A") if returned else target, value)


class Unquoted(ast.NodeTransformer):
    """Annotations in quotes, of what is defined further down, without them."""

    def visit_arg(self, node):
        node.annotation = self.said(node.annotation)
        return node

    def visit_FunctionDef(self, node):
        self.visit(node.args)
        node.returns = self.said(node.returns)
        return node

    def said(self, annotation):
        quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        return ast.parse(annotation.value, mode="eval").body if quoted else annotation


def signature(app, what, name, thing, options, shown, returned):
    """(parameters, what is returned) as the source has them; None leaves it to autodoc."""
    function = thing.__init__ if what == "class" else thing
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (TypeError, OSError):  # made by dataclass, or no function
        return None
    if not (tree.body and isinstance(tree.body[0], ast.FunctionDef)):
        return None
    node = Unquoted().visit(tree.body[0])
    given = node.args.posonlyargs + node.args.args
    infers = hasattr(function, "__wrapped__")  # deepxp.softmax(Z) takes the xp of Z
    if given and (given[0].arg in ("self", "cls") or (infers and given[0].arg == "xp")):
        (node.args.posonlyargs or node.args.args).pop(0)
    return f"({ast.unparse(node.args)})", None if what == "class" or node.returns is None else ast.unparse(node.returns)


def setup(app):
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
