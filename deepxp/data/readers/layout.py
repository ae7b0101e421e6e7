"""Which row of a table is its header and which column its target."""

from dataclasses import dataclass

from deepxp.data.readers.numbers import is_number
from deepxp.data.readers.options import NO_TARGET, Options
from deepxp.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The number of columns, the position of the target (None: there is none) and the names of the features."""

    width: int
    target: int | None
    header: bool
    features: tuple[str, ...] | None


def layout(first: list[str], options: Options, place: str) -> Layout:
    """The layout that the first row of a table shows; `place` is that row's, for messages.

    Header, unless `options` says: the first row is one if it holds the name asked for as target, or if none of its
    feature cells is a number; it is data if all of them are. A row with both could be a header with names such as 2024
    or a sample with a gap: that is not guessed but refused.

    Target: the column `options` names or numbers (from 0, or from the end: -1), or the last one. There is none if
    NO_TARGET was asked for, or if a table for a model of `n_features` has just that many columns and no such name.
    """
    cells = [cell.strip() for cell in first]
    target, named = _target(cells, options, place)
    features = [cell for column, cell in enumerate(cells) if column != target]
    if not features:
        raise DataError(f"{place}: has no feature columns{_other_delimiter(first[0])}")
    header = named or options.header == "yes"
    if options.header == "auto" and not named:
        header = _is_header(features, cells, place)
    return Layout(len(cells), target, header, tuple(features) if header else None)


def _target(cells: list[str], options: Options, place: str) -> tuple[int | None, bool]:
    """The position of the target, and whether it was found by name."""
    target = options.target
    if target is NO_TARGET:
        return None, False
    # A position may come as text from a command line, and a first row of data may well hold that text.
    position = _position(target)
    if isinstance(target, str) and options.header != "no" and (position is None or options.header == "yes"):
        if cells.count(target) > 1:
            raise DataError(f"{place}: {cells.count(target)} columns are named {target!r}; give the position of one")
        if target in cells:
            return cells.index(target), True
    if options.n_features == len(cells):
        return None, False
    if position is None:
        raise DataError(f"{place}: no column is named {target!r}; the first row is {_shown(cells)}")
    if not -len(cells) <= position < len(cells):
        raise DataError(f"{place}: there is no column {position}; the table has {len(cells)}, counted from 0")
    return position % len(cells), False


def _position(target: str | int | None) -> int | None:
    if target is None:
        return -1
    try:
        return int(target)
    except ValueError:
        return None


def _is_header(features: list[str], cells: list[str], place: str) -> bool:
    numbers = [is_number(cell) for cell in features]
    if any(numbers) and not all(numbers):
        odd = features[numbers.index(False)]
        raise DataError(
            f"{place}:{cells.index(odd) + 1}: {odd!r} is no number, but other cells of this row are; "
            "say header='yes' if it is the header, 'no' if it is a sample to be mended"
        )
    return not any(numbers)


def _other_delimiter(line: str) -> str:
    found = next((mark for mark in (",", ";", "\t", "|", " ") if mark in line.strip()), None)
    return f"; if {found!r} separates the cells, give delimiter={found!r}" if found else ""


def _shown(cells: list[str], most: int = 8) -> str:
    return ", ".join(cells[:most]) + (f", ... ({len(cells)} cells)" if len(cells) > most else "")
