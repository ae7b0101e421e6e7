"""NumPy's .npz: named arrays in a zip archive. Nothing is unpacked to the disk: a member's name is not a path."""

from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers import npy
from deepxp.data.readers.arrays import as_table, as_targets
from deepxp.data.readers.files import DEFLATE_RATIO, check_limit, opened
from deepxp.data.readers.options import NO_TARGET, Options, Target
from deepxp.errors import ConfigError, DataError, DeepxpError

FEATURES = ("x_train", "x", "data")
TARGETS = ("y_train", "y", "target")


class Keys(NamedTuple):
    """The names of the arrays in use."""

    X: str
    y: str | None
    X_test: str | None
    y_test: str | None


def read(path: Path, options: Options) -> Dataset:
    """Features and targets by the names that are in use, in upper or lower case.

    X and y, data and target, or x_train and y_train, with the test part x_test and y_test. `target` names another array
    of targets; if just one array is left beside it, that one holds the features. Only the arrays in use are unpacked.
    """
    try:
        keys, arrays = _unpack(path, options)
    except (RuntimeError, ValueError) as error:  # an archive that contradicts itself
        if isinstance(error, DeepxpError):
            raise
        raise DataError(f"{path}: cannot be unpacked: {error}") from error
    tables = {key: as_table(arrays[key], f"{path}[{key}]") for key in (keys.X, keys.X_test) if key in arrays}
    targets = {key: as_targets(arrays[key], f"{path}[{key}]") for key in (keys.y, keys.y_test) if key in arrays}
    return Dataset(
        tables[keys.X],
        targets.get(keys.y),
        str(path),
        X_test=tables.get(keys.X_test),
        y_test=targets.get(keys.y_test),
        where=in_file(path),
        where_y=in_file(path),
    )


def _unpack(path: Path, options: Options) -> tuple[Keys, dict[str | None, np.ndarray]]:
    """The arrays in use; sizes are held against the limit and each other before anything is allocated."""
    arrays: dict[str | None, np.ndarray] = {}
    with opened(path) as stream, ZipFile(stream) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        target = options.target
        if target is None and options.columns.target in members:  # the array that a model's targets were in
            target = options.columns.target
        keys = _choose(tuple(members), target, path)
        used = {key: members[key] for key in keys if key is not None}
        check_limit(path, sum(member.file_size for member in used.values()), options.limit_bytes)
        for key, member in used.items():
            name = f"{path}[{key}]"
            _check_member(member, name, path.stat().st_size)
            with archive.open(member) as unpacked:
                array = cast(BinaryIO, unpacked)
                declared = npy.read_header(array, name, member.file_size)
                arrays[key] = npy.read_data(array, declared, name)
    return keys, arrays


def _check_member(member: ZipInfo, name: str, size: int) -> None:
    """Raises DataError for a member that NumPy would not have written into a file of `size` bytes. Of the packings of
    zip some take memory by what the archive says, before they unpack anything."""
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) or member.flag_bits & 1:
        raise DataError(
            f"{name}: is encrypted or packed in a way that is not read; save it with numpy.savez_compressed"
        )
    if member.compress_size > size or member.file_size > DEFLATE_RATIO * member.compress_size:
        raise DataError(f"{name}: declares {member.file_size} bytes, which its {size} bytes on disk cannot hold")


def _choose(names: tuple[str, ...], target: Target, path: Path) -> Keys:
    holds = f"it holds {_shown(names)}"
    if isinstance(target, int):
        raise ConfigError(f"{path}: target={target}: an .npz names its arrays; {holds}")
    y = None if target is NO_TARGET else _find(TARGETS if target is None else (target,), names)
    if isinstance(target, str) and y is None:
        raise DataError(f"{path}: has no array {target!r}; {holds}")
    others = tuple(name for name in names if name != y)
    X = _find(FEATURES, others)
    if X is None and isinstance(target, str) and len(others) == 1:
        X = others[0]
    if X is None:
        raise DataError(
            f"{path}: has no features under a known name ({', '.join(FEATURES)}); {holds}; rename one of them, or, "
            "if there are just two, name the targets with target="
        )
    X_test, y_test = _find(("x_test",), names), _find(("y_test",), names)
    if y is None or X_test is None or y_test is None:
        X_test = y_test = None
    return Keys(X, y, X_test, y_test)


def _shown(names: tuple[str, ...], most: int = 8) -> str:
    more = f", ... ({len(names)} arrays)" if len(names) > most else ""
    return ", ".join(f"{name:.40}" for name in names[:most]) + more or "nothing"


def _find(wanted: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """The first of `wanted` that is there: as it is spelt, or else in any case."""
    for name in wanted:
        for candidate in (name, *(other for other in names if other.lower() == name.lower())):
            if candidate in names:
                return candidate
    return None
