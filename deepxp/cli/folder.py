"""The folder of a run: config.toml, metrics.jsonl, model.safetensors, curves.png, each whole or not there."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from deepxp.cli.report import as_json, write_whole
from deepxp.errors import DeepxpError

CONFIG, METRICS, MODEL, CURVES = "config.toml", "metrics.jsonl", "model.safetensors", "curves.png"


class Folder:
    """Where a run writes. Made, and emptied of an earlier run, by `open`, when all else is known to be in order."""

    def __init__(self, out: str | None, name: str, *, force: bool) -> None:
        self.path = None if out is None else Path(out)
        self.name = name
        if self.path is not None and not force and (self.path / MODEL).exists():
            raise DeepxpError(f"{self.path} already holds a model; choose another --out, or --force to replace it")

    @property
    def model(self) -> Path:
        """The path of the model."""
        assert self.path is not None
        return self.path / MODEL

    def open(self, config: str) -> Path:
        """Make the folder and write its config.toml; raises DeepxpError where that is not possible."""
        try:
            if self.path is None:
                self.path = _numbered(Path("runs"), self.name)
            self.path.mkdir(parents=True, exist_ok=True)
            for old in (MODEL, METRICS, CURVES):
                (self.path / old).unlink(missing_ok=True)
        except OSError as error:
            raise DeepxpError(
                f"{error.filename or self.path}: cannot be made: {error.strerror}; choose another folder with --out"
            ) from None
        write_whole(self.path / CONFIG, config)
        return self.path

    def record(self, record: Mapping[str, float]) -> None:
        """Add a line to metrics.jsonl, in one write."""
        assert self.path is not None
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(as_json(record) + "\n")


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
