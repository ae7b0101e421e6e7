"""How good is a network on some data: J and the metrics that fit its loss."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepxp import metrics
from deepxp.inputs import check_finite, is_labels, samples, targets
from deepxp.network import CHUNK, Network
from deepxp.ops.typing import Array
from deepxp.recursions import class_column


@dataclass(frozen=True)
class Evaluation:
    """Data checked once, to be evaluated as often as wanted: tables whose rows are samples, targets on the host."""

    X: Array
    Y: Array

    @classmethod
    def of(cls, net: Network, X: Any, y: Any) -> "Evaluation":
        """Columns X (n[0], M) and their targets, checked against the network."""
        table = samples(X, net.sizes[0])
        check_finite(table)
        return cls(table, targets(y, net.loss, net.sizes[-1], table.shape[0]))

    def run(self, net: Network) -> dict[str, float]:
        """loss, and accuracy and f1 for classes, or r2, mae and rmse for numbers, in the unit of the targets."""
        losses, predictions = self._outputs(net)
        result = {"loss": float(losses.mean(dtype=np.float64))}
        y = self.Y if is_labels(net.loss, self.Y) else self.Y.T
        if net.loss.of_numbers:
            return result | metrics.regression(y, predictions.reshape(y.shape))
        if net.loss.evaluate_labels and y.ndim == 2:
            y = y.argmax(axis=0)
        if net.loss.evaluate_labels or net.sizes[-1] == 1:
            return result | metrics.classification(
                np.rint(y.reshape(-1)).astype(np.int64), predictions.reshape(-1), max(2, net.sizes[-1])
            )
        return result | metrics.multilabel(np.rint(y).astype(np.int64), predictions)

    def _outputs(self, net: Network) -> tuple[Array, Array]:
        """The loss of every sample (M,), and the predictions, on the host."""
        backend, labels, M = net.backend, is_labels(net.loss, self.Y), self.X.shape[0]
        losses, predictions = [], []
        step = max(1, CHUNK // max(net.sizes))
        with backend.active():
            classes = class_column(net, labels=labels)
            for start in range(0, M, step):
                Z = net.output(self.X[start : min(start + step, M), :], link=False)
                Y = net.as_learned(self.Y[start : start + step, ...])
                Y = backend.asarray(Y, None if labels else net.dtype)
                ell, dZ = backend.empty((Z.shape[1],), net.dtype), backend.empty(Z.shape, net.dtype)
                if classes is None:
                    backend[net.loss.evaluate](Z, Y.T, ell, dZ)
                else:
                    backend[net.loss.evaluate_labels](Z, Y, classes, ell, dZ)  # type: ignore[index]
                losses.append(backend.asnumpy(ell))
                predictions.append(backend.asnumpy(net.decide(net.in_unit(backend[net.loss.link.forward](Z)))))
        return np.concatenate(losses), np.concatenate(predictions, axis=-1)


def evaluate(net: Network, X: Any, y: Any) -> dict[str, float]:
    """J and the metrics of columns X (n[0], M) and targets y: for classes accuracy and macro F1, for several labels
    at once subset accuracy and macro F1, for numbers R2, MAE and RMSE.

    Where the network scales its targets, J is that of the scaled ones: half of the squared error, in variances of the
    targets it was trained on."""
    return Evaluation.of(net, X, y).run(net)
