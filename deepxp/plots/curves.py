"""Learning curves of one or several runs, and the norms of a network's weights and gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from deepxp.errors import ConfigError
from deepxp.history import History
from deepxp.plots import style

METRICS = {"validation_accuracy": "validation accuracy", "validation_r2": "validation R²"}
LOSSES = {"loss": "training", "validation_loss": "validation"}
FLAT = 0.2  # R² below which a curve is left out of sight: the first epochs can be at -1000


def learning_curves(histories: History | Mapping[str, History]) -> Figure:
    """The loss in training and on the validation data, and the validation metric, of a run, or of several by their
    names. Raises ConfigError where there is nothing to draw."""
    runs = {"": histories} if isinstance(histories, History) else dict(histories)
    if not runs or not all(map(len, runs.values())):
        raise ConfigError("there is no epoch to draw: pass the history of a run that has ended one")
    with rc_context(style.LOOK):
        return _of_one(*runs.values()) if len(runs) == 1 else _of_several(runs)


def _of_one(history: History) -> Figure:
    metric = next((name for name in METRICS if name in history.records[0]), None)
    shown = [name for name in LOSSES if name in history.records[0]]
    figure, axes = style.panels(2 if metric else 1, [LOSSES[name] for name in shown])
    epochs = history["epoch"]
    for k, name in enumerate(shown):
        style.draw(axes[0], epochs, history[name], style.colour(k))
    style.title(axes[0], "loss")
    style.logarithmic(axes[0], [x for name in shown for x in history[name]])
    if metric:
        style.draw(axes[1], epochs, history[metric], style.colour(1))
        _metric_axis(axes[1], metric, [history])
        style.title(axes[1], f"{METRICS[metric]}: {_said(metric, _at_best(history, metric))}")
    for axis in axes:
        style.epochs_along(axis)
        if history.best_epoch not in (None, epochs[-1]):
            axis.axvline(history.best_epoch, color=style.QUIET, linewidth=1, linestyle=(0, (1, 2)))
    if history.best_epoch not in (None, epochs[-1]):
        at, early = (history.best_epoch, 1.0), history.best_epoch < 0.6 * epochs[-1]
        axes[0].annotate(
            f"best: epoch {history.best_epoch}",
            at,
            xycoords=("data", "axes fraction"),
            xytext=(4 if early else -4, -2),
            textcoords="offset points",
            va="top",
            ha="left" if early else "right",
            color=style.QUIET,
        )
    if len(shown) > 1:
        ends = [style.end(history, name, LOSSES[name], style.colour(k)) for k, name in enumerate(shown)]
        style.name_ends(figure, axes[0], ends)
    return figure


def _of_several(runs: Mapping[str, History]) -> Figure:
    keys = [*LOSSES, *METRICS]
    keys = [key for key in keys if any(key in history.records[0] for history in runs.values())]
    named = [key for key in keys if all(key in history.records[0] for history in runs.values())][-1]  # loss, at least
    figure, axes = style.panels(len(keys), [max(runs, key=len)[: 40 // len(keys)]])
    for key, axis in zip(keys, axes, strict=True):
        ends = []
        having = {name: history for name, history in runs.items() if key in history.records[0]}
        for k, (name, history) in enumerate(runs.items()):
            if name in having:
                style.draw(axis, history["epoch"], history[key], style.colour(k), linestyle=_dashes(k))
                ends.append(style.end(history, key, name, style.colour(k)))
        style.epochs_along(axis)
        if key in LOSSES:
            style.title(axis, f"{LOSSES[key]} loss")
            style.logarithmic(axis, [x for history in having.values() for x in history[key]])
        else:
            style.title(axis, METRICS[key])
            _metric_axis(axis, key, list(having.values()))
        if key == named:
            style.name_ends(figure, axis, ends)
    return figure


def norms(history: History) -> Figure:
    """||W[l]|| and ||dW[l]|| of every layer after each epoch; the gradient is that of the epoch's last step.

    Raises ConfigError for a history without them, which an older deepxp wrote.
    """
    records = history.records
    layers = list(range(1, 1 + sum(name.startswith("norm_W") for name in (records or [{}])[0])))
    if not layers:
        raise ConfigError("this history has no norms of weights and gradients; train again to have them")
    shades = colormaps["viridis"]
    colours = [to_hex(shades(0.1 + 0.7 * k / max(1, len(layers) - 1))) for k in range(len(layers))]
    with rc_context(style.LOOK):
        figure, axes = style.panels(2, ["dW[1]"])
        for letter, what, axis in (("W", "weights", axes[0]), ("dW", "gradient, last step of the epoch", axes[1])):
            values = {l: history[f"norm_{letter}{l}"] for l in layers}
            for l, colour in zip(layers, colours, strict=True):
                style.draw(axis, history["epoch"], values[l], colour)
            style.title(axis, f"‖{letter}[l]‖, {what}")
            style.epochs_along(axis)
            style.logarithmic(axis, [x for each in values.values() for x in each])
            ends = [style.end(history, f"norm_{letter}{l}", f"{letter}[{l}]", colours[l - 1]) for l in layers]
            style.name_ends(figure, axis, ends)
    return figure


def _metric_axis(axis: Any, metric: str, histories: Sequence[History]) -> None:
    if metric == "validation_accuracy":
        axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(100 * x, 3):g} %"))
    elif max(x for history in histories for x in history[metric]) > FLAT:
        axis.set_ylim(bottom=max(axis.get_ylim()[0], -FLAT))
    low, high = axis.get_ylim()
    axis.set_ylim(low, min(high, 1.0 + 0.02 * (1.0 - low)))


def _at_best(history: History, key: str) -> float:
    best = history.best_epoch
    return next((record[key] for record in history if record["epoch"] == best), history[key][-1])


def _said(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric == "validation_accuracy" else f"{value:.3g}"


def _dashes(k: int) -> Any:
    """A second round of the colours is dashed, a third dotted."""
    return ("-", (0, (5, 2)), (0, (1, 1.5)))[k // len(style.COLOURS) % 3]
