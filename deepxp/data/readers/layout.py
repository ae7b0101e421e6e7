"""Which row of a table is its header and which column its target."""

from dataclasses import dataclass, replace

from deepxp.data.readers.numbers import is_number
from deepxp.data.readers.options import NO_TARGET, Options
from deepxp.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The number of columns, the position of the target (None: there is none) and the names of the features.

    columns: the positions of the features in the order that was asked for; None: all but the target, as they come.
    """

    width: int
    target: int | None
    header: bool
    features: tuple[str, ...] | None
    columns: tuple[int, ...] | None = None
    ignored: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None  # of all columns


def layout(first: list[str], options: Options, place: str) -> Layout:
    """The layout that the first row of a table shows; `place` is that row's, for messages.

    Header, unless `options` says: the first row is one if it holds the name asked for as target, or if none of its
    feature cells is a number; it is data if all of them are. A row with both could be a header with names such as 2024
    or a sample with a gap: that is not guessed but refused.

    Target: the column `options` names or numbers (from 0, or from the end: -1), or the last one. There is none if
    NO_TARGET was asked for, or if a table for a model of `n_features` has just that many columns and no such name.
    """
    cells = [cell.strip() for cell in first]
    wanted = options.columns.features
    if wanted is not None and _names_columns(cells, wanted, options):
        return _by_name(cells, wanted, options, place)
    target, named = _target(cells, options, place)
    features = [cell for column, cell in enumerate(cells) if column != target]
    if not features:
        raise DataError(f"{place}: has no feature columns{_other_delimiter(first[0])}")
    header = named or options.header == "yes"
    if options.header == "auto" and not named:
        header = _is_header(features, cells, place)
    return Layout(
        len(cells), target, header, tuple(features) if header else None, names=tuple(cells) if header else None
    )


def _names_columns(cells: list[str], wanted: tuple[str, ...], options: Options) -> bool:
    """Whether the first row is a header, for a model that knows its columns by name."""
    if options.header != "auto":
        return options.header == "yes"
    return set(wanted) <= set(cells) or not any(map(is_number, cells))


def _by_name(cells: list[str], wanted: tuple[str, ...], options: Options, place: str) -> Layout:
    places: dict[str, list[int]] = {}
    for place_of, name in enumerate(cells):
        places.setdefault(name, []).append(place_of)
    missing = [name for name in wanted if name not in places]
    if missing:
        raise DataError(
            f"{place}: the model needs the columns {_shown(list(wanted))}; this table has {_shown(cells)}; "
            f"missing: {_shown(missing)}"
        )
    for name in wanted:
        if len(places[name]) > 1:
            raise DataError(f"{place}: {len(places[name])} columns are named {name!r}; the model needs one")
    target: int | None = None
    if options.target is not None:
        target, _ = _target(cells, replace(options, n_features=None), place)
    elif options.columns.target in cells:
        target, _ = _target(cells, replace(options, target=options.columns.target, header="yes"), place)
    columns = tuple(places[name][0] for name in wanted)
    used = {*columns, target}
    ignored = tuple(name for position, name in enumerate(cells) if position not in used)
    return Layout(len(cells), target, True, wanted, columns, ignored, tuple(cells))


def _target(cells: list[str], options: Options, place: str) -> tuple[int | None, bool]:
    """The position of the target, and whether it was found by name."""
    target, known = options.target, options.columns.target
    named = isinstance(known, str) and known in cells and not is_number(known) and options.header != "no"
    if target is None and (named or isinstance(known, int)):  # a model's target, where the table has it
        target = known
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
            "say header='yes' if it is the header, header='no' if it is a sample to be mended"
        )
    return not any(numbers)


def _other_delimiter(line: str) -> str:
    found = next((mark for mark in (",", ";", "\t", "|", " ") if mark in line.strip()), None)
    return f"; if {found!r} separates the cells, give delimiter={found!r}" if found else ""


def _shown(cells: list[str], most: int = 8) -> str:
    return ", ".join(cells[:most]) + (f", ... ({len(cells)} cells)" if len(cells) > most else "")
