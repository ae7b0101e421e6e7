"""Optimizers: hyperparameters as values, and the rates of step t; the rules themselves are in `ops.updates`.

Schedules: the factor on the learning rate as a function of the epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from deepxp.errors import ConfigError
from deepxp.ops import updates
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient, Parameters


@dataclass(frozen=True)
class Optimizer:
    """A rule and its hyperparameters. `states` is the number of vectors as long as theta that it remembers."""

    lr: float = 1e-3

    states: ClassVar[int] = 0
    rule: ClassVar[updates.Rule] = staticmethod(updates.sgd)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"the learning rate must be a positive number, got lr={self.lr!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("mu", "rho", "beta1", "beta2") and not 0 <= value < 1:
                raise ConfigError(f"{field.name} must lie in [0, 1), got {field.name}={value!r}")
            if field.name in ("eps", "weight_decay") and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{field.name} must be a finite number >= 0, got {field.name}={value!r}")

    @property
    def name(self) -> str:
        """The name in OPTIMIZERS."""
        return type(self).__name__.lower()

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        """What the rule takes after its state, at step t = 1, 2, ...; in + - * / and ** alone, as a device computes it
        where only it knows t (`ops.updates.rates_of`)."""
        return (lr,)

    def updates(
        self, parameters: Parameters, gradient: Gradient, state: Sequence[Array]
    ) -> tuple[tuple[updates.Rule, Array, Array, tuple[Array, ...], int], ...]:
        """What a step updates, as (rule, theta, g, state, how many of the rates the rule takes): all in one."""
        return ((self.rule, parameters.theta, gradient.g, tuple(state), len(self.rates(self.lr, 1))),)


@dataclass(frozen=True)
class SGD(Optimizer):
    """theta - lr g"""

    lr: float = 0.1


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = mu v + g, theta - lr v    (Polyak 1964)"""

    lr: float = 0.1
    mu: float = 0.9

    states: ClassVar[int] = 1
    rule: ClassVar[updates.Rule] = staticmethod(updates.momentum)

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.mu


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = mu v + g, theta - lr (g + mu v)    (Sutskever et al. 2013)"""

    rule: ClassVar[updates.Rule] = staticmethod(updates.nesterov)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """s = rho s + (1 - rho) g^2, theta - lr g / (sqrt(s) + eps)    (Tieleman & Hinton 2012)"""

    rho: float = 0.9
    eps: float = 1e-8

    states: ClassVar[int] = 1
    rule: ClassVar[updates.Rule] = staticmethod(updates.rmsprop)

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.rho, self.eps


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1"""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    states: ClassVar[int] = 2
    rule: ClassVar[updates.Rule] = staticmethod(updates.adam)

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        return lr / (1 - self.beta1**t), self.beta1, self.beta2, self.eps, (1 - self.beta2**t) ** -0.5


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with weight decay apart from the gradient, on the weights only    (Loshchilov & Hutter 2019)"""

    weight_decay: float = 0.01

    rule: ClassVar[updates.Rule] = staticmethod(updates.adamw)

    def rates(self, lr: float, t: int) -> tuple[float, ...]:
        return *super().rates(lr, t), lr * self.weight_decay

    def updates(
        self, parameters: Parameters, gradient: Gradient, state: Sequence[Array]
    ) -> tuple[tuple[updates.Rule, Array, Array, tuple[Array, ...], int], ...]:
        n, theta, g, rates = parameters.weights.shape[0], parameters.theta, gradient.g, len(self.rates(self.lr, 1))
        return (
            (self.rule, theta[:n], g[:n], tuple(s[:n] for s in state), rates),
            (updates.adam, theta[n:], g[n:], tuple(s[n:] for s in state), rates - 1),
        )


OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls for cls in (SGD, Momentum, Nesterov, RMSProp, Adam, AdamW)
}


@dataclass(frozen=True)
class Constant:
    """The learning rate stays; over the first `warmup` epochs it rises to there in a straight line."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < math.inf:
            raise ConfigError(f"warmup is a number of epochs >= 0, got {self.warmup!r}")

    def factor(self, epoch: float, epochs: int) -> float:
        """What the learning rate is multiplied by. `epoch` counts from 0 and is taken in the middle of a step."""
        rise = min(1.0, epoch / self.warmup) if self.warmup else 1.0
        return rise * self.decay(max(0.0, epoch - self.warmup), max(epochs - self.warmup, 1e-9))

    def decay(self, epoch: float, epochs: float) -> float:
        """The factor after the warm-up, `epoch` and `epochs` counted from its end."""
        return 1.0


@dataclass(frozen=True)
class StepDecay(Constant):
    """lr gamma^floor(epoch / every)"""

    every: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1 or not 0 < self.gamma <= 1:
            raise ConfigError(f"StepDecay needs every >= 1 and 0 < gamma <= 1, got {self.every!r} and {self.gamma!r}")

    def decay(self, epoch: float, epochs: float) -> float:
        return float(self.gamma ** math.floor(epoch / self.every))


@dataclass(frozen=True)
class Cosine(Constant):
    """lr (1 + cos(pi epoch / epochs)) / 2    (Loshchilov & Hutter 2017, without restarts)"""

    def decay(self, epoch: float, epochs: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / epochs)))


SCHEDULES: dict[str, type[Constant]] = {"constant": Constant, "step": StepDecay, "cosine": Cosine}
