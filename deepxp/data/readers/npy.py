"""NumPy's .npy: one array, mapped from the disk instead of read."""

import math
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers.arrays import REAL, TEXT, as_table
from deepxp.data.readers.files import check_limit, is_packed, most_bytes, opened
from deepxp.data.readers.options import Options
from deepxp.errors import ConfigError, DataError


def read(path: Path, options: Options) -> Dataset:
    """Features from a .npy file, without targets: those are in a file of their own."""
    if isinstance(options.target, (str, int)):
        raise ConfigError(f"{path}: an .npy has no columns to be a target; give the file with the targets as labels=")
    return Dataset(as_table(read_array(path, options.limit_bytes), str(path)), None, str(path), where=in_file(path))


def read_array(path: Path, limit: int) -> np.ndarray:
    """The array in `path`: mapped from the disk, read-only; if gzipped, unpacked to at most `limit` bytes of memory."""
    with opened(path) as stream:
        nbytes = check_header(stream, str(path), most_bytes(path))
        end = stream.tell() + nbytes
    if not is_packed(path):
        if end < path.stat().st_size:
            raise DataError(f"{path}: goes on after the array that its header declares")
        mapped: np.ndarray = np.load(path, mmap_mode="r" if nbytes else None, allow_pickle=False)
        return mapped
    check_limit(path, nbytes, limit)
    with opened(path) as stream:
        return read_stream(stream, str(path))


def check_header(stream: BinaryIO, name: str, size: int) -> int:
    """Bytes of data that the .npy header at the start of `stream` declares.

    Raises DataError if it is no such header, if the array holds Python objects or anything else that is neither
    numbers nor text, and if a stream of `size` bytes cannot hold what is declared. Nothing has been allocated by then.
    """
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
    except (ValueError, SyntaxError, TokenError) as error:
        raise DataError(f"{name}: is damaged or no .npy array: {error}") from error
    if dtype.hasobject:
        raise DataError(f"{name}: holds Python objects, which could run code when read; save it with a numeric dtype")
    if dtype.kind not in REAL + TEXT:
        raise DataError(f"{name}: holds {dtype}; only real numbers and text can be used")
    nbytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or nbytes > size - stream.tell():
        raise DataError(f"{name}: declares shape {shape} of {dtype}, {nbytes} bytes, but cannot be longer than {size}")
    return nbytes


def read_stream(stream: BinaryIO, name: str) -> np.ndarray:
    """The array in `stream`, whose header passed `check_header`."""
    try:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{name}: is cut short: {error}") from error
    if stream.read(1):
        raise DataError(f"{name}: goes on after the array that its header declares")
    return array
