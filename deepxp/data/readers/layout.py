"""Which row of a table is its header and which column its target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deepxp.data.readers.numbers import GAPS, is_number
from deepxp.data.readers.options import BY_POSITION, NO_TARGET, Names, Options
from deepxp.data.readers.words import Words, categories, truths
from deepxp.errors import DataError

FAR = 2**62  # the position of a column 0, which there is not: columns are counted from 1


@dataclass(frozen=True)
class Layout:
    """The number of columns, the position of the target (None: there is none) and the names of the columns.

    columns: the positions of the features in the order that was asked for; None: all but the target, as they come.
    words: of the features that are categories, by their place among the features.
    """

    width: int
    target: int | None
    header: bool
    columns: tuple[int, ...] | None = None
    words: Mapping[int, Words] = field(default_factory=dict)
    names: tuple[str, ...] | None = None  # of all columns, where there is a header

    @property
    def features(self) -> tuple[int, ...]:
        """The positions of the features."""
        return self.columns or tuple(column for column in range(self.width) if column != self.target)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns that are neither features nor the target."""
        used = {*self.features, self.target}
        return tuple(self.name(column) for column in range(self.width) if column not in used)

    def name(self, column: int) -> str:
        """What a caller calls a column: by its name, or its number from 1."""
        return self.names[column] if self.names and self.names.count(self.names[column]) == 1 else str(column + 1)


def layout(first: list[str], options: Options, place: str) -> Layout:
    """The layout that the first row of a table shows; `place` is that row's, for messages.

    Header, unless `options` says: the first row is one if it holds a name asked for as target, to be ignored or as
    categories, or if none of its feature cells is a number or a truth value; it is data if all of them are. A row with
    both could be a header with names such as 2024 or a sample with a gap: that is not guessed but refused;
    so is, by `check_no_header`, one of numbers whose target is a word that no other row has.

    Target: the column `options` names or numbers, or the last one that is not ignored. There is none if NO_TARGET was
    asked for, or if a table for a model of `n_features` has just that many columns and no such name.
    """
    cells = [cell.strip() for cell in first]
    wanted = options.columns.features
    if wanted is not None and options.columns.width:
        return _by_position(cells, options, place)
    if wanted is not None and (options.columns.categories or _names_columns(cells, wanted, options)):
        return _by_name(cells, options, place)
    ignored, coded = (_found(cells, said, options, place) for said in (options.ignore, options.categories))
    left_out, categories_at = {column for column, _ in ignored}, {column for column, _ in coded}
    last = max(set(range(len(cells))) - left_out, default=-1)
    target, named = _target(cells, options, place, last)
    named = named or any(is_name for _, is_name in (*ignored, *coded))
    if target in left_out | categories_at:
        raise DataError(
            f"{place}: column {cells[target or 0]!r} is the target, which cannot be ignored or made features"
        )
    features = [column for column in range(len(cells)) if column != target and column not in left_out]
    if not features:
        raise DataError(f"{place}: has no feature columns{_advice(first[0])}")
    header = named or options.header == "yes"
    if options.header == "auto" and not named:
        header = _is_header([cells[column] for column in features if column not in categories_at], cells, place)
    return Layout(
        len(cells),
        target,
        header,
        tuple(features) if left_out else None,
        {place: categories() for place, column in enumerate(features) if column in categories_at},
        tuple(cells) if header else None,
    )


def _found(cells: list[str], said: Names, options: Options, place: str) -> list[tuple[int, bool]]:
    """The positions of columns, each with whether it was found by its name."""
    return [_place(cells, column, options, place) for column in said]


def _names_columns(cells: list[str], wanted: Names, options: Options) -> bool:
    """Whether the first row is a header, for a model that knows its columns by name."""
    if options.header != "auto":
        return options.header == "yes"
    return set(wanted) <= set(cells) or not any(map(is_number, cells))


