"""The svmlight format, `label index:value ...` with indices from 1, read into a dense table."""

from array import array
from math import isfinite
from pathlib import Path

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import Where, at_lines
from deepxp.data.readers.files import check_limit, text_lines
from deepxp.data.readers.numbers import is_number, target_column
from deepxp.data.readers.options import NO_TARGET, Options, limit_of
from deepxp.errors import ConfigError, DataError

FLOAT64_BYTES = 8
ROW_BYTES, VALUE_BYTES = 160, 16  # what a line and a pair of it take while the file is read


def read(path: Path, options: Options) -> Dataset:
    """Features as a dense float64 table, zero where a line names no value.

    The width is the largest index of the file, or `n_features`: a test file need not name the last feature. Indices
    count from 1 and rise within a line. They are never guessed to count from 0, since one file of a pair may happen
    not to use its first feature. Raises DataError, with `file:line:column` (the label is column 1), for what does not
    parse, and before allocating for a table larger than the limit.
    """
    if isinstance(options.target, (str, int)):
        raise ConfigError(f"{path}: the first number of each line is its target; target={options.target!r} cannot be")
    limit = limit_of(path.stat().st_size, options.limit_bytes)
    lines, counts, labels = array("q"), array("q"), list[str]()
    columns, values = array("q"), array("d")
    for line, text in enumerate(text_lines(path, limit), start=1):
        tokens = text.partition("#")[0].split()
        if not tokens:
            continue
        lines.append(line)
        labels.append(tokens[0])
        counts.append(len(tokens) - 1)
        previous = 0
        for position, token in enumerate(tokens[1:], start=2):
            try:
                index, value = _pair(token, previous, options, limit)
            except DataError as error:
                raise DataError(f"{path}:{line}:{position}: {error}") from None
            columns.append(index - 1)
            values.append(value)
            previous = index
        check_limit(path, ROW_BYTES * len(lines) + VALUE_BYTES * len(columns), limit)
    if not lines:
        raise DataError(f"{path}: has no rows, only blank lines or comments")
    n = options.n_features or max(columns, default=-1) + 1
    if n == 0:
        raise DataError(f"{path}: has no feature columns: no line names an index:value pair")
    check_limit(path, len(lines) * n * FLOAT64_BYTES, limit)
    X = np.zeros((len(lines), n))
    X[np.repeat(np.arange(len(lines)), counts), columns] = values
    where, where_y = at_lines(path, lines), at_lines(path, lines, column=1)
    y = None if options.target is NO_TARGET else _targets(labels, where_y, limit)
    return Dataset(X, y, str(path), where=where, where_y=where_y)


def _pair(token: str, previous: int, options: Options, limit: int) -> tuple[int, float]:
    """The index and the value in `token`; the DataError it raises is without the place."""
    left, _, right = token.partition(":")
    try:
        index, value = int(left), float(right)
    except ValueError:
        raise DataError(f"{token!r} is not of the form index:value") from None
    if index == 0:
        raise DataError("index 0: indices count from 1 here; add 1 to every index of the file")
    if index <= previous:
        raise DataError(f"index {index} after {previous}: the indices of a line must rise")
    if options.n_features and index > options.n_features:
        raise DataError(f"index {index}, but {options.n_features} features are expected")
    if index * FLOAT64_BYTES > limit:
        raise DataError(f"index {index}: one dense row exceeds the limit of {limit} bytes (limit_bytes)")
    if not isfinite(value):
        raise DataError(f"{right!r} is not finite")
    return index, value


def _targets(labels: list[str], where: Where, limit: int) -> np.ndarray:
    y = target_column(labels, where, limit)
    if y.dtype.kind == "U":
        row = next(row for row, label in enumerate(labels) if not is_number(label))
        raise DataError(f"{where(row)}: {labels[row]!r} is no label; a line starts with one number")
    return y
