"""Tables of text, a sample per line: .csv, .tsv, or any file whose delimiter is given."""

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import at_lines
from deepxp.data.readers.files import LONGEST_LINE, check_limit, text_lines
from deepxp.data.readers.layout import Layout, check_no_header, layout
from deepxp.data.readers.numbers import is_number, parse, target_column
from deepxp.data.readers.options import Columns, Options, limit_of
from deepxp.data.readers.words import MOST, Words, one_hot, truths
from deepxp.errors import DataError

BLOCK_CELLS = 2**18  # cells that are text at one time: many enough to start the parser seldom, few enough to fit
TARGET_BYTES = 160  # of a target that is text, while the file is read


class Record(NamedTuple):
    """The cells of a sample and the line it starts on, counted from 1."""

    line: int
    cells: list[str]


def read(path: Path, options: Options) -> Dataset:
    """A table whose features are finite numbers (as float64) and whose target is a column of numbers or text.

    A column that begins with true or false, or yes or no, is one of them throughout, and read as 1 and 0.

    UTF-8, with or without byte order mark; cells may be quoted; blank lines and lines that start with # are skipped.
    Header and target column are found as `layout` says. Raises DataError, with `file:line:column`, for a feature that
    is no finite number and for a line with too few or too many cells.
    """
    delimiter = delimiter_of(path, options.delimiter)
    limit = limit_of(path.stat().st_size, options.limit_bytes)
    rows = records(path, delimiter, limit)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: has no rows, only blank lines or comments")
    shape = layout(first.cells, options, f"{path}:{first.line}")
    values, lines, targets = array("d"), array("q"), list[str]()
    samples = rows if shape.header else chain((first,), rows)
    words = dict(shape.words)
    while block := list(islice(samples, max(1, BLOCK_CELLS // shape.width))):
        for position, (line, cells) in enumerate(block):
            if len(cells) != shape.width:
                column = min(len(cells), shape.width) + 1
                raise DataError(f"{path}:{line}:{column}: {len(cells)} cells, but line {first.line} has {shape.width}")
            if shape.target is not None:
                targets.append(cells[shape.target] if shape.columns else cells.pop(shape.target))
            if shape.columns:
                cells = [cells[column] for column in shape.columns]
                block[position] = Record(line, cells)
            if not lines:
                words |= {at: found for at, cell in enumerate(cells) if at not in words and (found := truths(cell))}
            for at, known in words.items():
                number = known.number(cells[at])
                if number is None:
                    raise _unknown(f"{path}:{line}", cells[at], shape, at, known)
                cells[at] = str(number)
            lines.append(line)
        table = parse([record.cells for record in block])
        if table is None or not np.isfinite(table).all():
            raise _bad_cell(path, block, shape, options, first=lines[0])
        values.frombytes(table.astype(np.float64).tobytes())
        check_limit(path, len(values) * values.itemsize + TARGET_BYTES * len(targets), limit)
    if not lines:
        raise DataError(f"{path}: has no rows after the header")
    check_no_header(targets, shape, options, f"{path}:{first.line}")
    where = at_lines(path, lines)
    where_y = where if shape.target is None else at_lines(path, lines, shape.target + 1)
    more = sum(len(known.codes) for known in words.values() if known.is_category)
    check_limit(path, (len(values) + more * len(lines)) * values.itemsize + TARGET_BYTES * len(targets), limit)
    X, categories = one_hot(np.frombuffer(values).reshape(len(lines), -1), words)
    columns = _columns(shape, categories)
    return Dataset(
        X,
        None if shape.target is None else target_column(targets, where_y, limit),
        str(path),
        _features(shape, categories),
        target=columns.target,
        ignored=shape.ignored,
        columns=columns,
        where=where,
        where_y=where_y,
    )


def _features(shape: Layout, found: Mapping[int, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The names of the features, where there is a header."""
    if shape.names is None:
        return None
    names = [(at, shape.names[column]) for at, column in enumerate(shape.features)]
    return tuple(each for at, name in names for each in ([f"{name}={word}" for word in found.get(at, ())] or [name]))


def _columns(shape: Layout, found: Mapping[int, tuple[str, ...]]) -> Columns:
    """How to find the same features in another table."""
    categories = tuple(map(found.get, range(len(shape.features)))) if found else ()
    known = _known_by(shape)
    target = None if shape.target is None else known[shape.target]
    features = tuple(known[column] for column in shape.features)
    if shape.names:
        return Columns(features if all(isinstance(name, str) for name in features) else None, target, categories)
    if shape.target is None or not (shape.columns or categories):
        return Columns(None, target)
    return Columns(features, target, categories, shape.width)


def _known_by(shape: Layout) -> list[str | int]:
    """What each column can be found by again: its name, or where it has none of its own its position."""
    if shape.names is None:
        return list(range(shape.width))
    times = Counter(shape.names)
    return [name if times[name] == 1 else column for column, name in enumerate(shape.names)]


def delimiter_of(path: Path, asked: str | None) -> str:
    """What separates the cells: what was asked for, or by the name of the file."""
    return asked or ("\t" if ".tsv" in path.name.lower() else ",")


def records(path: Path, delimiter: str, limit: int) -> Iterator[Record]:
    """The rows of a table as text. Raises DataError for what is none."""
    longest, length = max(LONGEST_LINE, limit // 64), 0

    def lines() -> Iterator[str]:
        nonlocal length
        for text in text_lines(path, limit):
            length += len(text)
            if length > longest:
                raise DataError(f"{path}:{line + 1}: these cells are longer than {longest} characters; close the quote")
            yield text

    rows = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 0
    try:
        for cells in rows:
            length = 0
            # A quoted cell may run over several lines: the record starts after the last line of the one before.
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield Record(line + 1, cells)
            line = rows.line_num
    except csv.Error as error:
        raise DataError(f"{path}:{line + 1}: the cells cannot be told apart: {error}") from error


def _unknown(place: str, cell: str, shape: Layout, at: int, words: Words) -> DataError:
    """What is said of a cell that is none of the words of its column."""
    column, known = shape.features[at], list(words.codes)
    place, name, cell = f"{place}:{column + 1}", shape.name(column), cell.strip()
    if not cell:
        return DataError(f"{place}: the cell of column {name!r} is empty; every feature needs a value")
    if words.open:
        return DataError(f"{place}: column {name!r} has more than {MOST} categories; leave it out with ignore={name!r}")
    if not words.is_category:
        return DataError(f"{place}: {cell!r} in column {name!r} is not {words}, as the cells above")
    more = f", ... ({len(known)} words)" if len(known) > 8 else ""
    return DataError(
        f"{place}: {cell!r} in column {name!r} is a category that the model has not seen; it knows "
        f"{', '.join(known[:8])}{more}; remove the row, or train on data that have it"
    )


def _bad_cell(path: Path, block: list[Record], shape: Layout, options: Options, first: int) -> DataError:
    """The first feature cell in `block` that is no finite number, in words; the first sample is in line `first`."""
    for line, cells in block:
        row = parse([cells])
        if row is not None and np.isfinite(row).all():
            continue
        for position, cell in enumerate(cells):
            value = parse([[cell]])
            if value is not None and np.isfinite(value).all():
                continue
            column = shape.features[position]
            place, name = f"{path}:{line}:{column + 1}", shape.name(column)
            if not cell.strip():
                return DataError(f"{place}: the cell of column {name!r} is empty; every feature needs a number")
            if is_number(cell):
                return DataError(f"{place}: {cell.strip()!r} in column {name!r} is not finite")
            hint = f"; mend it, or leave the column out with ignore={name!r}"
            if options.columns.features:  # of a model, which needs it
                hint = ""
            elif line == first:
                hint = (
                    f"; leave the column out with ignore={name!r}, or make features of its words: categories={name!r}"
                )
                if options.target is None and shape.target is not None:
                    last = shape.name(shape.target)
                    hint += f"; the target is the last column, {last!r}, unless target= names another"
            return DataError(f"{place}: {cell.strip()!r} in column {name!r} is text where a number belongs{hint}")
    return DataError(f"{path}:{block[0].line}: these lines cannot be read as numbers")
