"""Model files in the safetensors layout: they hold numbers and text only, so opening one can never run code.

    8 bytes   N, the length of the header, unsigned, little-endian
    N bytes   the header, JSON in UTF-8: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}, ...},
              padded with spaces so that the data starts at a multiple of 64 bytes
    the rest  the tensors, little-endian, row-major, one after the other; data_offsets = [begin, end) counts from here

A file written here notices damage to itself, by two entries among its metadata that other programs may ignore:

    deepxp.tensors_sha256   JSON, {name: SHA-256 of the tensor's bytes}
    deepxp.header_sha256    SHA-256 of the canonical JSON of [metadata without this entry, {name: [dtype, shape]}]

Two of them, because one alone could vanish by a flipped bit in its own name, and the file would then pass for one from
a program that writes none. The offsets are in neither: a program that reorders the tensors keeps the file valid.

Source: the format description at https://github.com/huggingface/safetensors (README, "Format").
"""

import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepxp.bounded import from_json
from deepxp.errors import DataError, ModelFileError
from deepxp.memory import available

MAX_HEADER = 2**24  # the format allows 10^8; what it becomes in memory is many times as long
ALIGNMENT = 64
MAX_DIMENSIONS = 64
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {code: name for name, code in DTYPES.items()}
METADATA = "__metadata__"
TENSORS_SHA256 = "deepxp.tensors_sha256"
HEADER_SHA256 = "deepxp.header_sha256"
HINTS = {
    errno.ENOENT: "create the folder first",
    errno.EACCES: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOSPC: "free some space or choose another disk",
}


class Entry(NamedTuple):
    """What the header says of one tensor; its bytes are [begin, end) of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write the tensors and the metadata to `path`, whole or not at all; equal input gives equal bytes.

    Any shape, memory order and byte order; dtypes float16/32/64, int and uint 8-64, bool. A failure leaves the earlier
    file as it was and nothing beside it. A symbolic link is followed, and the mode of the file follows the umask.
    Raises DataError for what the format cannot hold, ModelFileError when the file system refuses.
    """
    arrays = {name: _packed(name, array) for name, array in tensors.items()}
    header = _header(arrays, metadata)
    try:
        with _replacing(path) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for name in _order(arrays):
                file.write(_bytes(arrays[name]))
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "an earlier file there is unchanged")
        raise ModelFileError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}; {hint}") from error


