"""Where a row came from, in words: what an error message needs to send its reader to the right line."""

from collections.abc import Callable, Sequence

import numpy as np

Where = Callable[[int], str]
"""Maps a row (counted from 0, as arrays are) to its place (counted from 1, as people do)."""


def by_row(row: int) -> str:
    """Place of a row of an array that came from no file: `row 12`."""
    return f"row {row + 1}"


def in_file(name: object) -> Where:
    """Places in a file of arrays: `mnist.npz, row 12`."""
    return lambda row: f"{name}, row {row + 1}"


def at_lines(name: object, lines: Sequence[int], column: int | None = None) -> Where:
    """Places in a file of text, `lines[row]` being the 1-based line of a row: `iris.csv:12`, or `iris.csv:12:5`."""
    tail = "" if column is None else f":{column}"
    return lambda row: f"{name}:{lines[row]}{tail}"


def chosen(where: Where, rows: np.ndarray) -> Where:
    """Places after `X[rows]`: every row still answers with the place it was read from."""
    return lambda row: where(int(rows[row]))
