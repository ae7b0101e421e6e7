"""The settings of `deepxp train`: one table, from which its flags, its config file's keys and its defaults come."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from deepxp.backend import FULL, PRECISIONS
from deepxp.checkpoints.saver import Interval
from deepxp.data.scaling import KINDS
from deepxp.errors import ConfigError
from deepxp.hyperparameters import DTYPES
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.losses import LOSSES
from deepxp.optimizers import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class Kind:
    """What a setting may be: `allowed` completes "must be ...", `read` takes the text of a flag or a value of TOML."""

    allowed: str
    read: Callable[[Any], Any]  # raises ValueError or TypeError for what does not fit


def _whole(low: int) -> Kind:
    def read(value: Any) -> int:
        number = int(value) if isinstance(value, str) else operator.index(value)
        if isinstance(value, bool) or number < low:
            raise ValueError(value)
        return number

    return Kind(f"a whole number, {low} or more", read)


def _number(allowed: str, fits: Callable[[float], bool]) -> Kind:
    def read(value: Any) -> float:
        number = float(value)
        if isinstance(value, bool) or not fits(number):
            raise ValueError(value)
        return number

    return Kind(allowed, read)


def _choice(*names: str) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(value)
        return str(value)

    return Kind(f"one of {', '.join(names)}", read)


def _text(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError(value)
    return str(value)


def _bytes(value: Any) -> int:
    found = BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return int(_whole(1).read(value))
    power = " kmgt".index(found[2].lower() or " ")
    return _whole(1).read(int(float(found[1]) * (1024 if found[3] else 1000) ** power))  # type: ignore[no-any-return]


def _sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = [] if value.strip() in ("", "none") else value.split(",")
    return tuple(map(_whole(1).read, value if isinstance(value, list | tuple) else [value]))


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [] if value.strip() in ("", "none") else value.split(",")
    return tuple(_text(name).strip() for name in (value if isinstance(value, list | tuple) else [value]))


def _header(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else _choice("auto", "yes", "no").read(value)


def _delimiter(value: Any) -> str:
    mark = {"tab": "\t", "\\t": "\t", "space": " "}.get(value, value)
    if not isinstance(mark, str) or len(mark) != 1:
        raise ValueError(value)
    return mark


def _interval(value: Any) -> str:
    Interval.of(value)  # raises ConfigError, a ValueError
    return str(value)


def read_flag(name: str, kind: Kind, text: str | None) -> Any:
    """The value of a flag that is no row of the table; None where it was not given. Raises ConfigError."""
    if text is None:
        return None
    try:
        value = kind.read(text)
    except ValueError:
        value = ()
    if value == ():
        raise ConfigError(f"--{name} must be {kind.allowed.removesuffix(', or none')}, got {text!r}")
    return value


BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)
FRACTION = _number("a fraction, at least 0 and below 1", lambda x: 0 <= x < 1)
WHOLE = _whole(1)
POSITIVE = _number("a positive number", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = _number("a number, 0 or more", lambda x: 0 <= x < math.inf)
TEXT = Kind("text", _text)
CHARACTER = Kind("one character, or tab", _delimiter)
HEADER = Kind("true, false or 'auto'", _header)
INTERVAL = Kind("such as 2min, 1epoch, 500steps, or none", _interval)
SIZE = Kind("a number of bytes such as 500M, 2G, 2GiB or 2000000000", _bytes)
NAMES = Kind("columns such as id,date, or none", _names)
SIZES = Kind("sizes such as 256,128, or none", _sizes)

SCALE = (
    "inputs: standard (mean 0, deviation 1), minmax (0 to 1), range (divided by the largest), none, or auto: "
    "range for bytes, as in images, else standard"
)
SCALE_TARGET = "numbers to predict are learned with mean 0 and deviation 1, or none: in their own unit"
SCHEDULE = "of the learning rate: constant, cosine (falls to 0), step (a tenth after each third of the run)"
BATCH = "samples in a step (64; of small data fewer, so that an epoch has 20 steps)"
IGNORE = "columns of a table that are no features, such as dates; by name, or by number from 1"
CATEGORIES = "columns of a table whose words become features of 0 and 1, one for each word"
LIMIT = "the most memory that a file may ask for (64 times its size, at least 256 MiB, at most 8 GiB)"
BALANCED = "balanced: rare classes count as much as frequent ones"
PRECISION = "of products on a GPU: fp32, tf32, bf16, fp16 (shorter, less exact; the weights stay float32)"
NONFINITE = "where a batch gives NaN or infinity: stop, or skip it, and say so"
PATIENCE = "stop after N epochs in which the validation loss has not fallen, and keep the best weights"
EVERY = "time between checkpoints, or such as 1epoch, 500steps, none: only when it is stopped"

KEEP = "keep the weights of every N-th epoch, for deepxp plot --boundary"


def option(group: str, default: Any, kind: Kind, metavar: str, help: str) -> Any:
    """A row of the table."""
    return field(default=default, metadata={"group": group, "kind": kind, "metavar": metavar, "help": help})


@dataclass(frozen=True)
class Settings:
    """What a run is made of. None: not asked for, or, until the data are known, chosen by them."""

    data: str | None = option("data", None, TEXT, "DATA", "a file of samples; without it the bundled digits")
    target: str | None = option("data", None, TEXT, "COLUMN", "what to predict, by name or number (the last column)")
    ignore: tuple[str, ...] = option("data", (), NAMES, "COL,COL", IGNORE)
    categories: tuple[str, ...] = option("data", (), NAMES, "COL,COL", CATEGORIES)
    labels: str | None = option("data", None, TEXT, "FILE", "the targets alone: .npy, idx, or text with one per line")
    delimiter: str | None = option("data", None, CHARACTER, "CHAR", "what separates the cells of a table, or tab")
    header: str = option("data", "auto", HEADER, "", "whether a table starts with column names")
    limit_bytes: int | None = option("data", None, SIZE, "SIZE", LIMIT)
    test: float = option("data", 0.2, FRACTION, "X", "part of the rows held out; data with a test part use that")
    validation: float = option("data", 0.1, FRACTION, "X", "part of the remaining rows that is watched")
    scale: str = option("data", "auto", _choice(*KINDS), "KIND", SCALE)
    scale_target: str = option("data", "standard", _choice("standard", "none"), "KIND", SCALE_TARGET)
    hidden: tuple[int, ...] = option("network", (256, 128), SIZES, "N,N", "units of the hidden layers, or none")
    activation: str = option("network", "relu", _choice(*ACTIVATIONS), "NAME", ", ".join(ACTIVATIONS))
    dropout: float = option("network", 0.0, FRACTION, "X", "part of the hidden units dropped while training")
    loss: str = option(
        "network", "auto", _choice("auto", *LOSSES), "NAME", f"{', '.join(LOSSES)}; auto: by the targets"
    )
    dtype: str = option("network", "float32", _choice(*DTYPES), "TYPE", " or ".join(DTYPES))
    epochs: int = option("training", 30, _whole(1), "N", "how often all samples are seen")
    batch_size: int | None = option("training", None, _whole(1), "N", BATCH)
    optimizer: str = option("training", "adam", _choice(*OPTIMIZERS), "NAME", ", ".join(OPTIMIZERS))
    lr: float | None = option("training", None, POSITIVE, "X", "learning rate (by the optimizer: adam 0.002, sgd 0.1)")
    momentum: float | None = option("training", None, FRACTION, "X", "of the optimizers momentum and nesterov (0.9)")
    weight_decay: float | None = option("training", None, NOT_NEGATIVE, "X", "of the optimizer adamw (0.01)")
    schedule: str = option("training", "cosine", _choice(*SCHEDULES), "NAME", SCHEDULE)
    warmup: float = option("training", 1.0, NOT_NEGATIVE, "N", "epochs in which the learning rate rises to its value")
    l2: float = option("training", 0.0, NOT_NEGATIVE, "X", "adds X/2 times the squares of the weights to the loss")
    clip_norm: float | None = option("training", None, POSITIVE, "X", "the greatest length of a gradient")
    class_weight: str = option("training", "none", _choice("none", "balanced"), "KIND", BALANCED)
    patience: int | None = option("training", None, _whole(1), "N", PATIENCE)
    on_nonfinite: str = option("training", "stop", _choice("stop", "skip"), "KIND", NONFINITE)
    device: str = option("run", "auto", TEXT, "NAME", "cpu, gpu, gpu:N, or auto: a GPU where one is usable")
    precision: str = option("run", FULL, _choice(*PRECISIONS), "KIND", PRECISION)
    seed: int = option("run", 0, _whole(0), "N", "of the weights, the order of the samples, dropout and the split")
    out: str | None = option("run", None, TEXT, "FOLDER", "for the results (runs/DATA-1, then -2, and so on)")
    checkpoint_every: str = option("run", "2min", INTERVAL, "TIME", EVERY)
    checkpoint_keep: int = option("run", 3, _whole(1), "N", "checkpoints that are kept, beside the best")
    keep_epochs: int | None = option("run", None, _whole(1), "N", KEEP)


ROWS: "dict[str, Field[Any]]" = {row.name.replace("_", "-"): row for row in fields(Settings)}
"""The rows, by the name of the flag and of the key in a config file."""

CHECKED = ROWS.keys() & {
    *("target", "ignore", "categories", "labels", "delimiter", "header", "limit-bytes", "scale", "scale-target"),
    *("hidden", "activation", "dropout", "loss", "dtype", "seed", "device"),
}
"""The rows that `deepxp check` takes as well."""
