"""DeepClassifier: two classes, more, or several labels at once; the parameters and attributes of MLPClassifier."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from deepxp.errors import DataError
from deepxp.estimators.estimator import DeepEstimator, stochastic
from deepxp.estimators.samples import host, like
from deepxp.ops.activations import softmax
from deepxp.ops.losses import Loss, logistic_loss
from deepxp.ops.typing import Array


@dataclass(repr=False, eq=False)  # for an __init__ of its own name, which errors say
class DeepClassifier(ClassifierMixin, DeepEstimator):
    """A classifier with the parameters of scikit-learn's MLPClassifier, its defaults and their meaning.

    `device`: where it runs, "auto" (a usable GPU, else the CPU), "cpu", "gpu", "gpu:N". `dtype`: "float32", "float64",
    or None, that of X. `dropout`: the rate of the hidden layers, or one for each of them. The network itself, a
    `deepxp.Network` whose samples are columns, is in `network_`.
    """

    _numeric: ClassVar[bool] = False

    def _loss(self) -> Loss | str:
        return "softmax-cross-entropy" if self._several() else "sigmoid-cross-entropy"

    def _encode(self, y: Array, *, again: bool, classes: Any) -> Array:
        given, y = y, host(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not again:
            several = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(
                y if classes is None or several else unique_labels(host(classes))
            )
            self.classes_ = like(given, self._label_binarizer.classes_)
        known = self._label_binarizer.classes_
        if classes is not None and not np.array_equal(known, unique_labels(host(classes))):
            raise DataError(f"classes={classes!r} are not those of the first call, {known}")
        if unknown := set(unique_labels(y).tolist()) - set(known.tolist()):
            raise DataError(f"y has classes that are not in classes_ {known}: {sorted(unknown)}")
        if self._several():
            return np.searchsorted(known, y).astype(np.int32)
        return self._label_binarizer.transform(y).astype(np.uint8)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to rows X (m, n[0]), dense or sparse, and classes y (m,), or 0 and 1 for each of several labels (m, k).

        Each sample weighs `sample_weight` (m,). With `warm_start` y has the classes that it had before.
        """
        again = self._goes_on()
        if again and not np.array_equal(unique_labels(host(y)), self._label_binarizer.classes_):
            raise DataError(f"warm_start goes on with the classes {self.classes_}, and y has others; fit a clone")
        return self._fit(X, y, sample_weight, again=again)

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One epoch over the samples given. The first call names all `classes` that there will be."""
        again = self._is_fitted()
        if not again and classes is None:
            raise DataError("the first call of partial_fit must name all classes: classes=...")
        return self._fit(X, y, sample_weight, again=again, incremental=True, classes=classes)

    def predict(self, X: Any) -> Array:
        """The class of each row (m,), or 0 and 1 for each of several labels (m, k)."""
        rows = self._rows(X, "predict")
        return like(rows, self._decide(self._outputs(rows)))

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class (m, C), in the order of classes_; of several labels that of each (m, k)."""
        rows = self._rows(X, "predict_proba")
        return like(rows, self._probabilities(rows))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of predict_proba; -inf where that is 0."""
        rows = self._rows(X, "predict_log_proba")
        with np.errstate(divide="ignore"):
            return like(rows, np.log(self._probabilities(rows)))

    def _probabilities(self, rows: Any) -> Array:
        Z = self._outputs(rows)
        if self._several():
            return softmax(np, Z.T).T
        A = np.exp(-logistic_loss(np, Z, 1.0))  # e^(log a) has all of its digits, however small a is
        return A if Z.shape[1] > 1 else np.concatenate([np.exp(-logistic_loss(np, Z, 0.0)), A], axis=1)

    def _several(self) -> bool:
        """More than two classes?"""
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _decide(self, Z: Array) -> Array:
        return self._label_binarizer.inverse_transform(Z.ravel() if Z.shape[1] == 1 else Z, threshold=0.0)

    def _score_outputs(self, Z: Array, y: Array, w: Array | None) -> float:
        return float(accuracy_score(y, self._decide(Z), sample_weight=w))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
