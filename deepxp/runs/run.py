"""A run as its folder tells of it: the history, and what is known when it has ended."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepxp import modelfile
from deepxp.bounded import TOML_BYTES, from_json, from_toml
from deepxp.errors import DataError
from deepxp.history import History

CONFIG, METRICS, RESULT, MODEL, EPOCHS = "config.toml", "metrics.jsonl", "result.json", modelfile.MODEL, "epochs"
MOST_OF_A_LINE, MOST_OF_A_RESULT, MOST_OF_METRICS = 2**18, 2**24, 2**26  # characters
MOST_NUMBERS = 2**22  # of all epochs
MOST_CLASSES = 1000  # of a confusion matrix: of more, nobody could see anything


@dataclass(frozen=True)
class Result:
    """What is known when a run has ended, beside its history: the file result.json.

    `metrics` are those of the `part`, "test" or "validation", that the network was not trained on, if there is one;
    `confusion` has [true class, predicted class, samples] of it for all pairs that occur.
    """

    command: str
    when: str
    device: str
    data: str
    network: str
    training: str
    versions: dict[str, str]
    parts: dict[str, int]
    best_epoch: int | None
    stopped_early: bool
    part: str | None
    metrics: dict[str, float]
    classes: list[str] | None
    confusion: list[list[int]] | None
    notes: list[str]

    def matrix(self) -> np.ndarray | None:
        """C[i, j]: of class i so many samples were taken for class j. None where there is none that can be shown."""
        if self.confusion is None or self.classes is None or len(self.classes) > MOST_CLASSES:
            return None
        C = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for i, j, samples in self.confusion:
            C[i, j] = samples
        return C


@dataclass(frozen=True)
class Run:
    """`settings` are the keys of config.toml, `result` is None of a run that has not ended."""

    folder: Path
    history: History
    settings: Mapping[str, Any]
    result: Result | None = None

    @property
    def name(self) -> str:
        return self.folder.name or self.folder.absolute().name


def counts(C: np.ndarray) -> list[list[int]]:
    """The pairs of classes of a confusion matrix that occur, each with its samples."""
    return [[int(i), int(j), int(C[i, j])] for i, j in np.argwhere(C)]


def read(folder: Path) -> Run:
    """The run in a folder that `deepxp train` wrote, also of one that is still at work or was stopped.

    Raises DataError for anything else.
    """
    if not (folder / METRICS).is_file():
        missing = "there is no such folder" if not folder.is_dir() else f"it has no {METRICS}: no epoch has ended"
        raise DataError(f"{folder} is not a run that can be drawn: {missing}")
    records = [
        _record(folder / METRICS, k, line)
        for k, line in enumerate(_text(folder / METRICS, MOST_OF_METRICS).splitlines(), 1)
    ]
    if not records:
        raise DataError(f"{folder / METRICS} is empty: no epoch has ended")
    names = dict.fromkeys(name for record in records for name in record)
    if len(names) * len(records) > MOST_NUMBERS:
        raise DataError(f"{folder / METRICS}: {len(records)} epochs of {len(names)} numbers are more than a run writes")
    records = [{name: record.get(name, math.nan) for name in names} for record in records]
    settings: dict[str, Any] = {}
    if (folder / CONFIG).is_file():
        try:
            settings = from_toml(_text(folder / CONFIG, TOML_BYTES))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{folder / CONFIG}: is not TOML: {error}") from None
    if not (folder / RESULT).is_file():
        return Run(folder, History(records), settings)
    result = _result(folder / RESULT)
    return Run(folder, History(records, result.best_epoch, result.stopped_early), settings, result)


def dumps(result: Result) -> str:
    """The text of result.json; numbers that are not finite are null."""
    values = asdict(result)
    values["metrics"] = {name: x if math.isfinite(x) else None for name, x in result.metrics.items()}
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def _text(path: Path, most: int) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(most + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'is not text'}") from None
    if len(text) > most:
        raise DataError(f"{path}: is longer than {most} characters; this is not what deepxp train wrote")
    return text


def _record(path: Path, line: int, text: str) -> dict[str, float]:
    try:
        found = from_json(text, MOST_OF_A_LINE, what=f"line {line}")
        record = {str(name): math.nan if x is None else float(x) for name, x in found.items()}
        if not {"epoch", "loss"} <= record.keys() or not (1 <= record["epoch"] < 2**53 and record["epoch"] % 1 == 0):
            raise ValueError("it has no epoch or no loss")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}, line {line}: is not the record of an epoch: {error}") from None
    return record


def _result(path: Path) -> Result:
    try:
        found = from_json(_text(path, MOST_OF_A_RESULT), MOST_OF_A_RESULT)
        found["metrics"] = {name: math.nan if x is None else x for name, x in found["metrics"].items()}
        result = Result(**found)
        _check(result)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: does not say how a run ended: {error}") from None
    return result


def _check(result: Result) -> None:
    """Raises ValueError for what no run writes."""
    texts = [result.command, result.when, result.device, result.data, result.network, result.training, *result.notes]
    texts += [*result.versions.values(), *(result.classes or ())]
    whole = [*result.parts.values(), *(n for row in result.confusion or () for n in row)]
    if not all(isinstance(text, str) for text in [*texts, result.part or ""]):
        raise ValueError("what should be text is none")
    if not all(type(n) is int and 0 <= n < 2**63 for n in [*whole, result.best_epoch or 0]):
        raise ValueError("its counts are not whole numbers")
    if not all(type(x) in (int, float) and not math.isinf(x) for x in result.metrics.values()):
        raise ValueError("its metrics are not numbers")
    C = len(result.classes or ())
    if not all(len(row) == 3 and max(row[:2]) < C for row in result.confusion or ()):
        raise ValueError("its confusion matrix is not one of its classes")
