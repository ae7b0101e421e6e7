"""Targets from a file of their own."""

from pathlib import Path

import numpy as np

from deepxp.data.places import Where, at_lines, in_file
from deepxp.data.readers import idx, npy
from deepxp.data.readers.arrays import as_targets
from deepxp.data.readers.files import check_limit, text_lines
from deepxp.data.readers.formats import format_of
from deepxp.data.readers.numbers import is_number, parse, target_column
from deepxp.data.readers.options import Options, limit_of
from deepxp.errors import DataError

LINE_BYTES = 320  # of a target that is text, with the place it was read from


def read_labels(path: Path, options: Options) -> tuple[np.ndarray, Where]:
    """Targets (m,) or (m, k) and their places, from .npy, from idx, or from any text file with one target per line.

    In text, blank lines and lines that start with # are skipped. The first line is a header if `options` says so, or,
    with "auto", if it is no number and all others are.
    """
    form = format_of(path)
    if form in ("npy", "idx"):
        array = (npy if form == "npy" else idx).read_array(path, options.limit_bytes)
        return as_targets(array, str(path)), in_file(path)
    if form in ("npz", "svmlight"):
        raise DataError(f"{path}: targets are read from .npy, from idx or from text with one target per line")
    limit = limit_of(path.stat().st_size, options.limit_bytes)
    numbered = []
    for line, text in enumerate(text_lines(path, limit), start=1):
        if text.strip():
            numbered.append((line, text))
            check_limit(path, LINE_BYTES * len(numbered), limit)
    if options.header == "yes" or (options.header == "auto" and _has_header([text for _, text in numbered])):
        del numbered[:1]
    if not numbered:
        raise DataError(f"{path}: has no targets, only blank lines or comments")
    where = at_lines(path, [line for line, _ in numbered])
    return target_column([text for _, text in numbered], where, limit), where


def _has_header(cells: list[str]) -> bool:
    return len(cells) > 1 and not is_number(cells[0]) and parse([[cell] for cell in cells[1:]]) is not None
