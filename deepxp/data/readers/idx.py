"""The idx format of MNIST: a magic number, the sizes, the values, all big-endian.

Bytes 0 and 1 are zero, byte 2 is the type of the values, byte 3 the number of dimensions, then a 32-bit size for each.
"""

import math
import re
from pathlib import Path

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers.arrays import as_table, as_targets
from deepxp.data.readers.files import check_limit, is_packed, most_bytes, opened
from deepxp.data.readers.options import NO_TARGET, Options
from deepxp.errors import ConfigError, DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 8


def read(path: Path, options: Options) -> Dataset:
    """Images, with what is found beside them by name, packed or not.

    The labels of `...images-idx3...` are in `...labels-idx1...`. The test part of a `train...` file is in the `t10k...`
    one, if both its images and its labels are there.
    """
    if isinstance(options.target, (str, int)):
        raise ConfigError(f"{path}: an idx file has no columns to be a target; give its label file as labels=")
    limit = options.limit_bytes
    X = as_table(read_array(path, limit), str(path))
    labels = None if options.target is NO_TARGET else _labels_of(path)
    if labels is None:
        return Dataset(X, None, str(path), where=in_file(path))
    test = _test_of(path)
    test_labels = _labels_of(test) if test else None
    X_test = y_test = None
    if test and test_labels:
        X_test = as_table(read_array(test, limit), str(test))
        y_test = as_targets(read_array(test_labels, limit), str(test_labels))
    y = as_targets(read_array(labels, limit), str(labels))
    return Dataset(X, y, str(path), X_test=X_test, y_test=y_test, where=in_file(path), where_y=in_file(labels))


def is_idx(start: bytes) -> bool:
    """Whether a file that starts with these four bytes is in this format."""
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in DTYPES and start[3] > 0


def read_array(path: Path, limit: int | None) -> np.ndarray:
    """The array in `path`, in native byte order.

    Raises DataError if the magic number is wrong, if the sizes do not match the length of the file, or if they exceed
    `limit` bytes. What is declared is held against the length on disk before memory is taken for it.
    """
    with opened(path) as stream:
        start = stream.read(4)
        if not is_idx(start):
            raise DataError(f"{path}: is no idx file: it starts with the bytes {start.hex(' ')}")
        dtype, sizes = np.dtype(DTYPES[start[2]]), stream.read(4 * start[3])
        if len(sizes) < 4 * start[3]:
            raise DataError(f"{path}: is cut short within its header")
        shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
        if len(shape) > MOST_DIMENSIONS or (0 in shape and max(shape) > 0):
            raise DataError(f"{path}: declares {_shown(shape)} values; an array of images has 4 sizes at most, none 0")
        nbytes = math.prod(shape) * dtype.itemsize
        declared = f"{path}: declares {_shown(shape)} values, {nbytes} bytes,"
        if nbytes > most_bytes(path):
            raise DataError(f"{declared} but cannot hold more than {most_bytes(path)}; it is damaged or cut short")
        check_limit(path, nbytes, limit)
        values = stream.read(nbytes + 1)
    if len(values) != nbytes:
        raise DataError(f"{declared} but holds {'more' if len(values) > nbytes else len(values)}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[:8])) + (" x ..." if len(shape) > 8 else "")


def _labels_of(images: Path) -> Path | None:
    return _beside(images, re.sub(r"idx\d", "idx1", images.name.replace("images", "labels")))


def _test_of(images: Path) -> Path | None:
    return _beside(images, re.sub(r"^train", "t10k", images.name))


def _beside(path: Path, name: str) -> Path | None:
    """The other file of this name beside `path`, packed or not, whichever is there; None if neither is."""
    if name == path.name:
        return None
    other = name[: -len(".gz")] if is_packed(path) else f"{name}.gz"
    return next((file for file in (path.with_name(name), path.with_name(other)) if file.is_file()), None)
