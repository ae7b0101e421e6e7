"""The folder of a run: config.toml, metrics.jsonl, checkpoints, model.safetensors, result.json.

Each is whole or not there. One run at a time has it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from deepxp.checkpoints import file
from deepxp.checkpoints.lock import FolderLock
from deepxp.cli.report import as_json, write_whole
from deepxp.errors import ConfigError, DeepxpError, ModelFileError
from deepxp.network import Network
from deepxp.runs.run import CONFIG, EPOCHS, METRICS, MODEL, RESULT

RUNS = Path("runs")
WRITTEN = (MODEL, METRICS, RESULT, "curves.png", f"{EPOCHS}/epoch-*.safetensors", "tensorboard/events.*")


class Folder:
    """Where a run writes. Made, and emptied of an earlier run, by `open`, when all else is known to be in order."""

    def __init__(self, out: str | None, name: str, *, force: bool, resume: bool = False) -> None:
        self.path = None if out is None else Path(out)
        self.name, self.force, self.resume = name, force, resume
        self.lock: FolderLock | None = None
        self._check()

    def _check(self) -> None:
        if self.path is None or self.force:
            return
        if self.resume:
            if (self.path / MODEL).exists():
                raise finished(self.path)
            return
        if (self.path / MODEL).exists():
            raise DeepxpError(f"{self.path} already holds a model; choose another --out, or --force to replace it")
        if file.files(self.path):
            raise DeepxpError(
                f"{self.path} already holds a run that is not finished; --resume goes on with it, --force begins anew"
            )

    @property
    def model(self) -> Path:
        """The path of the model."""
        assert self.path is not None
        return self.path / MODEL

    def open(self, config: str) -> Path:
        """Make the folder, take its lock, and write its config.toml; a run that goes on writes it when it does.

        Raises DeepxpError where that is not possible, LockedError where another run is at work in it.
        """
        try:
            if self.path is None:
                self.path = _numbered(RUNS, self.name)
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(self.path)
            lock.acquire()
            self.lock = lock
            self._check()  # again: another run may have ended since
            file.remove_temporary(self.path)
            if self.resume and file.files(self.path):
                return self.path
            written = [path for pattern in WRITTEN for path in self.path.glob(pattern)]
            for old in (*written, *file.files(self.path)):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise DeepxpError(
                f"{error.filename or self.path}: cannot be made: {error.strerror}; choose another folder with --out"
            ) from None
        write_whole(self.path / CONFIG, config)
        return self.path

    def close(self) -> None:
        """Give the lock back, if it was taken."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def go_on(self, config: str, records: Sequence[Mapping[str, float]]) -> None:
        """Write the config.toml of a run that goes on, and the metrics as far as it goes on from them."""
        assert self.path is not None
        write_whole(self.path / METRICS, "".join(as_json(record) + "\n" for record in records))
        write_whole(self.path / CONFIG, config)

    def record(self, record: Mapping[str, float]) -> None:
        """Add a line to metrics.jsonl, in one write. Raises OSError."""
        assert self.path is not None
        with (self.path / METRICS).open("a", encoding="utf-8") as metrics:
            metrics.write(as_json(record) + "\n")

    def save(self, net: Network, notes: Mapping[str, Any]) -> None:
        """Write the model, and the folder again, if it vanished while the run was at work.

        Raises ModelFileError where that is not possible; the model is then in the current folder, or else in that for
        temporary files, if one of them takes it, and the error says where.
        """
        with suppress(OSError):
            self.model.parent.mkdir(parents=True, exist_ok=True)
        try:
            return net.save(self.model, notes=notes)
        except ModelFileError as error:
            failed = error
        for place in (Path.cwd(), Path(gettempdir())):
            names = (place / f"{self.model.parent.name}-model-{number}.safetensors" for number in count(1))
            path = next(path for path in names if not path.exists())
            with suppress(ModelFileError):
                net.save(path, notes=notes)
                raise DeepxpError(f"{failed}; the model is in {path} instead")
        raise failed


def finished(folder: Path) -> ConfigError:
    """What is said of a run that has its model."""
    return ConfigError(f"{folder} is finished; there is nothing to go on with, and --force begins it anew")


def _numbered(parent: Path, name: str) -> Path:
    """The first of `name-1`, `name-2`, ... that does not exist, made."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        try:
            (path := parent / f"{name}-{number}").mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError
