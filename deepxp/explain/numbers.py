"""A matrix as rows of cells, the long ones with their middle left out, one format for what stands side by side."""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from deepxp.explain.example import shown
from deepxp.ops.typing import Array

T = TypeVar("T")
LEFT_OUT, NOT_TAKEN, KINK = "...", "", "kink"


def cells(values: Array, like: Array | None = None) -> list[list[str]]:
    """The numbers of a matrix or vector as text, in the format that suits `like`."""
    table = np.atleast_2d(values)
    form = _format(np.atleast_2d(values if like is None else like))
    rows, columns = shown(table.shape[0]), shown(table.shape[1])
    written = [_gap([form(float(table[i, j])) for j in columns], table.shape[1], LEFT_OUT) for i in rows]
    return _gap(written, table.shape[0], [LEFT_OUT] * len(written[0]))


def _gap(items: list[T], n: int, mark: T) -> list[T]:
    """The items with a mark where some of the n are left out."""
    return items if len(items) == n else [*items[:-1], mark, items[-1]]


def _format(table: Array) -> Callable[[float], str]:
    """Whole numbers as they are, others with four decimals, small and large ones with an exponent."""
    finite = np.abs(table[np.isfinite(table)])
    greatest = float(finite.max(initial=0.0))
    if (finite == np.floor(finite)).all() and greatest < 1e6:
        digits = ".0f"
    else:
        digits = ".4f" if 0.01 <= greatest < 1000 else ".2e"

    def form(x: float) -> str:
        if math.isnan(x):
            return NOT_TAKEN
        text = KINK if math.isinf(x) else format(x, digits)
        return text.lstrip("-") if text.strip("-0.") == "" else text  # no -0.0000

    return form