def _by_name(cells: list[str], options: Options, place: str) -> Layout:
    wanted = [str(name) for name in options.columns.features or ()]
    places: dict[str, list[int]] = {}
    for place_of, name in enumerate(cells):
        places.setdefault(name, []).append(place_of)
    missing = [name for name in wanted if name not in places]
    if missing:
        raise DataError(
            f"{place}: the model needs the columns {_shown(wanted)}; this table has {_shown(cells)}; "
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
    return Layout(len(cells), target, True, columns, _known(options), tuple(cells))


def _by_position(cells: list[str], options: Options, place: str) -> Layout:
    """For a model that knows the columns of a table without a header, with the target or without."""
    features, target, _, width = options.columns
    positions = tuple(column for column in features or () if isinstance(column, int))
    assert isinstance(target, int)
    if len(cells) == width:
        return Layout(width, None if options.target is NO_TARGET else target, False, positions, _known(options))
    if len(cells) != width - 1:
        raise DataError(
            f"{place}: has {len(cells)} columns; the model takes tables of {width}, or of {width - 1} without column "
            f"{target + 1}, the target"
        )
    positions = tuple(column - (column > target) for column in positions)
    return Layout(len(cells), None, False, positions, _known(options))


def _known(options: Options) -> dict[int, Words]:
    return {at: categories(known) for at, known in enumerate(options.columns.categories) if known is not None}


def _target(cells: list[str], options: Options, place: str, last: int = -1) -> tuple[int | None, bool]:
    """The position of the target, which is `last` where nobody names it, and whether it was found by name."""
    target, known = options.target, options.columns.target
    named = isinstance(known, str) and known in cells and not is_number(known) and options.header != "no"
    if target is None and (named or isinstance(known, int)):  # a model's target, where the table has it
        target = known
    if target is NO_TARGET:
        return None, False
    asked = last if target is None else target
    if options.n_features == len(cells) and not _is_name(cells, asked, options):
        return None, False
    return _place(cells, asked, options, place)


def _is_name(cells: list[str], column: str | int, options: Options) -> bool:
    """Whether a column is asked for by a name that the first row, if it is no sample, holds. A number may come as text
    from a command line, and a first row of data may well hold that text."""
    by_name = isinstance(column, str) and options.header != "no"
    return by_name and column in cells and (options.header == "yes" or _position(str(column)) is None)


def _place(cells: list[str], column: str | int, options: Options, place: str) -> tuple[int, bool]:
    """The position of a column, and whether it was found by its name."""
    if _is_name(cells, column, options):
        if cells.count(str(column)) > 1:
            raise DataError(f"{place}: {cells.count(str(column))} columns are named {column!r}; give the number of one")
        return cells.index(str(column)), True
    position = column if isinstance(column, int) else _position(column)
    if position is None:
        raise DataError(f"{place}: no column is named {column!r}; the first row is {_shown(cells)}")
    if not -len(cells) <= position < len(cells):
        what = f"column {column}" if isinstance(column, str) else f"column at the position {column}, counted from 0"
        raise DataError(f"{place}: there is no {what}; the table has {len(cells)}")
    return position % len(cells), False


def _position(text: str) -> int | None:
    """The position that a number counted from 1 stands for, -1 being the last; None for other text."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number - (number > 0) if number else FAR


def _is_header(features: list[str], cells: list[str], place: str) -> bool:
    if not features:
        raise DataError(
            f"{place}: a header or a sample? say header='yes' if it is the header, header='no' if it is none"
        )
    numbers = [is_number(cell) or truths(cell) is not None for cell in features]
    if any(numbers) and not all(numbers):
        odd = features[numbers.index(False)]
        raise DataError(
            f"{place}:{cells.index(odd) + 1}: {odd!r} is no number, but other cells of this row are; "
            "say header='yes' if it is the header, header='no' if it is a sample to be mended"
        )
    return not any(numbers)


def check_no_header(targets: Sequence[str], shape: Layout, options: Options, place: str) -> None:
    """Raises DataError for a first row that was taken for a sample, as its features are numbers, and may be a header.

    It is one as pandas writes columns without names, 0,1,2,species, or a sample of a class that has no other: of its
    target, a word that no other row has, it cannot be told. What is read for a model may hold such a row, and is not
    asked.
    """
    of_a_model = options.n_features is not None or options.columns != BY_POSITION
    if shape.header or options.header != "auto" or of_a_model or shape.target is None or len(targets) < 2:
        return
    first = targets[0].strip()
    if first.lower() in GAPS | {""} or is_number(first) or any(cell.strip() == first for cell in targets[1:]):
        return
    raise DataError(
        f"{place}:{shape.target + 1}: no other row has the target {first!r}: a header or a sample? "
        "say header='yes' if this row is the header, header='no' if it is a sample"
    )


def delimiter_in(line: str) -> str | None:
    """What seems to separate the cells of a line that was read as one cell; None where nothing does."""
    return next((mark for mark in (",", ";", "\t", "|", " ") if mark in line.strip()), None)


def _advice(line: str) -> str:
    found = delimiter_in(line)
    return f"; if {found!r} separates the cells, give delimiter={found!r}" if found else ""


def _shown(cells: list[str], most: int = 8) -> str:
    return ", ".join(cells[:most]) + (f", ... ({len(cells)} cells)" if len(cells) > most else "")
