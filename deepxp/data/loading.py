"""From a path to a Dataset."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from deepxp.data.dataset import Dataset
from deepxp.data.readers import idx, npy, npz, svmlight, table
from deepxp.data.readers.files import check_readable
from deepxp.data.readers.formats import ACCEPTED, Format, format_of
from deepxp.data.readers.labels import read_labels
from deepxp.data.readers.options import BY_POSITION, NO_TARGET, Columns, Header, Names, Options, Target
from deepxp.errors import ConfigError, DataError, OutOfMemoryError, ShapeError

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
    ignore: str | int | Sequence[str | int] = (),
    categories: str | int | Sequence[str | int] = (),
) -> Dataset:
    """Read a table of samples from .npz, .npy, .csv, .tsv, idx or svmlight, by its name; .gz is unpacked on the way.

    target: what to predict: a column of a table (without it the last one), an array of an .npz, or the .npy beside an
        .npy. NO_TARGET: features only. Columns are named by text, or by numbers counted from 1 in text, as messages
        count them, and from 0 in an int, as arrays do; -1 is the last one.
    ignore: columns of a table that are no features: dates, names, numbers of rows.
    categories: columns of a table whose words become features of 0 and 1, one for each word, in their sorted order.
        Columns of true and false, or yes and no, are read as 1 and 0 in any case.
    labels: a file with the targets alone: .npy, idx, or text with one per line.
    header: whether a table starts with column names; "auto" looks at its first row.
    delimiter: what separates the cells; with it a file of any name is read as a table.
    n_features: the width that is wanted. A table of just that many columns has no target then, so that one call reads
        samples to predict with or without theirs.
    columns: those of the table that a model was trained on (`Dataset.columns`): the features of these names, in this
        order, whatever else the table holds; the target where `target` says nothing; and the categories, of which a
        word that is none of them is an error.
    limit_bytes: the most memory that a file may ask for; without it 64 times its size, though 256 MiB in any case and
        8 GiB at most. Reading takes at most four times as much. An .npy that is not packed is mapped, however large.

    Raises DataError, with file, line and column where there are any, for what cannot be read; ShapeError for arrays
    that do not fit each other or `n_features`; ConfigError for options that do not fit the format; OutOfMemoryError
    where there is not even the memory that the limit allows. Nothing else, whatever the file holds.
    """
    path = Path(path)
    try:
        options = Options(
            target, header, delimiter, n_features, limit_bytes, columns, _names(ignore), _names(categories)
        )
        return _load(path, labels, options)
    except OutOfMemoryError:
        raise
    except MemoryError:
        raise OutOfMemoryError(f"{path}: there is not the memory to read it; read a part, or save it as .npy") from None


def _names(said: str | int | Sequence[str | int]) -> Names:
    return (said,) if isinstance(said, str | int) else tuple(said)


def _load(path: Path, labels: str | os.PathLike[str] | None, options: Options) -> Dataset:
    check_readable(path)
    target, n_features = options.target, options.n_features
    form = "table" if options.delimiter is not None else format_of(path)
    if form is None:
        raise DataError(f"{path}: is of no known format; known are {ACCEPTED}, and any table with delimiter=")
    if form != "table" and (options.ignore or options.categories):
        raise ConfigError(f"{path}: is no table of text, whose columns are what ignore and categories name")
    if form == "npy" and isinstance(target, str) and labels is None:
        labels = target
    dataset = READERS[form](path, options if labels is None else replace(options, target=NO_TARGET))
    if labels is not None:
        y, where_y = read_labels(Path(labels), options)
        dataset = replace(dataset, y=y, where_y=where_y)
    if n_features is not None and dataset.X.shape[1] != n_features:
        raise ShapeError(f"{path}: has {dataset.X.shape[1]} features per row, but {n_features} are expected")
    return dataset
