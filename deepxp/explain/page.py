"""An explanation as one page of HTML with typeset formulas: MathML, so that it needs no network and no script."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from deepxp.explain.example import Numeric
from deepxp.explain.explanation import Explanation, Line, Section
from deepxp.explain.expressions import Expression
from deepxp.explain.numbers import LEFT_OUT, cells
from deepxp.explain.terminal import error, shape
from deepxp.explain.typeset import MATHML, MathML
from deepxp.explain.writers import TEXT
from deepxp.ops.typing import Array


class Shapes(MathML):
    """An equation with the shape of each quantity in place of its name."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        self.sizes = sizes

    def name(self, letter: str, layer: str) -> str:
        return f"<mtext>{shape(self.sizes[TEXT.name(letter, layer)])}</mtext>"

    def transposed(self, e: Expression) -> str:
        return f"<msup>{self(e)}<mi>T</mi></msup>"


def html(explanation: Explanation) -> str:
    """The page. It is well-formed XML, too."""
    style = (files("deepxp.explain") / "page.css").read_text(encoding="utf-8")
    shapes = Shapes(explanation.sizes)
    links = "".join(f'<li><a href="#s{k}">{_title(section)}</a></li>' for k, section in enumerate(explanation.sections))
    return f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>deepxp explain: {escape(explanation.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">deepxp explain</p>
<h1>{escape(explanation.title)}</h1>
{"".join(f"<p>{escape(_signs(text))}</p>" for text in explanation.about)}
</header>
<nav><ol>{links}</ol></nav>
<main>
{"".join(_section(k, section, shapes) for k, section in enumerate(explanation.sections))}
</main>
</body>
</html>
"""


def _section(k: int, section: Section, shapes: Shapes) -> str:
    lines = "".join(_line(line, shapes) for line in section.lines)
    return f'<section id="s{k}"><h2>{_title(section)}</h2>{lines}</section>\n'


def _title(section: Section) -> str:
    return escape(section.title.replace("->", "→"))


def _signs(text: str) -> str:
    """Prose with the signs that a terminal may lack."""
    return text.replace(" - ", " − ").replace("||", "‖").replace("theta", "θ")


def _line(line: Line, shapes: Shapes) -> str:
    formulas = "".join(MATHML.equation(equation) for equation in line.equations)
    if line.with_shapes:
        formulas += f'<div class="shapes">{shapes.equation(line.equations[-1], annotated=False)}</div>'
    about = f"<p>{escape(_signs(line.about))}</p>" if line.about else ""
    blocks = "".join(_matrix(_name(name), shape(v.shape) if v.shape else "", v) for name, v in line.values)
    if line.numeric is not None:
        blocks += _numeric(line.numeric, line.values[-1][1])
    return f'<div class="line"><div class="formulas">{formulas}</div>{about}<div class="values">{blocks}</div></div>'


def _numeric(numeric: Numeric, d: Array) -> str:
    return _matrix("numeric", error(numeric), numeric.values, like=d, kind=" numeric")


def _matrix(name: str, about: str, values: Array, like: Array | None = None, kind: str = "") -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{'⋯' if cell == LEFT_OUT else cell.replace('-', '−')}</td>" for cell in row) + "</tr>"
        for row in cells(values, like)
    )
    return (
        f'<figure class="matrix{kind}"><figcaption>{name} <span>{escape(about)}</span></figcaption>'
        f'<div class="brackets"><table><tbody>{rows}</tbody></table></div></figure>'
    )


def _name(label: str) -> str:
    letter, _, layer = label.rstrip("]").partition("[")
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML">{MATHML.name(letter, layer)}</math>'
