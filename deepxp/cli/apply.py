"""`deepxp evaluate` and `deepxp predict`: a model on data."""

import csv
import io
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepxp import data, metrics, network, rng
from deepxp.cli import config, problem
from deepxp.cli.options import Settings
from deepxp.cli.problem import SIGMOID, SQUARED, encode_for
from deepxp.cli.report import Report, count, shown, write_whole
from deepxp.errors import ConfigError, ShapeError
from deepxp.evaluation import evaluate as evaluation
from deepxp.network import Network

TABLE = 40  # classes up to which the whole confusion matrix is shown


def evaluate(arguments: Namespace) -> int:
    """Metrics and confusion matrix."""
    settings = config.settings(arguments.flags)
    report = Report(as_json=arguments.json)
    net = network.load(arguments.model, settings.device)
    dataset = _digits(net, arguments.model) if settings.data is None else load(settings, net, arguments.model)
    y = encode_for(net, dataset)
    values = evaluation(net, dataset.X.T, y)
    report.line("model", f"{arguments.model} on {net.backend.name}")
    report.line("data", f"{dataset.name}: {count(len(dataset.X), 'sample')}")
    report.line("metrics", shown(values))
    result = {"device": net.backend.name, "model": str(arguments.model), "samples": len(dataset.X), "metrics": values}
    names = _names(net)
    if names is not None and (net.loss.name != SIGMOID or net.sizes[-1] == 1):
        labels = y if y.ndim == 1 else y.argmax(axis=0)
        matrix = metrics.confusion_matrix(labels, net.predict(dataset.X.T), len(names))
        result |= {"classes": names, "confusion_matrix": matrix.tolist()}
        report.line("")
        for line in confusion(matrix, names):
            report.line(line)
    report.result(result)
    return 0


def predict(arguments: Namespace) -> int:
    """One prediction a row, as CSV."""
    settings = config.settings(arguments.flags)
    net = network.load(arguments.model, settings.device)
    if arguments.proba and net.loss.name == SQUARED:
        raise ConfigError(f"{arguments.model} predicts numbers; they have no probabilities, leave out --proba")
    dataset = load(settings, net, arguments.model)
    A = net.predict_proba(dataset.X.T)
    said, names = _said(net, A), _names(net)
    if arguments.proba:
        proba = np.concatenate([1 - A, A]) if len(A) == 1 else A
        columns = ["prediction"] if said.shape[1] == 1 else [f"prediction {name}" for name in names or ()]
        rows = np.concatenate([said, proba.T.astype(str)], axis=1).tolist()
        rows.insert(0, [*columns, *(names or ())])
    else:
        rows = said.tolist()
    result: dict[str, Any] = {"device": net.backend.name, "model": str(arguments.model), "samples": A.shape[1]}
    if arguments.out is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_whole(Path(arguments.out), text.getvalue())
        result["out"] = arguments.out
    elif not arguments.json:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        values = net.decide(A).T.tolist() if net.loss.name == SQUARED else said.tolist()
        result["predictions"] = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values]
        if arguments.proba:
            result |= {"classes": names, "probabilities": proba.T.tolist()}
    Report(as_json=arguments.json).result(result)
    return 0


def load(settings: Settings, net: Network, model: str) -> data.Dataset:
    """The samples for a network, with their targets if there are any; those of the test part if the file has one."""
    try:
        found = problem.load(settings, net.sizes[0])
    except ShapeError as error:
        raise ShapeError(f"{error} by {model}" if str(error).endswith("expected") else str(error)) from None
    if found.X_test is None:
        return found
    test = data.split(found, order=np.arange(len(found.X))).test
    assert test is not None
    return test


def _digits(net: Network, model: str) -> data.Dataset:
    digits = data.digits()
    n = digits.X.shape[1]
    if net.sizes[0] != n:
        raise ShapeError(f"the digits have {n} features per row, but {net.sizes[0]} are expected by {model}; give DATA")
    test = data.split(digits, order=rng.split(net.seed, len(digits.X))).test
    assert test is not None
    return test


def _names(net: Network) -> tuple[str, ...] | None:
    """The names of the classes or labels, or their numbers; None for a network that predicts numbers."""
    if net.loss.name == SQUARED:
        return None
    return net.classes or tuple(map(str, range(max(2, net.sizes[-1]))))


def _said(net: Network, A: np.ndarray) -> np.ndarray:
    """The prediction for outputs A as text, (m, 1), or (m, n[L]) where there is more than one."""
    decided, names = net.decide(A), _names(net)
    if names is not None and decided.ndim == 1:
        return np.array(names)[decided][:, None]
    return np.atleast_2d(decided).T.astype(str)


def confusion(matrix: np.ndarray, names: tuple[str, ...]) -> Iterator[str]:
    """The confusion matrix as lines of text, or of a large one the most frequent confusions."""
    if len(names) > TABLE:
        wrong = matrix - np.diag(np.diag(matrix))
        yield "the most frequent confusions, of the true class with the predicted one"
        for place in np.argsort(wrong, axis=None)[::-1][:10]:
            i, j = divmod(int(place), len(names))
            if wrong[i, j]:
                yield f"{wrong[i, j]:>8}  {names[i]} as {names[j]}"
        return
    short = [name if len(name) <= 12 else name[:11] + "…" for name in names]
    first = max(len("true"), *map(len, short))
    widths = [max(len(name), len(str(column.max()))) for name, column in zip(short, matrix.T, strict=True)]
    yield f"{'true':<{first}}   predicted"
    yield f"{'':<{first}}   " + "  ".join(f"{name:>{width}}" for name, width in zip(short, widths, strict=True))
    for name, row in zip(short, matrix, strict=True):
        cells = "  ".join(f"{number or '.':>{width}}" for number, width in zip(row.tolist(), widths, strict=True))
        yield f"{name:<{first}}   {cells}"
