"""How every figure looks: its colours, its axes, names at the ends of lines; and how it is written to a file."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports that it builds its font cache

from matplotlib import rc_context  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter  # noqa: E402

from deepxp.errors import ConfigError  # noqa: E402
from deepxp.history import History  # noqa: E402
from deepxp.pages.axes import LINE, apart  # noqa: E402

# As on the pages of HTML: Okabe and Ito's, which the colour-blind tell apart, darkened where they are pale.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5569b", "#a87400", "#3a9fd8")
INK, QUIET, RULE, GRID = "#1a1f24", "#59636e", "#cfd6dd", "#e8ecf0"
FONT = 9.5  # points
SPACING = 1.25 * FONT / 72  # inches from one name to the next
MANY_TIMES = 20  # from the least to the greatest: a logarithmic axis from here on
LONG = 14  # characters of the name of a class that are shown
FEW = 3  # epochs, of which each is a mark
FORMATS = ("png", "svg", "pdf")
LOOK = {
    "font.size": FONT,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.titlesize": FONT + 1,
    "axes.titleweight": "semibold",
    "text.parse_math": False,  # a name may hold dollars
    "svg.hashsalt": "deepxp",  # the same bytes for the same figure
    "svg.fonttype": "path",
}


def colour(k: int) -> str:
    """The colour of the k-th line, counted from 0."""
    return COLOURS[k % len(COLOURS)]


def short(name: str) -> str:
    """As much of a name as there is room for: its begin and its end, where names differ most often."""
    half = LONG // 2
    return name if len(name) <= LONG else f"{name[: LONG - 1 - half].rstrip()}…{name[-half:].lstrip()}"


def empty(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.1, h_pad=0.08)
    return figure


def panels(count: int, names: Sequence[str] = (), *, height: float = 3.3) -> tuple[Figure, list[Any]]:
    """A figure with so many panels side by side, and room for names at the ends of their lines."""
    room = 0.075 * max(map(len, names), default=0)
    figure = empty((3.6 + room) * count + 0.4, height)
    axes = list(figure.subplots(1, count, squeeze=False)[0, :])
    for axis in axes:
        clean(axis)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
    return figure, axes


def clean(axis: Any) -> None:
    """No frame, and quiet numbers."""
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(RULE)
    axis.tick_params(colors=QUIET, length=0, labelsize=FONT - 1)
    axis.tick_params(axis="x", length=3, color=RULE)
    axis.set_axisbelow(True)


def title(axis: Any, text: str) -> None:
    """Above the panel, at its left."""
    axis.set_title(text, loc="left", color=INK)


def epochs_along(axis: Any) -> None:
    """Whole epochs on the horizontal axis."""
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def logarithmic(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic vertical axis, where the values are positive and span a lot."""
    finite = [x for x in values if math.isfinite(x)]
    if not finite or min(finite) <= 0 or max(finite) < MANY_TIMES * min(finite):
        return
    wide = max(finite) > 1e3 * min(finite)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="y", which="minor", length=0)


def draw(axis: Any, epochs: Sequence[float], values: Sequence[float], colour: str, **more: Any) -> None:
    """A line; with marks where it has few points."""
    axis.plot(epochs, values, color=colour, linewidth=1.6, marker="o" if len(epochs) <= FEW else "", ms=4, **more)


def end(history: History, key: str, name: str, colour: str) -> tuple[float, float, str, str]:
    """Where the line of a key of the records ends, for `name_ends`."""
    finite = [value for value in history[key] if math.isfinite(value)]
    return history["epoch"][-1], finite[-1] if finite else math.nan, name, colour


def name_ends(figure: Figure, axis: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the ends (x, y, name, colour) of lines, so that they do not touch. The panel has its limits."""
    ends = [end for end in ends if math.isfinite(end[1])]
    figure.draw_without_rendering()  # the layout decides how high the panel is
    low, high = axis.get_ylim()
    to_place, from_place = axis.transData.transform, axis.transAxes.inverted().transform
    height = axis.get_window_extent().height / figure.dpi / SPACING * LINE  # in the unit of `apart`
    places = [from_place(to_place((x, min(max(y, low), high))))[1] for x, y, _, _ in ends]
    moved = apart([place * height for place in places], 0.0, height)
    for (_, _, text, colour), place in zip(ends, moved, strict=True):
        axis.annotate(
            text,
            (1.0, place / height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
            parse_math=False,
        )


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all, in the format that the name ends with: png, svg or pdf.

    Raises ConfigError for another ending, OSError where the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(f"{path}: a plot is written as one of {', '.join(FORMATS)}; end its name with .png or .svg")
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        with rc_context(LOOK):
            figure.savefig(part, format=kind, dpi=150, metadata=undated)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
