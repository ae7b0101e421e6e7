"""A folder that one process at a time writes into: the lock is held on a file in it, and ends with the process."""

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from deepxp.errors import LockedError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not POSIX: nothing is locked there
    fcntl = None

NAME = ".lock"


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process, however it ends; who acquires it twice has to
    release it twice. A context manager.

    The file is taken away on release. A kill leaves it behind, unlocked, and the next run takes it over.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._handle: int | None = None
        self._depth = 0

    def acquire(self) -> None:
        """Take the lock of a folder that exists.

        Raises LockedError where another run has it, OSError where the file cannot be made.
        """
        while self._handle is None and fcntl is not None:
            handle = os.open(self.folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_there(handle):
                    self._handle = handle
            except BlockingIOError:
                raise LockedError(
                    f"{self.folder} is in use by another run; wait for it to end, or choose another folder"
                ) from None
            except OSError:  # a file system without locks
                break
            finally:
                if self._handle is None:
                    os.close(handle)
        self._depth += 1

    def _is_there(self, handle: int) -> bool:
        """Is the locked file still the one of that name? Whoever held it before may have taken it away meanwhile."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.folder / NAME))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        self._depth -= 1
        if self._depth == 0 and self._handle is not None:
            with suppress(OSError):
                os.unlink(self.folder / NAME)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FolderLock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
