"""The file of a checkpoint: a run as it is between two steps, from which it goes on to the same bits.

A safetensors file with a checksum of every tensor and of the header. Tensors: `theta`; `state0`, ... of the optimizer;
`good`, the weights after the last whole epoch; `best`, where early stopping keeps them; `unread`, losses that a device
has not been asked for yet; `loss_scale`, in float16. All else is one JSON text in its metadata: the counters, on which
alone the random streams depend; the history; the configuration that the run must have to go on; the versions that it
was computed with.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepxp import safetensors
from deepxp.checkpoints.position import Position
from deepxp.errors import DeepxpError, ModelFileError
from deepxp.ops.typing import Array

FORMAT = 1
METADATA = "deepxp.checkpoint"
NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
TEMPORARY = ".*.tmp"  # what a kill leaves of a file that was being written


@dataclass(frozen=True)
class About:
    """What a checkpoint says beside its tensors. `t` steps have been done in this run, and `epochs` in the network's
    life: the counters of the random streams; `config` is what the run must have to go on."""

    t: int
    epochs: int
    position: Position
    config: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def score(self) -> float:
        """What the best checkpoint has least of: the loss on the validation data, or else in training, of the last
        whole epoch."""
        if not self.position.records:
            return math.inf
        record = self.position.records[-1]
        score = record.get("validation_loss", record["loss"])
        return score if math.isfinite(score) else math.inf


def files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, by the number of steps in their names."""
    found = {path: name for path in folder.glob("checkpoint-*") if (name := NAME.fullmatch(path.name))}
    return sorted(found, key=lambda path: int(found[path][1]))


def write(folder: Path, about: About, tensors: Mapping[str, Array]) -> Path:
    """The path of the new file, which is whole. Raises ModelFileError where it cannot be written."""
    path = folder / f"checkpoint-{about.t:09d}.safetensors"
    safetensors.write(path, tensors, {METADATA: json.dumps({"format": FORMAT, **asdict(about)})})
    return path


def read(path: Path) -> tuple[About, dict[str, Array]]:
    """What it says and its tensors. Raises ModelFileError for anything but a whole checkpoint."""
    tensors, metadata = safetensors.read(path)
    return _about(path, metadata), tensors


def prune(paths: list[Path], keep: int) -> None:
    """Remove all but the last `keep` and the best; of the equally good ones the oldest is the best."""
    if len(paths) > keep:
        kept = {*paths[-keep:], min(paths, key=_score)}
        for path in set(paths) - kept:
            with suppress(OSError):
                path.unlink()


def remove_temporary(folder: Path) -> None:
    """Take away what a kill left half-written. Only for who holds the lock of the folder."""
    for path in folder.glob(TEMPORARY):
        with suppress(OSError):
            path.unlink()


def _score(path: Path) -> float:
    try:
        return _about(path, safetensors.read_header(path)[1]).score
    except DeepxpError:
        return math.inf


def _about(path: Path, metadata: Mapping[str, str]) -> About:
    try:
        about = json.loads(metadata[METADATA])
        number = about.pop("format")
        if number != FORMAT:
            raise ValueError(f"its format is {number!r:.80}, and this deepxp reads {FORMAT}")
        if about["position"].keys() != vars(Position()).keys():
            raise ValueError("it does not say where the run is")
        position = about["position"] = Position(**about["position"])
        _check(About(**about), position)
        return About(**about)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: is not a checkpoint that can be gone on from: {error}") from None


def _check(about: About, position: Position) -> None:
    """Raises ValueError for what no run writes."""
    whole = (about.t, about.epochs, position.epoch, position.steps, position.best_epoch, *position.skipped)
    records, numbers = position.records, [position.loss, position.seconds, position.best_loss]
    if not all(type(n) is int and 0 <= n < 2**63 for n in whole) or len(position.skipped) != 3:
        raise ValueError("its counters are not whole numbers")
    if not (isinstance(records, list) and len(records) == position.epoch):
        raise ValueError("its history does not have a record for each epoch")
    for record in records:
        numbers += [record["loss"], *record.values()]
    if not all(type(x) in (int, float) for x in numbers):
        raise ValueError("its history holds what is no number")
    if not (isinstance(about.config, dict) and isinstance(about.versions, dict)):
        raise ValueError("it does not say what it is of")
