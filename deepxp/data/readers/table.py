"""Tables of text, a sample per line: .csv, .tsv, or any file whose delimiter is given."""

import csv
from array import array
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import at_lines
from deepxp.data.readers.files import LONGEST_LINE, check_limit, text_lines
from deepxp.data.readers.layout import Layout, layout
from deepxp.data.readers.numbers import is_number, parse, target_column
from deepxp.data.readers.options import Options, limit_of
from deepxp.errors import DataError

BLOCK_CELLS = 2**18  # cells that are text at one time: many enough to start the parser seldom, few enough to fit
TARGET_BYTES = 160  # of a target that is text, while the file is read


class Record(NamedTuple):
    """The cells of a sample and the line it starts on, counted from 1."""

    line: int
    cells: list[str]


def read(path: Path, options: Options) -> Dataset:
    """A table whose features are finite numbers (as float64) and whose target is a column of numbers or text.

    UTF-8, with or without byte order mark; cells may be quoted; blank lines and lines that start with # are skipped.
    Header and target column are found as `layout` says. Raises DataError, with `file:line:column`, for a feature that
    is no finite number and for a line with too few or too many cells.
    """
    delimiter = options.delimiter or ("\t" if ".tsv" in path.name.lower() else ",")
    limit = limit_of(path.stat().st_size, options.limit_bytes)
    records = _records(path, delimiter, limit)
    first = next(records, None)
    if first is None:
        raise DataError(f"{path}: has no rows, only blank lines or comments")
    shape = layout(first.cells, options, f"{path}:{first.line}")
    values, lines, targets = array("d"), array("q"), list[str]()
    samples = records if shape.header else chain((first,), records)
    while block := list(islice(samples, max(1, BLOCK_CELLS // shape.width))):
        for position, (line, cells) in enumerate(block):
            if len(cells) != shape.width:
                column = min(len(cells), shape.width) + 1
                raise DataError(f"{path}:{line}:{column}: {len(cells)} cells, but line {first.line} has {shape.width}")
            lines.append(line)
            if shape.target is not None:
                targets.append(cells[shape.target] if shape.columns else cells.pop(shape.target))
            if shape.columns:
                block[position] = Record(line, [cells[column] for column in shape.columns])
        table = parse([record.cells for record in block])
        if table is None or not np.isfinite(table).all():
            raise _bad_cell(path, block, shape)
        values.frombytes(table.astype(np.float64).tobytes())
        check_limit(path, len(values) * values.itemsize + TARGET_BYTES * len(targets), limit)
    if not lines:
        raise DataError(f"{path}: has no rows after the header")
    where = at_lines(path, lines)
    where_y = where if shape.target is None else at_lines(path, lines, shape.target + 1)
    return Dataset(
        np.frombuffer(values).reshape(len(lines), -1),
        None if shape.target is None else target_column(targets, where_y, limit),
        str(path),
        shape.features,
        target=None if shape.target is None else shape.names[shape.target] if shape.names else shape.target,
        ignored=shape.ignored,
        where=where,
        where_y=where_y,
    )


def _records(path: Path, delimiter: str, limit: int) -> Iterator[Record]:
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


def _bad_cell(path: Path, block: list[Record], shape: Layout) -> DataError:
    """The first feature cell in `block` that is no finite number, in words."""
    for line, cells in block:
        row = parse([cells])
        if row is not None and np.isfinite(row).all():
            continue
        for position, cell in enumerate(cells):
            value = parse([[cell]])
            if value is not None and np.isfinite(value).all():
                continue
            if shape.columns:
                column = shape.columns[position] + 1
            else:
                column = position + 1 + (shape.target is not None and position >= shape.target)
            place = f"{path}:{line}:{column}"
            if not cell.strip():
                return DataError(f"{place}: the cell is empty; every feature needs a number")
            found = "not finite" if is_number(cell) else "text where a number belongs"
            return DataError(f"{place}: {cell.strip()!r} is {found}")
    return DataError(f"{path}:{block[0].line}: these lines cannot be read as numbers")
