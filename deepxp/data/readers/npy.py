r"""NumPy's .npy: one array, mapped from the disk instead of read.

    6 bytes   \x93NUMPY
    2 bytes   the version: 1.0, 2.0 or 3.0
    2 bytes   the length of the header, little-endian; 4 bytes from version 2.0 on
    header    {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, padded with spaces, a newline at the end
    the rest  the numbers

The header is a literal of Python's that is read here as what it is, three names with a value each, and never given to
Python: a header can name no type that is not a number or text, and can be nested no deeper than its shape.

Source: numpy.lib.format, "Format Version 1.0" and after.
"""

import math
import re
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from deepxp.data.dataset import Dataset
from deepxp.data.places import in_file
from deepxp.data.readers.arrays import REAL, TEXT, as_table
from deepxp.data.readers.files import check_limit, is_packed, most_bytes, opened
from deepxp.data.readers.options import Options
from deepxp.errors import ConfigError, DataError

MAGIC = b"\x93NUMPY"
LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
MOST_HEADER = 10_000  # NumPy's own limit
MOST_DIMENSIONS = 32
PIECE = 2**20  # bytes read at one time

ITEM = re.compile(
    r"\s*(['\"])(?P<name>descr|fortran_order|shape)\1\s*:\s*"
    r"(?:(['\"])(?P<descr>[^'\"]*)\3|(?P<list>\[.*\])|(?P<flag>True|False)|\((?P<sizes>[\d\sL,]*)\))\s*(?:,|$)",
    re.DOTALL,
)
KINDS = {"descr": ("descr", "list"), "fortran_order": ("flag",), "shape": ("sizes",)}
DTYPE = re.compile(r"[<>|=]?[?a-zA-Z]\d{0,9}")


class Declared(NamedTuple):
    """What a header says of the array after it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read(path: Path, options: Options) -> Dataset:
    """Features from a .npy file, without targets: those are in a file of their own."""
    if isinstance(options.target, (str, int)):
        raise ConfigError(f"{path}: an .npy has no columns to be a target; give the file with the targets as labels=")
    return Dataset(as_table(read_array(path, options.limit_bytes), str(path)), None, str(path), where=in_file(path))


def read_array(path: Path, limit: int | None = None) -> np.ndarray:
    """The array in `path`: mapped from the disk, read-only; if gzipped, unpacked to at most `limit` bytes of memory."""
    with opened(path) as stream:
        declared = read_header(stream, str(path), most_bytes(path))
        start = stream.tell()
        if is_packed(path):
            check_limit(path, declared.nbytes, limit)
            return read_data(stream, declared, str(path))
    if start + declared.nbytes < path.stat().st_size:
        raise DataError(f"{path}: goes on after the array that its header declares")
    if not declared.nbytes:
        return np.empty(declared.shape, declared.dtype)
    mapped: np.ndarray = np.memmap(path, declared.dtype, "r", start, declared.shape, declared.order)
    return mapped


def read_header(stream: BinaryIO, name: str, size: int) -> Declared:
    """What the .npy header at the start of `stream` declares.

    Raises DataError if it is no such header, if the array holds Python objects or anything else that is neither
    numbers nor text, and if a stream of `size` bytes cannot hold what is declared. Nothing has been allocated by then.
    """
    try:
        declared = _parse(stream)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except ValueError as error:
        raise DataError(f"{name}: is damaged or no .npy array: {error}") from None
    shape, dtype, _ = declared
    if dtype.hasobject:
        raise DataError(f"{name}: holds Python objects, which could run code when read; save it with a numeric dtype")
    if dtype.kind not in REAL + TEXT or not dtype.itemsize:
        raise DataError(f"{name}: holds {dtype}; only real numbers and text can be used")
    if declared.nbytes > size - stream.tell():
        raise DataError(
            f"{name}: declares shape {shape} of {dtype}, {declared.nbytes} bytes, but cannot be longer than {size}"
        )
    return declared


def read_data(stream: BinaryIO, declared: Declared, name: str) -> np.ndarray:
    """The array whose header was read from `stream`."""
    flat = np.empty(declared.nbytes, np.uint8)
    view, filled = flat.data, 0
    while filled < flat.size:
        piece = stream.read(min(PIECE, flat.size - filled))
        if not piece:
            raise DataError(f"{name}: is cut short: {filled} bytes of {flat.size}")
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    if stream.read(1):
        raise DataError(f"{name}: goes on after the array that its header declares")
    array: np.ndarray = np.ndarray(declared.shape, declared.dtype, flat.data, order=declared.order)
    return array


def _parse(stream: BinaryIO) -> Declared:
    start = stream.read(8)
    if start[:6] != MAGIC:
        raise ValueError(f"it starts with {start[:6]!r}")
    wide = LENGTH_BYTES.get((start[6], start[7]) if len(start) == 8 else (0, 0))
    if wide is None:
        raise ValueError(f"its version is {start[6:].hex('.')}")
    length = int.from_bytes(stream.read(wide), "little")
    if length > MOST_HEADER:
        raise ValueError(f"its header is {length} bytes long; there may be {MOST_HEADER}")
    text = stream.read(length)
    if len(text) != length:
        raise ValueError("it ends inside its header")
    values = _literal(text.decode())
    shape = _shape(values["shape"])
    if not DTYPE.fullmatch(values["descr"]):
        raise DataError(f"holds {values['descr']:.80}; only real numbers and text can be used")
    try:
        dtype = np.dtype(values["descr"])
    except (TypeError, ValueError):
        raise ValueError(f"its dtype is {values['descr']!r}") from None
    # NumPy multiplies the sizes that are not 0 even where another one is.
    if math.prod(n or 1 for n in shape) * max(dtype.itemsize, 1) >= 2**63:
        raise ValueError(f"its shape is {values['shape']:.80}")
    return Declared(shape, dtype, "F" if values["fortran_order"] == "True" else "C")


def _literal(header: str) -> dict[str, str]:
    """The three values of a header, as text."""
    inside, values, position = header.strip(), {}, 0
    if inside[:1] != "{" or inside[-1:] != "}":
        raise ValueError(f"its header is {header[:80]!r}")
    inside = inside[1:-1].rstrip()
    while position < len(inside):
        item = ITEM.match(inside, position)
        kind = item and next((kind for kind in KINDS[item["name"]] if item[kind] is not None), None)
        if not item or not kind or item["name"] in values:
            raise ValueError(f"its header is {header[:80]!r}")
        values[item["name"]] = item[kind]
        position = item.end()
    if values.keys() != KINDS.keys():
        raise ValueError(f"its header is {header[:80]!r}")
    return values


def _shape(text: str) -> tuple[int, ...]:
    sizes = [size.strip().removesuffix("L") for size in text.split(",")]
    if sizes[-1] == "":
        sizes.pop()
    if len(sizes) > MOST_DIMENSIONS or not all(
        size.isascii() and size.isdecimal() and len(size) < 20 for size in sizes
    ):
        raise ValueError(f"its shape is ({text:.80})")
    return tuple(map(int, sizes))
