"""A run as one page of HTML: what came out, how it went, what it confuses, where the model is and how to use it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from shlex import quote
from statistics import median
from typing import Any

import numpy as np

from deepxp.history import History
from deepxp.pages.axes import COLOURS, Axis, Line, Point, even_axis, even_ticks, log_axis, panel
from deepxp.pages.page import facts, figure, page, section, table
from deepxp.pages.words import duration, number, round_number
from deepxp.runs.run import METRICS, MODEL, Result, Run

MANY_TIMES = 20  # from the least to the greatest: a logarithmic axis from here on
LEAST, MOST = 1e-300, 1e300  # what is drawn
SHORTEST, LONGEST = 1e-9, 1e9  # seconds of an epoch: a cycle of a clock, 30 years
MOST_POINTS = 600  # of a line
MOST_ROWS = 200  # of the table of epochs
MOST_CLASSES = 30  # of a matrix with all of its cells
MOST_PAIRS = 20  # of the list in its place
FEW = 3  # epochs, of which each is a mark

GRADIENT = """\
The length of the weights of each layer, and of its gradient in the last step of each epoch, as it was applied. Weights
that grow without end, or a gradient that all but vanishes in the first layers, are what to look for."""
CONFUSED = (
    "Rows are true classes, columns predicted ones; each row is shaded by its shares, errors by their square root."
)

Curve = tuple[str, str]
"""A key of a record, and the name of its line."""


def html(run: Run) -> str:
    """The page."""
    result, history = run.result, run.history
    when = f", {result.when[:16].replace('T', ' ')}" if result else ""
    return page(
        f"deepxp train: {run.name}",
        f"deepxp train{when}",
        _headline(run),
        f"{result.network}; trained on {result.device} in {duration(sum(_seconds(history)))}."
        if result
        else f"{len(history)} epochs: the run has not ended, or it failed.",
        _story(run),
        (
            section("Learning curves", _curves(history) + _epochs(history)),
            _confusion(result),
            _norms(history),
            section("Time", facts(_times(run))),
            section("The model", _usage(run)) if result else "",
            section("What was run", _how(run)),
        ),
    )


def _headline(run: Run) -> str:
    result = run.result
    if result is None:
        return run.name
    data = result.data.partition(":")[0]
    if result.part is None or not result.metrics:
        return f"{data}: {len(run.history)} epochs"
    of = f"of {result.parts[result.part]:,} {result.part} samples" if result.part in result.parts else "of samples"
    if "accuracy" in result.metrics:
        return f"{data}: {100 * result.metrics['accuracy']:.2f} % {of} are right"
    return f"{data}: R² {result.metrics.get('r2', math.nan):.4f} on the {of.removeprefix('of ')}"


def _story(run: Run) -> Iterator[str]:
    history, best = run.history, run.history.best_epoch
    if history.stopped_early:
        yield f"Training stopped early, after epoch {len(history)}; the weights are those of epoch {best}, the best."
    if run.result and run.result.metrics:
        said = ", ".join(f"{name} {value:.4g}" for name, value in run.result.metrics.items())
        yield f"On the {run.result.part} samples: {said}."
    for note in run.result.notes if run.result else ():
        yield f"Note: {note}."


# How it went


def _curves(history: History) -> str:
    first = history.records[0]
    panels = [_panel("loss", history, (("loss", "training"), ("validation_loss", "validation")), "J")]
    for key, name in (("validation_accuracy", "validation accuracy"), ("validation_r2", "validation R²")):
        if key in first:
            panels.append(_panel(name, history, ((key, ""),), "", colour=1, even=True, percent="acc" in key))
    if "lr" in first:
        panels.append(_panel("learning rate", history, (("lr", ""),), "", colour=2, even=True))
    return figure((), [shown for shown in panels if shown])


def _panel(
    title: str,
    history: History,
    curves: Sequence[Curve],
    label: str,
    *,
    colour: int = 0,
    even: bool = False,
    percent: bool = False,
) -> str:
    """The lines of the curves that the history has, or nothing; `even` is never logarithmic."""
    lines, scale = [], 100.0 if percent else 1.0
    for k, (key, name) in enumerate(curves):
        if key in history.records[0]:
            found = [(x, scale * y) for x, y in zip(history["epoch"], history[key], strict=True) if abs(y) < MOST]
            points = tuple(Point(x, y, f"{title} {name}, epoch {x:g}: {y:.4g}") for x, y in _thinned(found))
            if points:
                lines.append(Line(points, (colour + k) % COLOURS, k, marks=len(points) <= FEW, label=name))
    values = [point.y for line in lines for point in line.points]
    if not values:
        return ""
    wide = not even and min(values) > LEAST and max(values) > MANY_TIMES * min(values)
    y_axis = (log_axis if wide else even_axis)("%" if percent else label, values, _tick)
    best = history.best_epoch if history.best_epoch != history["epoch"][-1] else None
    return panel(title, lines, _epoch_axis(history), y_axis, (), f"best: epoch {best}" if best else "", best)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of many points the least and the greatest of each stretch, so that no peak is lost, and the last."""
    if len(points) <= MOST_POINTS:
        return points
    stretch, kept = -(-2 * len(points) // MOST_POINTS), []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _tick(value: float) -> str:
    return round_number(value) if value == 0 or 1e-4 < abs(value) < 1e6 else f"{value:.7g}"


def _epoch_axis(history: History) -> Axis:
    low, high = history["epoch"][0], history["epoch"][-1]
    if low == high:
        return Axis("epoch", low - 1, high + 1, [low], "{:g}".format, log=False)
    found = [x for x in even_ticks(0.0, high, 7) if x >= low and x == int(x)]
    return Axis("epoch", low, high, found, "{:g}".format, log=False)


def _epochs(history: History) -> str:
    """A table of the epochs: of many, some, the best among them."""
    names = [name for name in history.records[0] if not name.startswith("norm_") and name != "epoch"]
    step, marked = -(-len(history) // MOST_ROWS), (history["epoch"][-1], history.best_epoch)
    shown = [record for k, record in enumerate(history) if k % step == 0 or record["epoch"] in marked]
    caption = "Every epoch" if step == 1 else f"Every epoch of {step}; {METRICS} has the others"
    rows = [[f"{r['epoch']:g}", *(_cell(r, name) for name in names)] for r in shown]
    return _folded(caption, table(caption, ["epoch", *(name.replace("_", " ") for name in names)], rows))


def _cell(record: Mapping[str, float], name: str) -> str:
    value = record.get(name, math.nan)
    if name == "seconds" and SHORTEST < value < LONGEST:
        return duration(value)
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4g}"


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _norms(history: History) -> str:
    layers = range(1, 1 + sum(name.startswith("norm_W") for name in history.records[0]))
    panels = [
        _panel(f"‖{letter}[l]‖", history, [(f"norm_{letter}{l}", f"{letter}[{l}]") for l in layers], "")
        for letter in ("W", "dW")
    ]
    if not all(panels):
        return ""
    first, last = history.records[0], history.records[-1]
    rows = [
        [f"{letter}[{l}]", *(f"{record.get(f'norm_{letter}{l}', math.nan):.4g}" for record in (first, last))]
        for letter in ("W", "dW")
        for l in layers
    ]
    heads = ["length of", f"epoch {first['epoch']:g}", f"epoch {last['epoch']:g}"]
    lengths = _folded("First and last epoch", table("At the end of the first and of the last epoch", heads, rows))
    return section("Weights and gradients", figure((), panels) + lengths, GRADIENT)


# What it confuses


def _confusion(result: Result | None) -> str:
    C = result.matrix() if result else None
    if result is None or C is None or result.classes is None:
        return ""
    caption = f"The {int(C.sum()):,} {result.part} samples"
    if len(C) <= MOST_CLASSES:
        return section("What it confuses", _matrix(C, result.classes, caption), CONFUSED)
    wrong = C - np.diag(np.diag(C))
    places = [divmod(int(k), len(C)) for k in np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]]
    rows = [(result.classes[i], result.classes[j], f"{wrong[i, j]:,}") for i, j in places if wrong[i, j]]
    caption = f"{caption}: the most frequent confusions among {len(C)} classes"
    return section("What it confuses", table(caption, ("true class", "taken for", "samples"), rows))