def read(
    path: str | os.PathLike[str], limit_bytes: int | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors, each an array of its own that may be written to, and the metadata, as they were given to `write`.

    Nothing is allocated before the whole header has been checked against the length of the file, and this against
    `limit_bytes`, or without it against the memory that there is. The checksums are verified where there are any; a
    file of another program may have none.
    Raises ModelFileError, which names the file and what is wrong with it.
    """
    with _opened(path) as file:
        _check_limit(os.fstat(file.fileno()).st_size, limit_bytes)
        entries, metadata, checksums = _parse(file)
        return {name: _load(file, name, entry, checksums) for name, entry in entries.items()}, metadata


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors' entries in the order of the data, and the metadata: checked as in `read`, but for the data itself.

    Raises ModelFileError, which names the file and what is wrong with it.
    """
    with _opened(path) as file:
        entries, metadata, _ = _parse(file)
        return entries, metadata


# Writing


def _packed(name: str, array: NDArray[Any]) -> NDArray[Any]:
    code = np.asarray(array).dtype.newbyteorder("<").str
    if code not in NAMES:
        raise DataError(f"tensor {name!r} has dtype {array.dtype}; a model file holds {', '.join(NAMES.values())}")
    return np.asarray(array, dtype=code, order="C")


def _order(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    # Widest first, so that every tensor starts at a multiple of its own item size.
    return sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _header(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    if not all(isinstance(text, str) for text in (*arrays, *metadata, *metadata.values())):
        raise DataError("names, and metadata's keys and values, must be text; json.dumps turns other values into it")
    entries, end = {}, 0
    for name in _order(arrays):
        array = arrays[name]
        begin, end = end, end + array.nbytes
        entries[name] = Entry(NAMES[array.dtype.str], array.shape, begin, end)
    if METADATA in entries:
        raise DataError(f"a tensor cannot be called {METADATA!r}; the format keeps that name")
    if reserved := metadata.keys() & {TENSORS_SHA256, HEADER_SHA256}:
        raise DataError(f"metadata cannot use the key {min(reserved)!r}; it holds a checksum of the file")

    sealed = dict(sorted(metadata.items()))
    sealed[TENSORS_SHA256] = _canonical({name: _sha256(_bytes(arrays[name])) for name in entries})
    try:
        sealed[HEADER_SHA256] = _seal(entries, sealed)
    except UnicodeEncodeError as error:
        raise DataError(f"names and metadata must be valid Unicode, not {error.object!r}") from error
    header: dict[str, object] = {METADATA: sealed}
    for name, entry in entries.items():
        header[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (entry.begin, entry.end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise DataError(f"names and metadata take {len(text)} bytes; a model file's header has at most {MAX_HEADER}")
    return text


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[BufferedWriter]:
    """A new file that takes the place of `path` when the block ends, and disappears when the block fails."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "it is a folder or a device, not a file")
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    # Makes the new name last through a power cut. Not every system can do it, and the file is whole either way.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# Reading: what is wrong is a ValueError until `_opened` adds which file it is.


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    try:
        # Before opening: a pipe would wait for its writer.
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is a folder or a device, not a file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise ModelFileError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"cannot read {os.fspath(path)!r}: {error}; restore a copy or save it again") from error


def _check_limit(size: int, limit_bytes: int | None) -> None:
    if limit_bytes is not None and size > limit_bytes:
        raise ValueError(
            f"it has {size} bytes, more than the limit of {limit_bytes}: raise limit_bytes if you trust it"
        )
    free = available()
    if limit_bytes is None and free is not None and size > free:
        raise ValueError(f"it has {size} bytes, and {free} bytes of memory are free")


def _parse(file: BufferedReader) -> tuple[dict[str, Entry], dict[str, str], dict[str, object] | None]:
    """Entries in the order of the data, the metadata without its checksums, and these; leaves `file` at the data."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise ValueError(f"it has {size} bytes, and the length of the header alone takes 8")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, MAX_HEADER):
        raise ValueError(f"it declares a header of {length} bytes, and its size allows {min(size - 8, MAX_HEADER)}")
    text = file.read(length).decode()
    if not text.startswith("{"):
        raise ValueError("the header is not a JSON object")
    header = _json(text)

    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{METADATA} is not an object of text")
    pairs = sorted(((name, _entry(name, value)) for name, value in header.items()), key=lambda pair: pair[1][2:])
    position = 0
    for name, entry in pairs:
        if entry.begin != position:
            raise ValueError(f"tensor {name!r:.80} starts at byte {entry.begin} of the data, expected {position}")
        position = entry.end
    if position != size - 8 - length:
        raise ValueError(f"the tensors take {position} bytes, and the file has {size - 8 - length} for them")
    entries = dict(pairs)
    return entries, metadata, _checksums(entries, metadata)


def _json(text: str) -> dict[str, Any]:
    value = from_json(text, MAX_HEADER, _unique, "the header")
    if not isinstance(value, dict):
        raise ValueError("the header has another value where an object was expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the header has {key!r:.80} twice")
        for text in (key, value):
            if isinstance(text, str):
                text.encode()  # JSON can spell half a surrogate pair, which is no character and cannot be printed
        result[key] = value
    return result


def _entry(name: str, value: Any) -> Entry:
    def sizes(key: str, most: int) -> list[int]:
        numbers = value[key]
        if (
            not isinstance(numbers, list)
            or len(numbers) > most
            or not all(type(n) is int and 0 <= n < 2**63 for n in numbers)
        ):
            raise ValueError(f"tensor {name!r:.80} has no valid {key}")
        return numbers

    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r:.80} is not described by dtype, shape and data_offsets")
    if not isinstance(value["dtype"], str) or value["dtype"] not in DTYPES:
        raise ValueError(f"tensor {name!r:.80} has dtype {value['dtype']!r:.80}; NumPy has only {', '.join(DTYPES)}")
    shape, offsets = sizes("shape", MAX_DIMENSIONS), sizes("data_offsets", 2)
    itemsize = np.dtype(DTYPES[value["dtype"]]).itemsize
    # NumPy multiplies the sizes that are not 0 even where another one is.
    if itemsize * math.prod(n or 1 for n in shape) >= 2**63:
        raise ValueError(f"tensor {name!r:.80} has no valid shape")
    nbytes = itemsize * math.prod(shape)
    if len(offsets) != 2 or offsets[1] - offsets[0] != nbytes:
        raise ValueError(f"tensor {name!r:.80} has data_offsets {offsets}, and its shape needs {nbytes} bytes")
    return Entry(value["dtype"], tuple(shape), *offsets)


def _checksums(entries: Mapping[str, Entry], metadata: dict[str, str]) -> dict[str, object] | None:
    """Takes the checksums out of the metadata, after verifying the header's."""
    if metadata.keys().isdisjoint({TENSORS_SHA256, HEADER_SHA256}):
        return None
    seal = metadata.pop(HEADER_SHA256, None)
    if seal != _seal(entries, metadata):
        raise ValueError("the header does not match its checksum")
    checksums = _json(metadata.pop(TENSORS_SHA256, "{}"))
    if checksums.keys() != entries.keys():
        raise ValueError("the checksums are not those of its tensors")
    return checksums


def _load(file: BufferedReader, name: str, entry: Entry, checksums: Mapping[str, object] | None) -> NDArray[Any]:
    array = np.empty(entry.shape, DTYPES[entry.dtype])
    data = _bytes(array)
    if file.readinto(data) != data.nbytes:
        raise ValueError(f"the file ends inside tensor {name!r:.80}")
    if checksums is not None and checksums[name] != _sha256(data):
        raise ValueError(f"tensor {name!r:.80} does not match its checksum")
    if entry.dtype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"tensor {name!r:.80} is BOOL and has bytes other than 0 and 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# Both


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> str:
    tensors = {name: [entry.dtype, entry.shape] for name, entry in entries.items()}
    return _sha256(_canonical([metadata, tensors]).encode())
