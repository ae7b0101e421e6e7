"""NumPy's .npz: named arrays in a zip archive."""

from pathlib import Path
from typing import BinaryIO, cast
from zipfile import ZipFile, ZipInfo

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers import npy
from deepxp.data.readers.arrays import as_table, as_targets
from deepxp.data.readers.files import check_limit, opened
from deepxp.data.readers.options import NO_TARGET, Options, Target
from deepxp.errors import ConfigError, DataError

FEATURES = ("x_train", "x", "data")
TARGETS = ("y_train", "y", "target")


def read(path: Path, options: Options) -> Dataset:
    """Features and targets by the names that are in use, in upper or lower case.

    X and y, data and target, or x_train and y_train, with the test part x_test and y_test. `target` names another array
    of targets; if just one array is left beside it, that one holds the features. Only the arrays in use are unpacked.
    """
    with opened(path) as stream, ZipFile(stream) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = tuple(members)
        x, y = _choose(names, options.target, path)
        x_test, y_test = _find(("x_test",), names), _find(("y_test",), names)
        if y is None or x_test is None or y_test is None:
            x_test = y_test = None
        used = [key for key in (x, y, x_test, y_test) if key is not None]
        check_limit(path, sum(members[key].file_size for key in used), options.limit_bytes)
        arrays = {key: _unpack(archive, members[key], f"{path}[{key}]") for key in used}

    def table(key: str | None) -> np.ndarray | None:
        return None if key is None else as_table(arrays[key], f"{path}[{key}]")

    def targets(key: str | None) -> np.ndarray | None:
        return None if key is None else as_targets(arrays[key], f"{path}[{key}]")

    return Dataset(
        as_table(arrays[x], f"{path}[{x}]"),
        targets(y),
        str(path),
        X_test=table(x_test),
        y_test=targets(y_test),
        where=in_file(path),
        where_y=in_file(path),
    )


def _choose(names: tuple[str, ...], target: Target, path: Path) -> tuple[str, str | None]:
    """The names of X and y."""
    holds = f"it holds {', '.join(names) or 'nothing'}"
    if isinstance(target, int):
        raise ConfigError(f"{path}: target={target}: an .npz names its arrays; {holds}")
    y = None if target is NO_TARGET else _find(TARGETS if target is None else (target,), names)
    if isinstance(target, str) and y is None:
        raise DataError(f"{path}: has no array {target!r}; {holds}")
    x = _find(FEATURES, tuple(name for name in names if name != y))
    others = [name for name in names if name != y]
    if x is None and len(others) == 1 and isinstance(target, str):
        x = others[0]
    if x is None:
        raise DataError(
            f"{path}: has no features under a known name ({', '.join(FEATURES)}); {holds}; rename one of them, or, "
            "if there are just two, name the targets with target="
        )
    return x, y


def _find(wanted: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """The first of `wanted` that is there: as it is spelt, or else in any case."""
    for name in wanted:
        for candidate in (name, *(other for other in names if other.lower() == name.lower())):
            if candidate in names:
                return candidate
    return None


def _unpack(archive: ZipFile, member: ZipInfo, name: str) -> np.ndarray:
    """One array; the header is held against the size in the archive's directory before anything is allocated."""
    with archive.open(member) as stream:
        npy.check_header(cast(BinaryIO, stream), name, member.file_size)
    with archive.open(member) as stream:
        return npy.read_stream(cast(BinaryIO, stream), name)
