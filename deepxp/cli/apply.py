"""`deepxp evaluate` and `deepxp predict`: a model on data."""

import csv
import io
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from deepxp import data, network, rng
from deepxp.cli import config, problem
from deepxp.cli.confusion import as_text, confusion_of, names_of
from deepxp.cli.folder import model_in
from deepxp.cli.options import Settings
from deepxp.cli.problem import SQUARED, encode_for
from deepxp.cli.report import Report, check_free, count, shown, tell_unit, write_whole
from deepxp.cli.wording import visible
from deepxp.errors import ConfigError, ModelFileError, ShapeError
from deepxp.evaluation import evaluate as evaluation
from deepxp.network import Network


def evaluate(arguments: Namespace) -> int:
    """Metrics and confusion matrix."""
    settings, arguments.model = config.settings(arguments.flags), model_in(arguments.model)
    report = Report(as_json=arguments.json)
    net = _model(arguments.model, settings)
    dataset = _digits(net, arguments.model) if settings.data is None else load(settings, net, arguments.model)
    y = encode_for(net, dataset)
    learned = net.notes.get("fingerprint") == problem.known_by(dataset.X)
    if learned:
        _note(f"the model was trained on {dataset.name}: it has seen these samples, and on new ones it is not as good")
    values = evaluation(net, dataset.X.T, y)
    report.line("model", f"{arguments.model} on {net.backend.name}")
    report.line("data", f"{dataset.name}: {count(len(dataset.X), 'sample')}")
    tell_unit(report, net)
    report.line("metrics", shown(values))
    result = {"device": net.backend.name, "model": str(arguments.model), "samples": len(dataset.X), "metrics": values}
    result["trained_on"] = learned
    names, matrix = names_of(net), confusion_of(net, dataset.X.T, y)
    if names is not None and matrix is not None:
        result |= {"classes": names, "confusion_matrix": matrix.tolist()}
        report.line("")
        for line in as_text(matrix, names):
            report.line(line)
    report.result(result)
    return 0


def predict(arguments: Namespace) -> int:
    """One prediction a row, as CSV."""
    settings, arguments.model = config.settings(arguments.flags), model_in(arguments.model)
    if arguments.out is not None:
        check_free(arguments.out, settings.data, arguments.model, force=arguments.force)
    elif arguments.force:
        raise ConfigError("--force is of --out")
    net = _model(arguments.model, settings)
    if arguments.proba and net.loss.name == SQUARED:
        raise ConfigError(f"{arguments.model} predicts numbers; they have no probabilities, leave out --proba")
    dataset = load(settings, net, arguments.model, predicting=True)
    A = net.predict_proba(dataset.X.T)
    net.check_decidable(A)
    said, names = _said(net, A), names_of(net)
    if arguments.proba:
        proba = np.concatenate([1 - A, A]) if len(A) == 1 else A
        columns = ["prediction"] if said.shape[1] == 1 else [f"prediction {name}" for name in names or ()]
        rows = np.concatenate([said, proba.T.astype(str)], axis=1).tolist()
        rows.insert(0, [*columns, *(names or ())])
    else:
        rows = said.tolist()
    report = Report(as_json=arguments.json)
    result: dict[str, Any] = {"device": net.backend.name, "model": str(arguments.model), "samples": A.shape[1]}
    if arguments.out is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_whole(Path(arguments.out), text.getvalue())
        report.line("file", f"{arguments.out}, {count(A.shape[1], 'row')}")
        result["out"] = arguments.out
    elif not arguments.json:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        values = net.decide(A).T.tolist() if net.loss.name == SQUARED else said.tolist()
        result["predictions"] = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values]
        if arguments.proba:
            result |= {"classes": names, "probabilities": proba.T.tolist()}
    report.result(result)
    return 0


def load(settings: Settings, net: Network, model: str, *, predicting: bool = False) -> data.Dataset:
    """The samples for a network, with their targets if there are any; those of the test part if the file has one.

    The columns of a table with a header are those that the model was trained on, by their names.
    """
    try:
        found = problem.load(settings, net.sizes[0], problem.columns_of(net))
    except ShapeError as error:
        raise ShapeError(f"{error} by {model}" if str(error).endswith("expected") else str(error)) from None
    if found.ignored:
        _note(f"{found.name}: columns that the model does not know are ignored: {', '.join(found.ignored)}")
    if predicting and found.target is not None:
        column = f"column {found.target!r}" if isinstance(found.target, str) else f"column {found.target + 1}"
        _note(f"{found.name}: {column} is taken for the target and left out")
    if found.X_test is None:
        return found
    test = data.split(found, order=np.arange(len(found.X))).test
    assert test is not None
    return test


def _note(text: str) -> None:
    print(f"deepxp: note: {visible(text)}", file=sys.stderr, flush=True)


def _model(path: str, settings: Settings) -> Network:
    """The network in a file; the usual slip, the data in its place, is called by its name."""
    try:
        return network.load(path, settings.device, limit_bytes=settings.limit_bytes)
    except ModelFileError:
        if is_other(path):
            raise ConfigError(f"{path} is not a model; MODEL comes first") from None
        raise


def is_other(path: str) -> bool:
    """Whether a file is clearly of another format: text, or an archive or array by its first bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError:
        return False
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\x93NUMPY")):
        return True
    return bool(start) and b"\0" not in start and start[8:9] != b"{"


def _digits(net: Network, model: str) -> data.Dataset:
    """The part of the digits that a model was not trained on, as far as its file tells that it was trained on them."""
    digits, test = data.digits(), net.notes.get("test")
    known = net.notes.get("trained_by") == problem.TRAINED_BY and net.notes.get("data") == problem.DIGITS
    if not known or net.sizes[0] != digits.X.shape[1]:
        raise ConfigError(f"{model} was not trained on the digits by deepxp train; give DATA to evaluate it on")
    if not isinstance(test, float) or not 0 < test < 1:
        raise ConfigError(f"{model} was trained on all of the digits; give DATA to evaluate it on")
    labels = digits.y if net.notes.get("split") == problem.STRATIFIED else None
    part = data.split(digits, order=rng.split(net.seed, len(digits.X)), test=test, labels=labels).test
    assert part is not None
    return part


def _said(net: Network, A: np.ndarray) -> np.ndarray:
    """The prediction for outputs A as text, (m, 1), or (m, n[L]) where there is more than one."""
    decided, names = net.decide(A), names_of(net)
    if names is not None and decided.ndim == 1:
        return np.array(names)[decided][:, None]
    return np.atleast_2d(decided).T.astype(str)
