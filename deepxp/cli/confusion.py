"""The confusion matrix of a network on samples, and how it is written."""

from collections.abc import Iterator

import numpy as np

from deepxp import metrics
from deepxp.cli.problem import SIGMOID, SQUARED
from deepxp.network import Network

TABLE = 40  # classes up to which the whole confusion matrix is shown


def names_of(net: Network) -> tuple[str, ...] | None:
    """The names of the classes or labels, or their numbers; None for a network that predicts numbers."""
    if net.loss.name == SQUARED:
        return None
    return net.classes or tuple(map(str, range(max(2, net.sizes[-1]))))


def labels_of(net: Network, y: np.ndarray) -> np.ndarray | None:
    """The class of each sample of targets as the network takes them; None where a sample has several, or numbers."""
    if net.loss.name == SQUARED or (net.loss.name == SIGMOID and net.sizes[-1] > 1):
        return None
    return (y if y.ndim == 1 else y[0] if len(y) == 1 else y.argmax(axis=0)).astype(np.int64)


def confusion_of(net: Network, X: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """C[i, j]: of class i so many samples of columns X were taken for class j; None where there are no classes.

    Raises DataError for a sample of which the network says NaN.
    """
    names, labels = names_of(net), labels_of(net, y)
    if names is None or labels is None:
        return None
    return metrics.confusion_matrix(labels, net.predict(X), len(names))


def as_text(matrix: np.ndarray, names: tuple[str, ...]) -> Iterator[str]:
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
