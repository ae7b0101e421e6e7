"""The plane of two features, coloured by the class that a network says of each point of it."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from deepxp.errors import ConfigError
from deepxp.network import Network
from deepxp.plots import style

GRID = 240  # points along a side of the plane
MARGIN = 0.08  # around the samples, of their range
SHAPES = ("o", "s", "^", "D", "v", "P")
MOST_SAMPLES = 2000  # that are drawn
PALE = 0.38  # of a class's colour, where it is certain
FRAME_MS, LAST_MS = 120, 2500
DPI, SHADES = 90, 64  # of an animation


def boundary(net: Network, X: Any, y: Any, *, features: Sequence[str] | None = None, title: str = "") -> Figure:
    """The classes that the network says of the plane, the lines where it changes its mind, and samples: columns
    X (2, m) with labels y (m,). The paler the less certain.

    Raises ConfigError for a network of other than two features, or of numbers or several labels at once.
    """
    with rc_context(style.LOOK):
        return _begin(net, np.asarray(X), np.asarray(y), features, title)


def boundary_animation(
    path: str | os.PathLike[str],
    nets: Iterable[tuple[int, Network]],
    X: Any,
    y: Any,
    *,
    features: Sequence[str] | None = None,
) -> Path:
    """Write a GIF of the boundaries of networks, each with the epoch that it is of, one after the other.

    Raises ConfigError as `boundary` does, and where there is no network; OSError where it cannot be written.
    """
    from PIL import Image  # Matplotlib needs it, too

    path, frames = Path(path), []
    with rc_context(style.LOOK | {"figure.dpi": DPI}):
        for epoch, net in nets:
            canvas: Any = _begin(net, np.asarray(X), np.asarray(y), features, f"epoch {epoch}").canvas
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    if not frames:
        raise ConfigError("there is no network to draw; keep some while training")
    palette = frames[-1].quantize(SHADES)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    times = [FRAME_MS] * (len(flat) - 1) + [LAST_MS]
    try:
        flat[0].save(part, "GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=True)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _begin(net: Network, X: np.ndarray, y: np.ndarray, features: Sequence[str] | None, title: str) -> Figure:
    if net.sizes[0] != 2:
        raise ConfigError(f"a boundary is drawn in the plane of two features; this network has {net.sizes[0]}")
    if net.loss.name == "squared-error" or (not net.loss.evaluate_labels and net.sizes[-1] > 1):
        raise ConfigError("a boundary is one between classes; this network predicts numbers, or several labels at once")
    if X.ndim != 2 or X.shape[0] != 2 or y.shape != (X.shape[1],):
        turned = "; samples are columns: pass X.T" if X.ndim == 2 and X.shape[1] == 2 else ""
        raise ConfigError(f"expected columns X (2, m) and labels y (m,), got {X.shape} and {y.shape}{turned}")
    figure = style.empty(5.0, 4.2)
    axis = figure.subplots()
    plane(axis, net, X, y, features, title)
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, handletextpad=0.0
    )
    return figure


def plane(
    axis: Any, net: Network, X: np.ndarray, y: np.ndarray, features: Sequence[str] | None = None, title: str = ""
) -> None:
    """One plane, in a panel of a figure; its marks have the names of the classes, for a legend."""
    low, high = X.min(axis=1).astype(float), X.max(axis=1).astype(float)
    room = MARGIN * np.where(high > low, high - low, 1.0)
    (x0, y0), (x1, y1) = low - room, high + room
    xs, ys = np.linspace(x0, x1, GRID), np.linspace(y0, y1, GRID)
    A = net.predict_proba(np.stack(np.meshgrid(xs, ys)).reshape(2, -1)).astype(float)
    P = np.concatenate([1 - A, A]) if len(A) == 1 else A
    P = P.reshape(-1, GRID, GRID)
    axis.imshow(shades(P), extent=(x0, x1, y0, y1), origin="lower", aspect="auto", interpolation="bilinear")
    for k in range(len(P) if len(P) > 2 else 1):
        others = np.delete(P, k, axis=0).max(axis=0)
        if (P[k] > others).any() and (P[k] < others).any():
            axis.contour(xs, ys, P[k] - others, [0.0], colors=style.INK, linewidths=1.1)
    shown = slice(None, None, -(-X.shape[1] // MOST_SAMPLES))
    names = net.classes or tuple(map(str, range(len(P))))
    for k in range(len(P)):
        x = X[:, shown][:, y[shown] == k]
        axis.scatter(
            *x, s=16, marker=SHAPES[k % len(SHAPES)], color=style.colour(k), edgecolors="white", linewidths=0.5,
            label=f" {style.short(names[k])}",  # one that begins with _ would be left out
        )  # fmt: skip
    style.clean(axis)
    axis.spines["bottom"].set_visible(False)
    axis.set_xlabel(features[0] if features else "feature 1", parse_math=False)
    axis.set_ylabel(features[1] if features else "feature 2", parse_math=False)
    if title:
        style.title(axis, title)


def shades(P: np.ndarray) -> Any:
    """The colours (h, w, 3) of probabilities P (C, h, w): that of the class, the paler the less certain."""
    C, k = len(P), P.argmax(axis=0)
    certain = (P.max(axis=0) - 1 / C) / (1 - 1 / C)
    colours = np.array([to_rgb(style.colour(c)) for c in range(C)])
    strength = PALE * (0.25 + 0.75 * certain)[..., None]
    return 1.0 - strength * (1.0 - colours[k])
