"""Cost over work: the time per sample on log axes, with the floor under it drawn in."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "deepxp"  # the same data, the same file
matplotlib.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of how to draw

COLOURS = ("#0b6e99", "#b5541c", "#4d7c0f", "#7c3aed", "#be123c")
STYLES = {"step": {"marker": "o", "linewidth": 1.8}, "its products alone": {"linestyle": ":", "linewidth": 1.4}}


def over(entries: list[dict], axis: str, other: str, path: Path) -> None:
    """Microseconds per sample over `axis`, a panel for each value of `other`, a line for each engine."""
    panels = sorted({entry[other] for entry in entries})
    engines = list(dict.fromkeys(entry["engine"] for entry in entries))
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels) + 0.6, 3.6), sharey=True, squeeze=False)
    for panel, ax in zip(panels, axes[0], strict=True):
        for engine, colour in zip(engines, COLOURS, strict=False):
            for what, style in STYLES.items():
                points = sorted(
                    (entry[axis], 1e6 * entry["median"] / entry["m"])
                    for entry in entries
                    if (entry[other], entry["engine"], entry["what"]) == (panel, engine, what)
                )
                label = engine if what == "step" else f"{engine}: its products alone"
                if points and not (what != "step" and "definitions" in engine):
                    ax.plot(*zip(*points, strict=True), color=colour, label=label, **style)
        ax.set(xscale="log", yscale="log", xlabel=axis, title=f"{other} = {panel}")
        ticks = sorted({entry[axis] for entry in entries})
        ax.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.grid(True, which="major", linewidth=0.4, alpha=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("µs per sample")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
