"""The bytes and the lines of a file, unpacked when its name ends in .gz; whatever the disk says becomes a DataError."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import BadZipFile

from deepxp.data.readers.options import limit_of
from deepxp.errors import DataError

DEFLATE_RATIO = 1032
"""No deflate stream unpacks to more than this many times its size (zlib, technical details)."""


def is_packed(path: Path) -> bool:
    """Whether the bytes of `path` are gzipped, by its name."""
    return path.suffix.lower() == ".gz"


def check_readable(path: Path) -> None:
    """Raise DataError unless `path` is a file with something in it."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the file inside it")
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes)")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The unpacked bytes of `path`; a failing disk or a damaged archive inside the block is raised as DataError."""
    check_readable(path)
    try:
        # Not in a BufferedReader: NumPy would take that for a plain file and read the packed bytes behind it.
        with cast(BinaryIO, gzip.GzipFile(path)) if is_packed(path) else path.open("rb") as stream:
            yield stream
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except (OSError, EOFError, zlib.error, BadZipFile) as error:
        raise DataError(f"{path}: is damaged or not what its name says: {error!s:.200}") from error


def most_bytes(path: Path) -> int:
    """The most bytes that `path` can unpack to: what a header declares is held against it before memory is taken."""
    return path.stat().st_size * (DEFLATE_RATIO if is_packed(path) else 1)


def check_limit(path: Path, nbytes: int, limit: int | None) -> None:
    """Raise DataError if `nbytes` are more than the `limit` on one file, which the caller may have set."""
    most = limit_of(path.stat().st_size, None) if limit is None else limit
    if nbytes > most:
        raise DataError(
            f"{path}: needs {nbytes / 2**20:,.0f} MiB unpacked, more than the limit of {most / 2**20:,.0f} MiB; "
            "raise limit_bytes if the file is to be trusted"
        )


LONGEST_LINE = 2**20
"""A line may be this long, or a 64th of the limit, if that is longer: its cells are objects of 60 bytes for a while."""


def text_lines(path: Path, limit: int | None) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends; line k of the file is the k-th one, counted from 1.

    A byte order mark is dropped, and a comment line (its first character is #) arrives blank, so that numbers hold.
    Raises DataError, with the line, for bytes that are not UTF-8, for a line that is too long, and once more than
    `limit` bytes were unpacked.
    """
    total = 0
    with opened(path) as stream:
        most = limit_of(path.stat().st_size, limit)
        longest = max(LONGEST_LINE, most // 64)
        for number in count(1):
            raw = stream.readline(min(longest, most - total) + 1)
            if not raw:
                return
            total += len(raw)
            check_limit(path, total, most)
            if len(raw) > longest:
                raise DataError(f"{path}:{number}: is longer than {longest} bytes; raise limit_bytes to 64 times that")
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: byte 0x{raw[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
                ) from error
            yield "\n" if line.lstrip(" ").startswith("#") else line
