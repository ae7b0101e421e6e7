"""The parameters of the two estimators, their defaults, and what they may be."""

import math
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def interval(kind: Any, low: float, high: float | None, closed: str) -> list[Any]:
    """A constraint on a number."""
    return [Interval(kind, low, high, closed=closed)]


@dataclass(repr=False, eq=False)
class Settings(BaseEstimator):
    """Every parameter, as MLPClassifier and MLPRegressor have it, and `device`, `dtype` and `dropout`."""

    hidden_layer_sizes: Any = (100,)  # n[1], ..., n[L-1]
    activation: str = "relu"  # g of the hidden layers: identity, logistic, tanh, relu
    _: KW_ONLY
    solver: str = "adam"  # adam, sgd, lbfgs
    alpha: float = 0.0001  # J + alpha / (2 m) sum_l ||W[l]||^2, m the samples of a batch, or the sum of their weights
    batch_size: Any = "auto"  # min(200, m)
    learning_rate: str = "constant"  # of sgd: constant, invscaling, adaptive
    learning_rate_init: float = 0.001
    power_t: float = 0.5  # invscaling: learning_rate_init / (t_ + 1)^power_t after an epoch
    max_iter: int = 200  # epochs, or iterations of lbfgs
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4  # what does not improve by so much has not improved
    verbose: Any = False
    warm_start: bool = False  # does fit go on from where the last one ended?
    momentum: float = 0.9  # of sgd
    nesterovs_momentum: bool = True
    early_stopping: bool = False  # by the score on samples held out, whose best weights are kept
    validation_fraction: float = 0.1  # of the samples held out
    beta_1: float = 0.9  # of adam, and so are the next two
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: Any = 10  # epochs without improvement that are borne
    max_fun: int = 15000  # of lbfgs: evaluations of J
    device: str = "auto"  # cpu, gpu, gpu:N, auto
    dtype: Any = None  # float32, float64; None: that of X
    dropout: Any = 0.0  # of the hidden layers, or one for each of them

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", *interval(Integral, 1, None, "left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": interval(Real, 0, None, "left"),
        "batch_size": [StrOptions({"auto"}), *interval(Integral, 1, None, "left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": interval(Real, 0, None, "neither"),
        "power_t": interval(Real, 0, None, "left"),
        "max_iter": interval(Integral, 1, None, "left"),
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": interval(Real, 0, None, "left"),
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": interval(Real, 0, 1, "both"),
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": interval(Real, 0, 1, "left"),
        "beta_1": interval(Real, 0, 1, "left"),
        "beta_2": interval(Real, 0, 1, "left"),
        "epsilon": interval(Real, 0, None, "neither"),
        "n_iter_no_change": [*interval(Integral, 1, None, "left"), Options(Real, {math.inf})],
        "max_fun": interval(Integral, 1, None, "left"),
    }
