"""From a path to a Dataset."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deepxp.data.dataset import Dataset
from deepxp.data.readers import idx, npy, npz, svmlight, table
from deepxp.data.readers.files import check_readable
from deepxp.data.readers.formats import ACCEPTED, Format, format_of
from deepxp.data.readers.labels import read_labels
from deepxp.data.readers.options import BY_POSITION, NO_TARGET, Columns, Header, Options, Target
from deepxp.errors import DataError, OutOfMemoryError, ShapeError

READERS: dict[Format, Callable[[Path, Options], Dataset]] = {
    "npz": npz.read,
    "npy": npy.read,
    "table": table.read,
    "idx": idx.read,
    "svmlight": svmlight.read,
}


def load(
    path: str | os.PathLike[str],
    *,
    target: Target = None,
    labels: str | os.PathLike[str] | None = None,
    header: Header = "auto",
    delimiter: str | None = None,
    n_features: int | None = None,
    limit_bytes: int | None = None,
    columns: Columns = BY_POSITION,
) -> Dataset:
    """Read a table of samples from .npz, .npy, .csv, .tsv, idx or svmlight, by its name; .gz is unpacked on the way.

    target: what to predict: a column of a table, by name or by position from 0 (or -1, the default: the last one), an
        array of an .npz, or the .npy beside an .npy. NO_TARGET: features only.
    labels: a file with the targets alone: .npy, idx, or text with one per line.
    header: whether a table starts with column names; "auto" looks at its first row.
    delimiter: what separates the cells; with it a file of any name is read as a table.
    n_features: the width that is wanted. A table of just that many columns has no target then, so that one call reads
        samples to predict with or without theirs.
    columns: of a table with a header, take the features of these names, in this order, whatever else it holds; and the
        target where `target` says nothing.
    limit_bytes: the most memory that a file may ask for; without it 64 times its size, though 256 MiB in any case and
        8 GiB at most. Reading takes at most four times as much. An .npy that is not packed is mapped, however large.

    Raises DataError, with file, line and column where there are any, for what cannot be read; ShapeError for arrays
    that do not fit each other or `n_features`; ConfigError for options that do not fit the format; OutOfMemoryError
    where there is not even the memory that the limit allows. Nothing else, whatever the file holds.
    """
    path = Path(path)
    try:
        return _load(path, labels, Options(target, header, delimiter, n_features, limit_bytes, columns))
    except OutOfMemoryError:
        raise
    except MemoryError:
        raise OutOfMemoryError(f"{path}: there is not the memory to read it; read a part, or save it as .npy") from None


def _load(path: Path, labels: str | os.PathLike[str] | None, options: Options) -> Dataset:
    check_readable(path)
    target, n_features = options.target, options.n_features
    form = "table" if options.delimiter is not None else format_of(path)
    if form is None:
        raise DataError(f"{path}: is of no known format; known are {ACCEPTED}, and any table with delimiter=")
    if form == "npy" and isinstance(target, str) and labels is None:
        labels = target
    dataset = READERS[form](path, options if labels is None else replace(options, target=NO_TARGET))
    if labels is not None:
        y, where_y = read_labels(Path(labels), options)
        dataset = replace(dataset, y=y, where_y=where_y)
    if n_features is not None and dataset.X.shape[1] != n_features:
        raise ShapeError(f"{path}: has {dataset.X.shape[1]} features per row, but {n_features} are expected")
    return dataset
