"""curves.png: the losses and the validation metric of every epoch. Importing this imports Matplotlib."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports that it builds its font cache

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

TRAINING, VALIDATION, GREY = "#1f77b4", "#d95f02", "#666666"
METRICS = {"validation_accuracy": "validation accuracy", "validation_r2": "validation R²"}


def draw(records: Sequence[dict[str, float]], path: Path) -> None:
    """Write the picture, whole or not at all."""
    metric = next((name for name in METRICS if name in records[0]), None)
    figure = Figure(figsize=(9.0 if metric else 5.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if metric else 1, squeeze=False)[0]
    epochs = [record["epoch"] for record in records]
    marker = "o" if len(records) < 3 else ""
    for axis in axes:
        axis.set_xlabel("epoch", color=GREY)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(GREY)
        axis.tick_params(colors=GREY)
        axis.grid(color="#e5e5e5", linewidth=0.8)
        axis.set_axisbelow(True)
    for name, label, color in (("loss", "training", TRAINING), ("validation_loss", "validation", VALIDATION)):
        if name in records[0]:
            axes[0].plot(epochs, [r[name] for r in records], color=color, label=label, marker=marker, ms=4)
    axes[0].set_title("loss", loc="left")
    low, high = _range([r["loss"] for r in records])
    if low > 0 and high / low > 20:
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter("")
    if "validation_loss" in records[0]:
        axes[0].legend(frameon=False)
    if metric:
        values = [r[metric] for r in records]
        axes[1].plot(epochs, values, color=VALIDATION, marker=marker, ms=4)
        axes[1].set_title(
            f"{METRICS[metric]}: {values[-1]:.3g}"
            if metric.endswith("r2")
            else f"{METRICS[metric]}: {100 * values[-1]:.1f} %",
            loc="left",
        )
        if metric == "validation_accuracy":
            axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
            axes[1].set_ylim(top=1.005)
    part = path.with_name(f".{path.name}")
    try:
        figure.savefig(part, format="png", dpi=150)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _range(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    return min(finite, default=0.0), max(finite, default=0.0)
