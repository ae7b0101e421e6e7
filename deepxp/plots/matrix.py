"""The confusion matrix, with what is right in one colour and what is wrong in another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from deepxp import metrics
from deepxp.errors import ConfigError
from deepxp.plots import style

NUMBERED = 25  # classes up to which every cell has its number
NAMED = 40  # names on an axis that can be read


def confusion_matrix(
    y: ArrayLike, y_pred: ArrayLike | None = None, names: Sequence[str] | None = None, *, title: str | None = None
) -> Figure:
    """C[i, j], the samples of class i that were taken for class j, of labels y and predictions y_pred (m,), or of the
    matrix C itself in place of both. Each row is coloured by its shares: on the diagonal what is right, beside it what
    is wrong, where even a little shows.

    Raises ConfigError where names and classes do not fit; ShapeError, DataError for labels that do not.
    """
    if y_pred is None:
        C = np.asarray(y)
        if C.ndim != 2 or C.shape[0] != C.shape[1] or 0 in C.shape:
            raise ConfigError(f"a confusion matrix is square, got {C.shape}; or pass labels and predictions")
    else:
        classes = len(names) if names else 1 + int(max(np.max(y), np.max(y_pred)))
        C = metrics.confusion_matrix(y, y_pred, classes)
    n = len(C)
    names = [str(k) for k in range(n)] if names is None else [str(name) for name in names]
    if len(names) != n:
        raise ConfigError(f"expected the names of {n} classes, got {len(names)}")
    with rc_context(style.LOOK):
        return _draw(C, names, title or _title(C))


def _title(C: np.ndarray) -> str:
    right, all_ = int(np.trace(C)), int(C.sum())
    return f"{100 * right / max(1, all_):.1f} % of {all_:,} samples are right"


def _draw(C: np.ndarray, names: Sequence[str], title: str) -> Figure:
    n = len(C)
    short = [style.short(name) for name in names]
    side = min(9.0, max(2.4, 0.42 * n))
    figure = style.empty(max(side + 1.0 + 0.07 * max(map(len, short)), 0.6 + 0.09 * len(title)), side + 1.0)
    axis: Any = figure.subplots()
    share = C / np.maximum(1, C.sum(axis=1, keepdims=True))
    axis.imshow(shades(share), interpolation="nearest")
    style.clean(axis)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(length=0)
    axis.tick_params(axis="x", length=0)
    every = -(-n // NAMED)
    turned = max(map(len, short)) > 4
    turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axis.set_xticks(range(0, n, every), short[::every], **turn)
    axis.set_yticks(range(0, n, every), short[::every])
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_title(title, loc="left", color=style.INK, pad=8)
    if n <= NUMBERED:
        axis.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=1.5)
        axis.tick_params(which="minor", length=0)
        for i, j in np.argwhere(C):
            light = share[i, j] > 0.6 and i == j
            axis.text(j, i, f"{C[i, j]:,}", ha="center", va="center", color="white" if light else style.INK, fontsize=8)
    axis.add_patch(Rectangle((-0.5, -0.5), n, n, fill=False, edgecolor=style.RULE, linewidth=0.8))
    return figure


def shades(share: np.ndarray) -> Any:
    """The colours (n, n, 3) of shares of rows: blue by what is right, orange by the root of what is wrong."""
    right, wrong = np.array(to_rgb(style.COLOURS[0])), np.array(to_rgb(style.COLOURS[1]))
    on = np.eye(len(share), dtype=bool)[..., None]
    strength = np.where(on, share[..., None], np.sqrt(share)[..., None])
    return 1.0 - strength * (1.0 - np.where(on, right, wrong))
