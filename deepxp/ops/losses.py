"""The loss of each sample and dZ[L], for each pair of link and cost; `LOSSES` binds them.

A loss is computed from Z[L], never from a clipped A[L]: a loss of 1000 is reported as 1000. Each op fills `losses`
(m,), whose mean is J, and dZ (n[L], m), the derivative of their *sum*: the 1/m of J appears in dW and db only.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deepxp.ops.activations import (
    ACTIVATIONS,
    Activation,
    exponential,
    exponential_backward,
    identity,
    sigmoid,
    softmax,
)
from deepxp.ops.typing import Array, Namespace

INFINITY = float("inf")


@dataclass(frozen=True)
class Loss:
    """The output layer in one object: the link g[L], and the cost whose derivative through that link is dZ[L].

    `evaluate(xp, Z, Y, losses, dZ)` takes targets as columns; `evaluate_labels(xp, Z, y, classes, losses, dZ)`, where
    there is one, takes labels (m,) and the column of the class numbers 0 .. C-1. `least` is the least
    number that a target may be, where they are numbers.
    """

    name: str
    link: Activation
    evaluate: Callable[[Namespace, Array, Array, Array, Array], None]
    evaluate_labels: Callable[[Namespace, Array, Array, Array, Array, Array], None] | None = None
    least: float = -INFINITY

    @property
    def of_numbers(self) -> bool:
        """Are A[L] and the targets any numbers? With the links softmax and sigmoid they are probabilities."""
        return self.link.name not in ("softmax", "sigmoid")


def log_softmax(xp: Namespace, Z: Array) -> Array:
    """log a_i = z_i - log sum_k e^(z_k), by log-sum-exp"""
    S = Z - xp.max(Z, axis=0, keepdims=True)
    return S - xp.log(xp.sum(xp.exp(S), axis=0, keepdims=True))


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """-sum_i y_i log a_i with a = softmax(z), and dZ = A - Y

    Y (C, m): one-hot, or any probability columns.
    """
    losses[...] = -xp.sum(Y * log_softmax(xp, Z), axis=0)
    dZ[...] = softmax(xp, Z) - Y


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """-log a_i with i the label y (m,): y_i = 1 where i is the label, else 0

    classes (C, 1) holds 0 .. C-1. A kernel never forms the (C, m) arrays that the definition reads.
    """
    chosen = classes == y
    losses[...] = -xp.sum(xp.where(chosen, log_softmax(xp, Z), 0.0), axis=0)
    dZ[...] = softmax(xp, Z) - xp.where(chosen, xp.ones_like(Z), 0.0)


def logistic_loss(xp: Namespace, z: Array, y: Array) -> Array:
    """-(y log a + (1 - y) log(1 - a)) with a = sigmoid(z), as max(z, 0) - y z + log(1 + e^-|z|)

    which neither overflows nor cancels.
    """
    return xp.maximum(z, 0.0) - y * z + xp.log1p(xp.exp(-xp.abs(z)))


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """The logistic loss summed over the outputs, and dZ = A - Y

    Two classes have one output; several labels at once have one output each. Y (n[L], m), each in [0, 1].
    """
    losses[...] = xp.sum(logistic_loss(xp, Z, Y), axis=0)
    dZ[...] = sigmoid(xp, Z) - Y


def squared_error(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """1/2 sum_i (a_i - y_i)^2 with a = z, and dZ = A - Y

    Y (n[L], m).
    """
    dZ[...] = identity(xp, Z) - Y
    losses[...] = 0.5 * xp.sum(dZ * dZ, axis=0)


def poisson_deviance(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """sum_i y_i log(y_i / a_i) - y_i + a_i with a = e^z, and dZ = A - Y    (half of the deviance; 0 log 0 = 0)

    Y (n[L], m), not negative: counts, or rates. The first term is y log y - y z, in which no quotient overflows; where
    y is 0 the logarithm is that of 1.
    """
    A = exponential(xp, Z)
    losses[...] = xp.sum(Y * (xp.log(Y + (1.0 - xp.sign(Y))) - Z) - Y + A, axis=0)
    dZ[...] = A - Y


def weigh(xp: Namespace, w: Array, losses: Array, dZ: Array) -> None:
    """losses_j = w_j losses_j and dZ_j = w_j dZ_j: sample weights w (m,), of mean 1 over the training set"""
    losses[...] = w * losses
    dZ[...] = w * dZ


def cost(xp: Namespace, losses: Array, J: Array) -> None:
    """J = 1/m sum_j losses_j; fills J, an array of no dimensions"""
    J[...] = xp.mean(losses)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(
            "softmax-cross-entropy",
            ACTIVATIONS["softmax"],
            softmax_cross_entropy,
            evaluate_labels=softmax_cross_entropy_labels,
        ),
        Loss("sigmoid-cross-entropy", ACTIVATIONS["sigmoid"], sigmoid_cross_entropy),
        Loss("squared-error", ACTIVATIONS["identity"], squared_error),
    )
}

# A value to hand to a Network, which trains, predicts and is evaluated with it, and none of LOSSES: the name in a model
# file and on the command line is chosen by the targets, and counts do not tell themselves from other whole numbers.
POISSON = Loss(
    "poisson-deviance",
    Activation("exp", exponential, exponential_backward),
    poisson_deviance,
    least=0.0,
)
