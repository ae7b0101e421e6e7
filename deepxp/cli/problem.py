"""What is to be learned: data in parts, with targets as a loss takes them, and the loss that fits them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from deepxp import data, rng
from deepxp.checkpoints.config import fingerprint
from deepxp.cli.options import Settings
from deepxp.cli.report import count
from deepxp.data.places import in_file
from deepxp.data.readers.options import BY_POSITION, Columns
from deepxp.errors import ConfigError, DataError
from deepxp.network import Network

SOFTMAX, SIGMOID, SQUARED = "softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"
TRAINED_BY, DIGITS, STRATIFIED = "deepxp train", "digits", "stratified"
SEEN = 4096  # rows of a table that are looked at, to know it again
WORDS = {
    "classes": "one class for each sample",
    "multilabel": "several labels at once",
    "probabilities": "probabilities of classes",
    "numbers": "numbers",
}


class Part(NamedTuple):
    """Columns X (n, m) and their targets, ready for `deepxp.train`: X is a view of the table."""

    X: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Problem:
    """The parts of a data set and what the network that learns it needs; `features` and `outputs` are its ends."""

    name: str
    kind: str
    loss: str
    outputs: int
    classes: tuple[str, ...] | None
    table: data.Dataset  # the training part as it was read, to fit a scaler on
    train: Part
    validation: Part | None
    test: Part | None
    notes: Mapping[str, Any]  # for the model file
    about: Mapping[str, Any]  # what these data can be known by again
    stratified: bool  # whether rows were held out, of each class its share

    @property
    def features(self) -> int:
        return int(self.train.X.shape[0])

    def network(self, settings: Settings, **more: Any) -> Network:
        """The network that the settings describe, with its scaler fitted on the training part."""
        scaler = data.Scaler.fit(self.table.X, settings.scale, self.table.where)
        y, unit = np.asarray(self.table.y), None
        if self.loss == SQUARED and settings.scale_target != "none":
            unit = data.Scaler.fit(y[:, None] if y.ndim == 1 else y, settings.scale_target, self.table.where_y)
        return Network(
            (self.features, *settings.hidden, self.outputs),
            settings.activation,
            self.loss,
            seed=settings.seed,
            dtype=settings.dtype,
            dropout=settings.dropout,
            scaler=scaler,
            target_scaler=unit,
            classes=self.classes,
            **more,
        )

    def __str__(self) -> str:
        what = {"classes": "class", "multilabel": "label", "probabilities": "class"}.get(self.kind)
        targets = (
            count(len(self.classes), what) if what and self.classes else f"{count(self.outputs, 'number')} to predict"
        )
        name = self.table.target
        if name is not None:
            name = f"column {name + 1}" if isinstance(name, int) else name
            targets += f" of {name}" if self.classes else f": {name}"
        m = sum(part.X.shape[1] for part in (self.train, self.validation, self.test) if part)
        return f"{self.name}: {count(m, 'sample')}, {count(self.features, 'feature')}, {targets}"


def load(settings: Settings, n_features: int | None = None, columns: Columns = BY_POSITION) -> data.Dataset:
    """The data set that the settings name, or the bundled digits. Raises DataError where a feature is not finite."""
    if settings.data is None:
        return data.digits()
    header: Any = settings.header
    found = data.load(
        settings.data,
        target=settings.target,
        labels=settings.labels,
        header=header,
        delimiter=settings.delimiter,
        n_features=n_features,
        limit_bytes=settings.limit_bytes,
        columns=columns,
        ignore=settings.ignore,
        categories=settings.categories,
    )
    for X, where in ((found.X, found.where), (found.X_test, in_file(f"{found.name}, test part"))):
        if X is not None and X.dtype.kind == "f" and not np.isfinite(X).all():
            i, j = np.argwhere(~np.isfinite(X))[0]
            raise DataError(f"{where(int(i))}, feature {j + 1}: {X[i, j]} is not a finite number")
    return found


def problem(settings: Settings) -> Problem:
    """The data read, encoded and split. Classes are those of the whole data set, so that no part can miss one."""
    dataset = load(settings)
    if dataset.y is None:
        raise DataError(f"{dataset.name}: has no targets to learn; name their file with --labels")
    targets = _encode(dataset.y, settings.loss, dataset.where_y)
    loss, outputs = _fitting(settings.loss, targets, dataset.name)
    if dataset.y_test is not None:
        where = in_file(f"{dataset.name}, test part")
        own = data.encode_targets(dataset.y_test, kind=targets.kind, classes=targets.classes, where=where)
        dataset = replace(dataset, y_test=own.y)
    rest = 1.0 if dataset.X_test is not None else 1.0 - settings.test
    parts = data.split(
        replace(dataset, y=targets.y),
        order=rng.split(settings.seed, len(dataset.X)),
        test=settings.test,
        validation=settings.validation * rest,
        labels=targets.y if targets.kind == "classes" else None,
    )
    train, validation, test = (_part(part) if part else None for part in parts)
    assert train is not None
    return Problem(
        dataset.name,
        targets.kind,
        loss,
        outputs,
        targets.classes,
        parts.train,
        train,
        validation,
        test,
        _notes(settings, dataset) | {"fingerprint": known_by(dataset.X)},
        {"data": dataset.name, "samples": known_by(dataset.X), "targets": fingerprint([targets.y])},
        targets.kind == "classes" and len(parts.train.X) < len(dataset.X),
    )


def known_by(X: np.ndarray) -> str:
    """A hash that a table (m, n) is known by again: of its size, its type and rows from all over it."""
    rows = np.unique(np.linspace(0, len(X) - 1, SEEN).astype(np.intp))
    return f"{len(X)}x{X.shape[1]}-{fingerprint([X[rows]])}"


def _notes(settings: Settings, dataset: data.Dataset) -> dict[str, Any]:
    """What a model file says of the data: the columns of a table, and which part of the digits is new to the model."""
    notes: dict[str, Any] = {"trained_by": TRAINED_BY}
    if settings.data is None:
        return notes | {"data": DIGITS, "test": settings.test, "split": STRATIFIED}
    columns = dataset.columns
    if columns.features is not None:
        notes["features"] = list(columns.features)
        notes |= {"categories": list(columns.categories)} if columns.categories else {}
        notes |= {"width": columns.width} if columns.width else {}
    elif settings.ignore or settings.categories:
        why = "the table has no header, and its targets are in another file"
        if dataset.features is not None:
            why = "several columns have the same name; give each a name of its own"
        raise DataError(
            f"{dataset.name}: a model could not find the columns again that --ignore and --categories leave: {why}"
        )
    target = dataset.target
    if target is None and settings.labels is None and ".npz" in Path(settings.data).name.lower():
        target = settings.target  # the name of the array
    return notes if target is None else notes | {"target": target}


def columns_of(net: Network) -> Columns:
    """The columns that a network was trained on, as far as its file says so; what no run writes is left out."""
    features, target, categories = (net.notes.get(name) for name in ("features", "target", "categories"))
    width = net.notes.get("width", 0)
    known = Columns(None, target if isinstance(target, str) or type(target) is int else None)
    if not isinstance(features, list):
        return known
    kind = int if width else str
    words = categories if isinstance(categories, list) else [None] * len(features)
    sound = (
        all(type(name) is kind for name in features)
        and len(words) == len(features)
        and all(each is None or _are_words(each) for each in words)
        and sum(1 if each is None else len(each) for each in words) == net.sizes[0]
        and (not width or (type(width) is type(target) is int and all(0 <= at < width for at in (*features, target))))
    )
    if not sound:
        return known
    found = tuple(None if each is None else tuple(each) for each in words) if any(words) else ()
    return Columns(tuple(features), known.target, found, width)


def _are_words(found: Any) -> bool:
    """Whether something from a file is a list of different words."""
    return isinstance(found, list) and all(isinstance(word, str) for word in found) and len(set(found)) == len(found)


def encode_for(net: Network, dataset: data.Dataset) -> np.ndarray:
    """The targets of a data set as the network's loss takes them, classes in the network's order."""
    if dataset.y is None:
        target = columns_of(net).target
        if dataset.features is not None and isinstance(target, str):
            raise DataError(
                f"{dataset.name}: has no column {target!r}, which the model predicts; "
                "name the one with the targets by --target, or their file by --labels"
            )
        raise DataError(
            f"{dataset.name}: has no targets to evaluate with; name their file with --labels (a table of exactly the "
            f"{net.sizes[0]} columns that the model takes has none)"
        )
    n, kind = net.sizes[-1], _kind(net)
    if kind == "classes" and dataset.y.ndim == 2 and dataset.y.shape[1] > 1:
        kind = None  # one-hot, or probabilities
    names = None if net.loss.name == SQUARED else net.classes or tuple(map(str, range(max(2, n))))
    return as_columns(data.encode_targets(dataset.y, kind=kind, classes=names, where=dataset.where_y).y)


def as_columns(y: np.ndarray) -> np.ndarray:
    """Targets whose rows are samples, as the network takes them."""
    return y if y.ndim == 1 else y.T


def _kind(net: Network) -> Literal["classes", "multilabel", "numbers"] | None:
    if net.loss.name == SQUARED:
        return "numbers"
    return "multilabel" if net.loss.name == SIGMOID and net.sizes[-1] > 1 else "classes"


def _part(part: data.Dataset) -> Part:
    assert part.y is not None
    return Part(part.X.T, as_columns(part.y))


def _encode(y: np.ndarray, loss: str, where: Any) -> data.Targets:
    kind: Any = None
    if loss == SQUARED:
        kind = "numbers"
    elif loss == SOFTMAX and y.ndim == 1:
        kind = "classes"
    elif loss == SIGMOID and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif" and ((y == 0) | (y == 1)).all():
        kind = "multilabel"
    return data.encode_targets(y, kind=kind, where=where)


def _fitting(asked: str, targets: data.Targets, name: str) -> tuple[str, int]:
    """The loss and its number of outputs. Raises ConfigError where the one asked for does not fit the targets."""
    two = targets.kind == "classes" and targets.outputs == 2
    fitting = {"classes": SIGMOID if two else SOFTMAX, "multilabel": SIGMOID, "probabilities": SOFTMAX}
    loss = fitting.get(targets.kind, SQUARED)
    if asked in ("auto", loss) or (two and asked == SOFTMAX):
        return (loss, 1 if two else targets.outputs) if asked != SOFTMAX else (asked, targets.outputs)
    what = f"{targets.outputs} classes" if targets.kind == "classes" else WORDS[targets.kind]
    raise ConfigError(f"--loss {asked} does not fit the targets of {name}, which are {what}; {loss} does")
