"""A plot on two axes, each logarithmic or linear, as SVG. Colours are the page's: `s0`, `s1`, ... name them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 344, 264
TOP, BOTTOM, LEFT = 30, 46, 66
CHARACTER, LINE = 6.6, 13  # of a label, in pixels
MOST_TICKS = 8
COLOURS = 6


@dataclass(frozen=True)
class Point:
    """A mark, and what it says when it is pointed at."""

    x: float
    y: float
    note: str


@dataclass(frozen=True)
class Line:
    """Points joined in the order of x. `label` stands at its right end. Without marks it is a line to compare with."""

    points: tuple[Point, ...]
    colour: int
    shape: int
    dashed: bool = False
    marks: bool = True
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """From low to high, which differ; `text` writes the number at a tick. Of ticks that would touch the first stays."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    text: Callable[[float], str]
    log: bool = True

    def scale(self, start: float, end: float) -> Callable[[float], float]:
        """Where a value is between two places in the picture."""
        f = math.log if self.log else float
        a, b = f(self.low), f(self.high)
        return lambda value: start + (f(value) - a) / (b - a) * (end - start)


@dataclass(frozen=True)
class Level:
    """A dashed line across the plot."""

    y: float
    colour: int
    label: str


def steps(low: float, high: float, digits: Iterable[int] = (1, 2, 5)) -> list[float]:
    """The numbers 1, 2, 5, 10, ... from low to high, within rounding."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return [x for x in found if low * (1 - 1e-9) <= x <= high * (1 + 1e-9)]


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """The nearest of 1, 2, 5, 10, ... below and above all values, two different ones."""
    low = steps(min(values) / 10, min(values))[-1]
    high = steps(max(values), max(values) * 10)[0]
    return (low, high) if low < high else (steps(low / 10, low * 0.99)[-1], steps(high * 1.01, high * 10)[0])


def ticks(low: float, high: float) -> list[float]:
    """At 1, 2, 5; at the powers of ten where that is too many, then at every second power, and so on."""
    found, skip = steps(low, high), 1
    while len(found) > MOST_TICKS:
        found = steps(low, high, (1,))[::skip]
        skip += 1
    return found


def even_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high, at most so many."""
    width = high - low
    for step in steps(width / 100, 10 * width):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    return [low]


def log_axis(label: str, values: Sequence[float], text: Callable[[float], str]) -> Axis:
    """Logarithmic, for these values."""
    low, high = bounds(values)
    return Axis(label, low, high, ticks(low, high), text)


def even_axis(label: str, values: Sequence[float], text: Callable[[float], str], most: int = 6) -> Axis:
    """Linear, from the tick below these values to the one above."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
    found = even_ticks(low, high, most - 1)
    step = found[1] - found[0] if len(found) > 1 else high - low
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    return Axis(label, low, high, even_ticks(low, high, most + 1), text, log=False)


def apart_ticks(axis: Axis, place: Callable[[float], float]) -> list[float]:
    """The ticks of a horizontal axis without those that would touch the one before."""
    kept: list[float] = []
    for x in axis.ticks:
        wide = CHARACTER * (len(axis.text(x)) + len(axis.text(kept[-1]))) / 2 if kept else 0.0
        if not kept or place(x) - place(kept[-1]) > wide + 8:
            kept.append(x)
    return kept


def apart(heights: Sequence[float], low: float, high: float) -> list[float]:
    """The heights moved so that labels there do not touch, and stay between low and high as far as there is room."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    floor = low
    for i in order:
        placed[i] = max(placed[i], floor)
        floor = placed[i] + LINE
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - LINE
    return placed


def mark(colour: int, shape: int, x: float, y: float, note: str = "") -> str:
    """One of several shapes, so that colour is not all there is to tell lines apart."""
    r = 3.6
    corners = (
        None,
        ((-r, -r), (r, -r), (r, r), (-r, r)),
        ((0, -r - 1), (r + 1, r), (-r - 1, r)),
        ((0, -r - 1.4), (r + 1.4, 0), (0, r + 1.4), (-r - 1.4, 0)),
        ((0, r + 1), (r + 1, -r), (-r - 1, -r)),
        ((-r - 1, -1.6), (r + 1, -1.6), (r + 1, 1.6), (-r - 1, 1.6)),
    )[shape % COLOURS]
    title = f"<title>{escape(note)}</title>" if note else ""
    if corners is None:
        return f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{r}">{title}</circle>'
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="f{colour}" points="{path}">{title}</polygon>'


def panel(
    title: str,
    lines: Sequence[Line],
    x_axis: Axis,
    y_axis: Axis,
    levels: Sequence[Level] = (),
    note: str = "",
    best: float | None = None,
) -> str:
    """The plot as an <svg>. `best` is an x that is marked by a line; what it means, `note` says."""
    right = WIDTH - (12 + CHARACTER * max((len(line.label) for line in lines), default=0))
    x_place = x_axis.scale(LEFT + 10, right - 10)
    y_place = y_axis.scale(HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="16">{escape(title)}</text>']
    if y_axis.label:
        said = escape(y_axis.label)
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="16" text-anchor="end">{said}</text>')
    if note:
        parts.append(f'<text class="tick" x="{WIDTH - 14}" y="16" text-anchor="end">{escape(note)}</text>')
    for y in y_axis.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y_place(y):.1f}H{right:.1f}"/>')
        said = escape(y_axis.text(y))
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y_place(y) + 4:.1f}" text-anchor="end">{said}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{right:.1f}"/>')
    for x in apart_ticks(x_axis, x_place):
        said = escape(x_axis.text(x))
        parts.append(f'<path class="axis" d="M{x_place(x):.1f} {HEIGHT - BOTTOM}v5"/>')
        parts.append(
            f'<text class="tick" x="{x_place(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{said}</text>'
        )
    middle, x_label = (LEFT + right) / 2, escape(x_axis.label)
    parts.append(f'<text class="label" x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{x_label}</text>')
    if best is not None:
        parts.append(f'<path class="line plain dashed" d="M{x_place(best):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    across = f"H{right - 6:.1f}"
    parts += [
        f'<path class="line s{level.colour} dashed" d="M{LEFT} {y_place(level.y):.1f}{across}"/>' for level in levels
    ]
    for line in lines:
        places = [(x_place(p.x), y_place(p.y), p) for p in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline class="line s{line.colour}{" dashed" if line.dashed else ""}" points="{path}"/>')
        if line.marks:
            parts += [mark(line.colour, line.shape, x, y, p.note) for x, y, p in places]
    for level, y in zip(
        levels, apart([y_place(level.y) - 5 for level in levels], TOP - 4, HEIGHT - BOTTOM), strict=True
    ):
        parts.append(f'<text class="tick t{level.colour}" x="{LEFT + 6}" y="{y:.1f}">{escape(level.label)}</text>')
    named = [line for line in lines if line.label]
    ends = apart([y_place(line.points[-1].y) + 4 for line in named], TOP, HEIGHT - BOTTOM)
    for line, y in zip(named, ends, strict=True):
        x = x_place(line.points[-1].x) + 11
        parts.append(f'<text class="tick t{line.colour}" x="{x:.1f}" y="{y:.1f}">{escape(line.label)}</text>')
    about = escape(f"{title}: {y_axis.label or title} against {x_axis.label}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}" xmlns="http://www.w3.org/2000/svg">'
        + "".join(parts)
        + "</svg>"
    )
