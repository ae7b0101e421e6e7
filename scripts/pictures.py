"""Draws the pictures of README.md and docs/seeing.md: `python scripts/pictures.py` writes docs/images.

Two half-circles in each other's way, a small network, and what it says of the plane while it learns.
"""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from PIL import Image

import deepxp as dx
from deepxp import plots
from deepxp.plots import decision, style

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SHOWN = (0, 3, 15, 60)  # epochs in the strip
FRAMES = (0, 1, 2, 3, 5, 8, 11, 15, 20, 28, 40, 60)  # epochs in the animation


def moons(m: int = 300, noise: float = 0.13) -> tuple[np.ndarray, np.ndarray]:
    """Columns X (2, m) and their half-circle, 0 or 1."""
    rng = np.random.default_rng(1)
    t, k = np.pi * rng.random(m), np.arange(m) % 2
    X = np.stack([(1 - 2 * k) * np.cos(t) + k, (1 - 2 * k) * np.sin(t) + k / 2])
    return X + noise * rng.standard_normal((2, m)), k


def main() -> None:
    """Train, and write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    X, y = moons()
    train, held_out = np.split(np.random.default_rng(0).permutation(y.size), [240])
    net = dx.Network((2, 16, 16, 2), hidden="tanh", backend="cpu", seed=5)
    nets = {0: net.to()}

    def keep(record: dict[str, float]) -> None:
        nets[int(record["epoch"])] = net.to()

    validation = X[:, held_out], y[held_out]
    optimizer = dx.Adam(lr=8e-3)
    history = dx.train(
        net, X[:, train], y[train], epochs=60, batch_size=24, optimizer=optimizer, validation=validation, on_epoch=keep
    )
    strip(nets, X, y)
    frames = [(epoch, nets[epoch]) for epoch in FRAMES]
    plots.boundary_animation(IMAGES / "boundary.gif", frames, X, y, features=("x", "y"))
    plots.save(plots.learning_curves(history), IMAGES / "curves.svg")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def strip(nets: dict[int, dx.Network], X: np.ndarray, y: np.ndarray) -> None:
    """boundary.png: the plane at some epochs, side by side, without axes."""
    with rc_context(style.LOOK):
        figure = style.empty(10.0, 2.4)
        for axis, epoch in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
            accuracy = float((nets[epoch].predict(X) == y).mean())
            decision.plane(axis, nets[epoch], X, y, title=f"epoch {epoch}: {100 * accuracy:.0f} %")
            axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
    path = plots.save(figure, IMAGES / "boundary.png")
    with Image.open(path) as picture:  # a third of the bytes, and no difference that can be seen
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