def _matrix(C: np.ndarray, names: Sequence[str], caption: str) -> str:
    share, right = C / np.maximum(1, C.sum(axis=1, keepdims=True)), []
    for i, name in enumerate(names):
        cells = "".join(
            f'<td class="{"hit" if i == j else "miss"}" style="--share: {_shade(share[i, j], i == j):.0f}%">{n:,}</td>'
            if n
            else "<td></td>"
            for j, n in enumerate(C[i].tolist())
        )
        right.append(
            f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="sum">{100 * share[i, i]:.1f} %</td></tr>'
        )
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        f'<div class="scroll"><table class="confusion"><caption>{escape(caption)}</caption><thead><tr>'
        f'<th scope="col">true</th>{heads}<th scope="col">right</th></tr></thead>'
        f"<tbody>{''.join(right)}</tbody></table></div>"
    )


def _shade(share: float, hit: bool) -> float:
    return 60.0 * share if hit else 15.0 + 50.0 * math.sqrt(share)


# The rest


def _seconds(history: History) -> list[float]:
    """Of the epochs, as far as they are known."""
    return [record["seconds"] for record in history if SHORTEST < record.get("seconds", 0.0) < LONGEST]


def _times(run: Run) -> dict[str, str]:
    seconds = _seconds(run.history)
    if not seconds:
        return {"epochs": str(len(run.history))}
    said = {"all epochs": duration(sum(seconds)), "an epoch, median": duration(median(seconds))}
    if run.result and run.result.parts.get("train"):
        said["samples a second"] = f"{number(run.result.parts['train'] / median(seconds))}, validation included"
    said["the first epoch"] = f"{duration(seconds[0])}, with what is done once"
    return said


def _usage(run: Run) -> str:
    path = run.folder / MODEL
    proba = "" if run.settings.get("loss") == "squared-error" else " --proba"
    lines = (
        f"deepxp evaluate {quote(str(path))} DATA",
        f"deepxp predict {quote(str(path))} DATA{proba} --out said.csv",
        f"deepxp info {quote(str(path))}",
    )
    python = f"import deepxp\n\nnet = deepxp.load({str(path)!r})\nnet.predict(X)  # columns are samples: X is (n, m)"
    commands = "\n".join(lines)
    return (
        f"{facts({'model': str(path), 'folder': str(run.folder)})}<pre><code>{escape(commands)}</code></pre>"
        f"<pre><code>{escape(python)}</code></pre>"
    )


def _how(run: Run) -> str:
    result = run.result
    said: dict[str, str] = {}
    if result:
        parts = "; ".join(f"{samples:,} to {what}" for what, samples in result.parts.items())
        said = {"command": result.command, "data": result.data, "parts": parts, "device": result.device}
        said |= {"network": result.network, "training": result.training}
        said |= {"seed": str(run.settings.get("seed", ""))}
        said["versions"] = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    rows = [(name, _shown(value)) for name, value in run.settings.items()]
    again = f"deepxp train --config {quote(str(run.folder / 'config.toml'))}"
    settings = _folded("Every setting", table(f"{again} repeats the run", ("setting", "value"), rows)) if rows else ""
    return facts(said) + settings


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
