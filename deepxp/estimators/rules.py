"""The updates of the solvers sgd and adam: the rules of `deepxp.ops.updates`, on a gradient that has its L2 part.

lambda is alpha over the sum of the weights of a batch, so it changes from batch to batch: it is a rate of the step,
and not a constant of a recorded program. The biases have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from deepxp.ops.regularization import penalized
from deepxp.ops.typing import Array, Namespace
from deepxp.ops.updates import Rule, adam, momentum, nesterov
from deepxp.optimizers import Adam, Momentum, Optimizer
from deepxp.parameters import Gradient, Parameters

Updates = tuple[tuple[Rule, Array, Array, tuple[Array, ...], int], ...]


def momentum_l2(
    xp: Namespace, theta: Array, g: Array, v: Array, rate: float, mu: float, strength: float
) -> tuple[Array, ...]:
    """momentum with g + lambda theta"""
    return momentum(xp, theta, penalized(xp, g, theta, strength), v, rate, mu)


def nesterov_l2(
    xp: Namespace, theta: Array, g: Array, v: Array, rate: float, mu: float, strength: float
) -> tuple[Array, ...]:
    """nesterov with g + lambda theta"""
    return nesterov(xp, theta, penalized(xp, g, theta, strength), v, rate, mu)


def adam_l2(
    xp: Namespace,
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    scale: float,
    strength: float,
) -> tuple[Array, ...]:
    """adam with g + lambda theta"""
    return adam(xp, theta, penalized(xp, g, theta, strength), m, v, rate, beta1, beta2, eps, scale)


def _apart(
    on_weights: Rule, on_biases: Rule, parameters: Parameters, gradient: Gradient, state: Sequence[Array], rates: int
) -> Updates:
    """One rule, with lambda as the last of its rates, for the weights; another, without it, for the biases."""
    n, theta, g = parameters.weights.shape[0], parameters.theta, gradient.g
    return (
        (on_weights, theta[:n], g[:n], tuple(s[:n] for s in state), rates),
        (on_biases, theta[n:], g[n:], tuple(s[n:] for s in state), rates - 1),
    )


@dataclass(frozen=True)
class PenalizedMomentum(Momentum):
    """v = mu v + g + lambda w, theta - lr v; with `ahead` theta - lr (g + lambda w + mu v). lambda is `strength[0]`."""

    ahead: bool = True
    strength: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        """Checked already, as scikit-learn does it: mu may be 1."""

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.mu, self.strength[0]

    def updates(self, parameters: Parameters, gradient: Gradient, state: Sequence[Array]) -> Updates:
        on_weights, on_biases = (nesterov_l2, nesterov) if self.ahead else (momentum_l2, momentum)
        return _apart(on_weights, on_biases, parameters, gradient, state, 3)


@dataclass(frozen=True)
class PenalizedAdam(Adam):
    """Adam with g + lambda w, lambda being `strength[0]`, and with eps beside the sqrt(v) that is not yet corrected.

    That is the form of Kingma & Ba 2015, end of section 2, which scikit-learn has: eps / sqrt(1 - beta2^t) here.
    """

    strength: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        """Checked already, as scikit-learn does it."""

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        rate, beta1, beta2, eps, scale = super().rates(lr, t)
        return rate, beta1, beta2, eps * scale, scale, self.strength[0]

    def updates(self, parameters: Parameters, gradient: Gradient, state: Sequence[Array]) -> Updates:
        return _apart(adam_l2, adam, parameters, gradient, state, 6)


def change_rate(optimizer: Optimizer, state: Sequence[Array], before: float, after: float) -> None:
    """The velocity of scikit-learn holds the rate of each of its gradients, u = mu u - lr g; v is -u / lr."""
    if isinstance(optimizer, Momentum):
        state[0][...] = state[0] * (before / after)
