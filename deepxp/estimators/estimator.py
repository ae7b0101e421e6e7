"""What the two estimators share: the network behind them, how it is fitted, and what is known of it after that."""

import math
import warnings
from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._array_api import get_namespace
from sklearn.utils.validation import check_is_fitted, validate_data

from deepxp.errors import ConfigError, DataError
from deepxp.estimators.descent import Descent, Progress, descend
from deepxp.estimators.parameters import ACTIVATIONS, Settings
from deepxp.estimators.quasinewton import search
from deepxp.estimators.samples import Samples, host
from deepxp.network import CHUNK, Network
from deepxp.ops.losses import Loss
from deepxp.ops.typing import Array
from deepxp.parameters import Parameters, count_parameters


class DeepEstimator(Settings):
    """Rows are samples here; the network has them as columns."""

    _numeric: ClassVar[bool]  # are the targets numbers?

    # What differs between classes and numbers

    @abstractmethod
    def _encode(self, y: Array, *, again: bool, classes: Any) -> Array:
        """Targets as the loss takes them: labels (M,), or rows (M, n_outputs_). `again` goes on from an earlier fit;
        `classes` are all that there will be."""

    @abstractmethod
    def _loss(self) -> Loss | str:
        """The loss for the targets that were encoded."""

    @abstractmethod
    def _score_outputs(self, Z: Array, y: Array, w: Array | None) -> float:
        """What `score` says of outputs Z[L] (M, n_outputs_)."""

    # Attributes

    @property
    def coefs_(self) -> list[Array]:
        """W[l].T (n[l-1], n[l]) for l = 1..L; on the CPU the weights themselves."""
        return [self._fitted().backend.asnumpy(W).T for W in self._fitted().W[1:]]

    @property
    def intercepts_(self) -> list[Array]:
        """b[l] (n[l],) for l = 1..L; on the CPU the biases themselves."""
        return [self._fitted().backend.asnumpy(b)[:, 0] for b in self._fitted().b[1:]]

    @property
    def n_layers_(self) -> int:
        """L + 1: the input counts."""
        return self._fitted().L + 1

    @property
    def n_outputs_(self) -> int:
        """n[L]"""
        return self._fitted().sizes[-1]

    @property
    def out_activation_(self) -> str:
        """g[L]: identity, exp, logistic or softmax."""
        name = self._fitted().loss.link.name
        return "logistic" if name == "sigmoid" else name

    def _is_fitted(self) -> bool:
        return "network_" in vars(self)

    def _goes_on(self) -> bool:
        return self.warm_start and self._is_fitted()

    def _fitted(self) -> Network:
        if not self._is_fitted():
            raise AttributeError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.network_

    # Fitting

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, again: bool, incremental: bool = False, classes: Any = None
    ) -> Self:
        self._validate_params()
        if incremental and self.early_stopping:
            raise ConfigError("partial_fit does not support early_stopping=True: it has no samples to hold out")
        if self.solver == "lbfgs" and np.any(np.asarray(self.dropout) != 0):
            raise ConfigError("dropout needs solver='adam' or 'sgd': lbfgs searches along a J that must stay the same")
        xp = get_namespace(X)[0]
        kinds = (xp.float64, xp.float32)
        if self.dtype is not None and np.dtype(self.dtype) == np.float32:
            kinds = kinds[::-1]
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, y_numeric=self._numeric, dtype=kinds, reset=not again
        )
        Y = self._encode(y, again=again, classes=classes)
        X, y = host(X), host(y)
        w = None if sample_weight is None else _weights(host(sample_weight), X)
        random = check_random_state(self.random_state)
        if not again:
            self._library = xp.__name__
            self._begin(X, Y, random)
        net = self.network_
        if net.sizes != self._sizes(X, Y):
            raise ConfigError(
                f"the network was made as {net.sizes}, and would now be {self._sizes(X, Y)}; "
                "set warm_start=False, or fit a clone"
            )
        with net.backend.active():
            samples = Samples.of(net.backend, X, Y, w)
            if self.solver == "lbfgs":
                self._search(samples)
            else:
                self._descend(samples, y, random, incremental=incremental)
            if not np.isfinite(net.backend.asnumpy(net.theta)).all():
                raise DataError(
                    "the fit ended in weights that are not finite; scale the inputs, or lower learning_rate_init"
                )
        return self

    def _sizes(self, X: Any, Y: Array) -> tuple[int, ...]:
        hidden = self.hidden_layer_sizes
        hidden = tuple(hidden) if hasattr(hidden, "__iter__") else (hidden,)
        if any(n <= 0 for n in hidden):
            raise ConfigError(f"hidden_layer_sizes must be > 0, got {list(hidden)}")
        return (X.shape[1], *hidden, self.classes_.shape[0] if Y.ndim == 1 else Y.shape[1])

    def _begin(self, X: Any, Y: Array, random: np.random.RandomState) -> None:
        """A new network, from weights and biases in +-sqrt(6 / (n[l-1] + n[l])) (Glorot & Bengio 2010), 2 for 6 where
        the units are logistic; drawn as scikit-learn does it, so that one random_state means one network."""
        sizes = self._sizes(X, Y)
        theta = Parameters.of(np, np.zeros(count_parameters(sizes)), sizes)
        for l in range(1, len(sizes)):
            bound = math.sqrt((2 if self.activation == "logistic" else 6) / (sizes[l - 1] + sizes[l]))
            theta.W[l].T[...] = random.uniform(-bound, bound, (sizes[l - 1], sizes[l]))
            theta.b[l][:, 0] = random.uniform(-bound, bound, sizes[l])
        self.network_ = Network(
            sizes,
            ACTIVATIONS[self.activation],
            self._loss(),
            backend=self.device,
            seed=int(random.randint(2**31)) if np.any(np.asarray(self.dropout) != 0) else 0,
            dtype=X.dtype.name if self.dtype is None else self.dtype,
            dropout=self.dropout,
            theta=theta.theta,
        )
        self.n_iter_, self.t_ = 0, 0
        self._descent: Descent | None = None
        self._progress = Progress(best_theta=theta.theta)

    def _averaged(self) -> int:
        """Over how many outputs loss_ is a mean: those of a squared error. Other losses are summed over them."""
        return self.n_outputs_ if self.network_.loss.name == "squared-error" else 1

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line)

    def _search(self, samples: Samples) -> None:
        result, self.loss_ = search(
            self.network_,
            samples,
            self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            outputs=self._averaged(),
            on_iteration=lambda i, J: self._say(f"Iteration {i}, loss = {J:.8f}"),
        )
        self.n_iter_ = min(int(result.nit), self.max_iter)
        if result.status != 0:
            warnings.warn(
                f"lbfgs did not converge after {result.nit} iterations ({result.message}): "
                "raise max_iter or max_fun, or scale the data",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _descend(self, samples: Samples, y: Array, random: np.random.RandomState, *, incremental: bool) -> None:
        net, progress, w = self.network_, self._progress, samples.w
        if self._descent is None or not incremental:
            self._descent = Descent(net, self)
        rows, score = np.arange(samples.Y.shape[0]), None
        if self.early_stopping:
            rows, held = self._split(samples, random)
            X, true, weights = samples.X[held], y[held], None if w is None else w[held]

            def score() -> float:
                return self._score_outputs(self._outputs(X), true, weights)

        if self.batch_size != "auto" and self.batch_size > len(rows):
            warnings.warn(f"batch_size {self.batch_size} is clipped to the {len(rows)} samples there are", stacklevel=4)
        try:
            ended = descend(
                self,
                self._descent,
                progress,
                samples,
                rows,
                random,
                score,
                self._say,
                epochs=1 if incremental else self.max_iter,
                outputs=self._averaged(),
            )
            if not ended and not incremental:
                warnings.warn(
                    f"{self.solver} has not converged after max_iter={self.max_iter} epochs: raise it, or tol",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        except KeyboardInterrupt:
            warnings.warn("training was interrupted; the weights are those of the last step", stacklevel=4)
        if self.early_stopping:
            net.backend.write(net.theta, progress.best_theta)
        scored = self.early_stopping
        self.loss_curve_, self.best_loss_ = progress.loss_curve, None if scored else progress.best_loss
        self.validation_scores_ = progress.validation_scores if scored else None
        self.best_validation_score_ = progress.best_validation_score if scored else None
        self.n_iter_, self.t_ = progress.n_iter, progress.t
        self.loss_ = progress.loss_curve[-1] if progress.loss_curve else math.inf

    def _split(self, samples: Samples, random: np.random.RandomState) -> tuple[Array, Array]:
        """The samples that are trained on and those held out; two classes are held out in proportion."""
        Y = samples.Y
        two_classes = not self._numeric and Y.ndim == 2 and Y.shape[1] == 1
        rows, held = train_test_split(
            np.arange(Y.shape[0]),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=Y if two_classes else None,
        )
        if len(held) < 2:
            raise DataError(f"only {len(held)} sample is held out; raise validation_fraction, or give more samples")
        return rows, held

    # Predicting

    def _rows(self, X: Any, method: str) -> Any:
        """X checked, for a method; an array is of the library that `fit` was given."""
        check_is_fitted(self)
        library = get_namespace(X)[0].__name__
        if get_config()["array_api_dispatch"] and library != self._library:
            raise DataError(
                f"{type(self).__name__}.{method}() must use the same namespace as fit: {self._library}, not {library}; "
                "move the array, for example with from_dlpack"
            )
        return validate_data(self, X, accept_sparse="csr", reset=False)

    def _outputs(self, X: Any) -> Array:
        """Z[L] as rows (m, n_outputs_), on the host, for rows that have been checked."""
        net, out = self.network_, []
        step = max(1, CHUNK // max(net.sizes))
        with net.backend.active():
            for start in range(0, X.shape[0], step):
                rows = X[start : min(start + step, X.shape[0]), :]
                rows = rows.toarray() if issparse(rows) else rows if net.backend.owns(rows) else host(rows)
                Z = net.output(rows, link=False)
                out.append(net.backend.asnumpy(Z).T)
        return np.ascontiguousarray(np.concatenate(out))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def _weights(sample_weight: Any, X: Any) -> Array:
    """w (m,), finite; not all of them 0."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(X.shape[0], float(sample_weight))
    w = check_array(sample_weight, ensure_2d=False, dtype=X.dtype, input_name="sample_weight")
    if w.ndim != 1:
        raise DataError(f"sample_weight must have one number for each sample, got the shape {w.shape}")
    check_consistent_length(X, w)
    if not w.sum() != 0:
        raise DataError("the sum of the sample weights is zero: there is nothing to learn from")
    return w


def stochastic(p: DeepEstimator) -> bool:
    """Can it learn from one batch after another?"""
    if p.solver == "lbfgs":
        raise AttributeError("partial_fit needs solver='adam' or 'sgd': lbfgs takes all samples at once")
    return True
