"""An explanation as text for a terminal of 80 columns."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from deepxp.explain.example import Numeric
from deepxp.explain.explanation import Explanation, Line, Section
from deepxp.explain.numbers import cells
from deepxp.explain.writers import TEXT, Text

WIDTH, INDENT, BETWEEN = 79, "    ", 3


class Shapes(Text):
    """An equation with the shape of each quantity in place of its name: (3, 4) = (3, 2) (2, 4) + (3, 1)."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        self.sizes = sizes

    def name(self, letter: str, layer: str) -> str:
        return shape(self.sizes[super().name(letter, layer)])


def shape(size: Any) -> str:
    """(3, 4), or a number."""
    return f"({', '.join(map(str, size))})" if isinstance(size, tuple) else str(size)


def text(explanation: Explanation) -> str:
    """The whole explanation."""
    head = [explanation.title, *(part for about in explanation.about for part in ("", textwrap.fill(about, WIDTH)))]
    body = [line for section in explanation.sections for line in _section(section, Shapes(explanation.sizes))]
    return "\n".join([*head, *body]) + "\n"


def _section(section: Section, shapes: Shapes) -> Iterator[str]:
    yield from ("", "", section.title, "-" * len(section.title))
    for line in section.lines:
        yield ""
        yield from _line(line, shapes)


def _line(line: Line, shapes: Shapes) -> Iterator[str]:
    for equation in line.equations:
        yield from _wrapped(TEXT.equation(equation))
    if line.with_shapes:
        yield from _wrapped(shapes.equation(line.equations[-1]))
    if line.about:
        yield from textwrap.wrap(line.about, WIDTH)
    blocks = [_block(name, cells(v), v.shape) for name, v in line.values]
    if line.numeric is not None:
        d = line.values[-1][1]
        blocks.append(_block("numeric", cells(line.numeric.values, like=d)))
    yield from _bands(blocks)
    if line.numeric is not None:
        yield f"{INDENT}{error(line.numeric)}"


def error(numeric: Numeric) -> str:
    """How far the differences are from the derivative, and of how many numbers that is said."""
    part = "" if numeric.checked == numeric.size else f", of {numeric.checked} of {numeric.size} numbers"
    kinks = f"; {numeric.kinks} at a kink" if numeric.kinks else ""
    return f"error {numeric.error:.1e}{part}{kinks}"


def _block(name: str, rows: list[list[str]], size: tuple[int, ...] = ()) -> list[str]:
    """A name above a matrix."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return [f"{name} {shape(size)}" if size else name, *lines]


def _bands(blocks: list[list[str]]) -> Iterator[str]:
    """Blocks side by side as far as the width goes."""
    band: list[list[str]] = []
    for block in [*blocks, None]:
        widths = [max(map(len, other)) for other in [*band, *([block] if block else [])]]
        if band and (block is None or len(INDENT) + sum(widths) + BETWEEN * (len(widths) - 1) > WIDTH):
            for k in range(max(map(len, band))):
                row = (f"{other[k] if k < len(other) else '':<{w}}" for other, w in zip(band, widths, strict=False))
                yield (INDENT + (" " * BETWEEN).join(row)).rstrip()
            band = []
        if block is not None:
            band.append(block)


def _wrapped(formula: str) -> list[str]:
    return textwrap.wrap(formula, WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
