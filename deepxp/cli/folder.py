"""The folder of a run: config.toml, data.json, metrics.jsonl, checkpoints, model.safetensors, result.json.

Each is whole or not there. One run at a time has it. A run that met NaN has last-good.safetensors in the
place of its model, and is not finished.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from shlex import quote
from tempfile import gettempdir
from typing import Any

from deepxp.bounded import from_json
from deepxp.checkpoints import file
from deepxp.checkpoints.lock import FolderLock
from deepxp.cli.report import as_json, write_whole
from deepxp.errors import ConfigError, DeepxpError, ModelFileError
from deepxp.network import Network
from deepxp.runs.run import CONFIG, EPOCHS, METRICS, MODEL, RESULT

DATA, LAST_GOOD = "data.json", "last-good.safetensors"
RUNS = Path("runs")
DATA_BYTES = 2**16
DRAWN = [f"{name}.{kind}" for name in ("curves", "norms", "confusion", "boundary") for kind in ("png", "svg", "pdf")]
WRITTEN = (
    MODEL,
    LAST_GOOD,
    METRICS,
    RESULT,
    *DRAWN,
    "boundary.gif",
    f"{EPOCHS}/epoch-*.safetensors",
    "tensorboard/events.*",
)


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
            if (self.path / LAST_GOOD).exists():
                raise failed(self.path)
            return
        if (self.path / MODEL).exists():
            raise DeepxpError(f"{self.path} already holds a model; choose another --out, or --force to replace it")
        if (self.path / LAST_GOOD).exists():
            raise DeepxpError(f"{self.path} holds a run that met NaN; choose another --out, or --force to replace it")
        if file.files(self.path):
            raise DeepxpError(
                f"{self.path} already holds a run that is not finished; --resume goes on with it, --force begins anew"
            )

    @property
    def model(self) -> Path:
        """The path of the model."""
        assert self.path is not None
        return self.path / MODEL

    def open(self, config: str, about: Mapping[str, str]) -> Path:
        """Make the folder, take its lock, and write its config.toml and what its data are known by; a run that goes on
        writes the former when it does.

        Raises DeepxpError where that is not possible, LockedError where another run is at work in it, ConfigError where
        a run without a checkpoint is one of other data.
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
            if self.resume:
                self._check_data(about)
            written = [path for pattern in WRITTEN for path in self.path.glob(pattern)]
            for old in (*written, *file.files(self.path)):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise DeepxpError(
                f"{error.filename or self.path}: cannot be made: {error.strerror}; choose another folder with --out"
            ) from None
        write_whole(self.path / CONFIG, config)
        write_whole(self.path / DATA, as_json(about) + "\n")
        return self.path

    def _check_data(self, about: Mapping[str, str]) -> None:
        """Raises ConfigError where the run is known to be one of other data. With a checkpoint, that tells."""
        assert self.path is not None
        if not (self.path / DATA).is_file():
            return
        try:
            with (self.path / DATA).open("rb") as known:
                was = from_json(known.read(DATA_BYTES + 1).decode(), DATA_BYTES)
        except (OSError, ValueError):  # of a run that was killed before it wrote it
            return
        if isinstance(was, dict) and any(was.get(name) != about[name] for name in ("samples", "targets")):
            raise ConfigError(
                f"the run in {self.path} is one of other data than {about['data']} holds now; begin another run with "
                "another --out, or this one anew with --force"
            )

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

    def save(self, net: Network, notes: Mapping[str, Any], name: str = MODEL) -> Path:
        """Write the model, and the folder again, if it vanished while the run was at work. Returns its path.

        Raises ModelFileError where that is not possible; the model is then in the current folder, or else in that for
        temporary files, if one of them takes it, and the error says where.
        """
        model = self.model.with_name(name)
        with suppress(OSError):
            model.parent.mkdir(parents=True, exist_ok=True)
        try:
            net.save(model, notes=notes)
            return model
        except ModelFileError as error:
            failed = error
        for place in (Path.cwd(), Path(gettempdir())):
            names = (place / f"{model.parent.name}-model-{number}.safetensors" for number in count(1))
            path = next(path for path in names if not path.exists())
            with suppress(ModelFileError):
                net.save(path, notes=notes)
                raise DeepxpError(f"{failed}; the model is in {path} instead")
        raise failed


def finished(folder: Path) -> ConfigError:
    """What is said of a run that has its model."""
    return ConfigError(f"{folder} is finished; there is nothing to go on with, and --force begins it anew")


def failed(folder: Path) -> ConfigError:
    """What is said of a run that met NaN: it would meet it again."""
    return ConfigError(
        f"the run in {folder} met NaN or infinity, and would again, as a run goes on to the same bits; begin it anew "
        f"with --force and a smaller --lr, --clip-norm 1 or --on-nonfinite skip; {folder / LAST_GOOD} is its model "
        "from before that"
    )


def model_in(path: str) -> str:
    """The model of a run, where its folder is given in its place. Raises ConfigError where it has none."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    if (folder / MODEL).is_file():
        return str(folder / MODEL)
    if (folder / LAST_GOOD).is_file():
        raise ConfigError(f"the run in {folder} met NaN or infinity; its model from before is {folder / LAST_GOOD}")
    if (folder / CONFIG).is_file():
        raise ConfigError(f"the run in {folder} is not finished; go on with: deepxp train --resume --out {quote(path)}")
    raise ConfigError(f"{folder} is a folder without {MODEL}, and so none of a run")


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
