"""A page of HTML in one file. It is well-formed XML, too, and every text that is handed in is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from deepxp.pages.axes import mark

Labelled = tuple[int | None, bool, str]
"""An entry of a legend: the colour, whether the line is dashed, and its name."""


def page(title: str, eyebrow: str, heading: str, lead: str, more: Iterable[str], sections: Iterable[str]) -> str:
    """The whole page."""
    style = (files("deepxp.pages") / "page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">{escape(eyebrow)}</p>
<h1>{escape(heading)}</h1>
<p class="lead">{escape(lead)}</p>
{"".join(f"<p>{escape(text)}</p>" for text in more)}
</header>
<main>
{chr(10).join(part for part in sections if part)}
</main>
</body>
</html>
"""


def section(title: str, content: str, about: str = "") -> str:
    """A heading, what the section is about, and its content."""
    said = f'<p class="about">{escape(about)}</p>' if about else ""
    return f"<section><h2>{escape(title)}</h2>{said}{content}</section>"


def facts(values: Mapping[str, str]) -> str:
    """Names and what is said of them."""
    said = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items())
    return f"<dl>{said}</dl>"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows begin with a name."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="named"><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(entries: Sequence[Labelled], panels: Sequence[str]) -> str:
    """Panels side by side, with a legend above them."""
    legend = "".join(f"<li>{_swatch(colour, dashed)}{escape(name)}</li>" for colour, dashed, name in entries)
    return (f'<ul class="legend">{legend}</ul>' if entries else "") + f'<div class="panels">{"".join(panels)}</div>'


def _swatch(colour: int | None, dashed: bool) -> str:
    kind = "plain" if colour is None else f"s{colour}"
    line = f'<path class="line {kind}{" dashed" if dashed else ""}" d="M1 7H33"/>'
    shape = "" if colour is None else mark(colour, colour, 17, 7)
    return f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true" xmlns="http://www.w3.org/2000/svg">{line}{shape}</svg>'
