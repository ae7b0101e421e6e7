"""DeepRegressor: one number or several; the parameters and attributes of MLPRegressor."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from deepxp.errors import DataError
from deepxp.estimators.estimator import DeepEstimator, stochastic
from deepxp.estimators.samples import host, like
from deepxp.ops.losses import POISSON, Loss
from deepxp.ops.typing import Array


@dataclass(repr=False, eq=False)
class _Cost:
    """Parameters without a name come in the order of MLPRegressor: the loss is the first."""

    loss: str = "squared_error"  # or poisson: numbers that are not negative, as e^z


@dataclass(repr=False, eq=False)
class DeepRegressor(RegressorMixin, DeepEstimator, _Cost):
    """A regressor with the parameters of scikit-learn's MLPRegressor, its defaults and their meaning.

    `device`: where it runs, "auto" (a usable GPU, else the CPU), "cpu", "gpu", "gpu:N". `dtype`: "float32", "float64",
    or None, that of X. `dropout`: the rate of the hidden layers, or one for each of them. The network itself, a
    `deepxp.Network` whose samples are columns, is in `network_`.
    """

    _numeric: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **DeepEstimator._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def _loss(self) -> Loss | str:
        return POISSON if self.loss == "poisson" else "squared-error"

    def _encode(self, y: Array, *, again: bool, classes: Any) -> Array:
        y = host(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and (y < 0).any():
            raise DataError(f"loss='poisson' needs y >= 0, got {y.min()}; take loss='squared_error'")
        return y.reshape(len(y), -1)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to rows X (m, n[0]), dense or sparse, and numbers y (m,) or (m, k); each weighs `sample_weight` (m,)."""
        return self._fit(X, y, sample_weight, again=self._goes_on())

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over the samples given."""
        return self._fit(X, y, sample_weight, again=self._is_fitted(), incremental=True)

    def predict(self, X: Any) -> Array:
        """The number, or numbers, of each row: (m,) or (m, k)."""
        rows = self._rows(X, "predict")
        return like(rows, self._decide(self._outputs(rows)))

    def _decide(self, Z: Array) -> Array:
        A = self.network_.loss.link.forward(np, Z)
        return A.ravel() if A.shape[1] == 1 else A

    def _score_outputs(self, Z: Array, y: Array, w: Array | None) -> float:
        A = self._decide(Z)
        return float(r2_score(y, A, sample_weight=w)) if np.isfinite(A).all() else math.nan
