"""Text to numbers: the only place that says what a number looks like."""

import warnings
from collections.abc import Sequence

import numpy as np

from deepxp.data.places import Where
from deepxp.errors import DataError

SEPARATOR = "\x1f"  # ASCII's own unit separator: what a cell may hold of commas, tabs and blanks cannot be taken for it
GAPS = frozenset({"na", "n/a", "nan", "null", "none", "?", "-", "."})


def parse(rows: Sequence[Sequence[str]]) -> np.ndarray | None:
    """Rows of equally many cells as a table: int64 if all are whole numbers, else float64, None if one is no number.

    NaN and infinity are numbers here. NumPy's reader does the work, integers first: it takes whole numbers six times
    as fast as decimals, and fails on the first decimal at once.
    """
    lines = [SEPARATOR.join(row) for row in rows]
    for dtype in (np.int64, np.float64):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # older NumPy truncates 0.5 to an integer and only warns
                table = np.loadtxt(lines, dtype, delimiter=SEPARATOR, comments=None, ndmin=2)
        except (ValueError, Warning):
            continue
        if table.shape == (len(rows), len(rows[0])):
            return table
    return None


def is_number(text: str) -> bool:
    """Whether `text` is a number."""
    try:
        float(text)  # all that `parse` takes, and more; it is quick, and a row may have 10^5 names
    except ValueError:
        return False
    return parse([[text]]) is not None


def target_column(cells: Sequence[str], where: Where, limit: int) -> np.ndarray:
    """Targets from text, (m,): int64 if all are whole numbers, float64 if all are numbers, else the text itself.

    Raises DataError for an empty cell, for a gap such as NA among numbers, which would pass for a class name, and for
    text that takes more than `limit` bytes: in an array every cell is as long as the longest.
    """
    cells = [cell.strip() for cell in cells]
    if "" in cells:
        raise DataError(f"{where(cells.index(''))}: the target is missing; remove the row or fill it in")
    values = parse([[cell] for cell in cells])
    if values is not None:
        return values[:, 0]
    gaps = [row for row, cell in enumerate(cells) if cell.lower() in GAPS]
    others = [[cell] for cell in cells if cell.lower() not in GAPS]
    if gaps and others and parse(others) is not None:
        raise DataError(
            f"{where(gaps[0])}: the target {cells[gaps[0]]!r} stands among numbers; remove the row or fill it in"
        )
    longest = max(range(len(cells)), key=lambda row: len(cells[row]))
    if len(cells) * len(cells[longest]) * np.dtype("U1").itemsize > limit:
        raise DataError(f"{where(longest)}: the target is {len(cells[longest])} characters long; shorten it")
    return np.array(cells)
