"""An activation and a rule such as a user writes: no line of kernel code, and as fast as those of deepxp?"""

from dataclasses import dataclass
from typing import ClassVar

import deepxp as dx


def swish(xp, Z):
    """Z / (1 + e^-Z)"""
    return Z / (1.0 + xp.exp(-Z))


def swish_backward(xp, dA, Z):
    """dA (s + Z s (1 - s)), s = 1 / (1 + e^-Z)"""
    s = 1.0 / (1.0 + xp.exp(-Z))
    return dA * (s + Z * s * (1.0 - s))


def lion(xp, theta, g, m, rate, beta1, beta2):
    """Chen et al. 2023, algorithm 2, without decay"""
    step = beta1 * m + (1.0 - beta1) * g
    return theta - rate * xp.sign(step), beta2 * m + (1.0 - beta2) * g


@dataclass(frozen=True)
class Lion(dx.SGD):
    """The rule with its rates."""

    states: ClassVar[int] = 1
    rule: ClassVar = staticmethod(lion)

    def rates(self, lr, t):
        return lr, 0.9, 0.99


ACTIVATIONS = {"a user's swish": dx.Activation("swish", swish, swish_backward)}
OPTIMIZERS = {"a user's lion": Lion}
