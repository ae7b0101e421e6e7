"""The parameters are one vector, theta = [W1 ... WL | b1 ... bL], and so is their gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deepxp.ops.typing import Array, Namespace


def count_weights(sizes: Sequence[int]) -> int:
    """The number of weights of all layers: theta[:count] is [W1 ... WL]."""
    return sum(n * n_prev for n_prev, n in pairwise(sizes))


def count_parameters(sizes: Sequence[int]) -> int:
    """The length of theta: all weights and all biases."""
    return count_weights(sizes) + sum(sizes[1:])


def layer_views(
    xp: Namespace, vector: Array, sizes: Sequence[int]
) -> tuple[tuple[Array | None, ...], tuple[Array | None, ...]]:
    """W and b, indexed 1..L as in the equations: W[l] (n[l], n[l-1]) and b[l] (n[l], 1) are views of the vector."""
    W: list[Array | None] = [None]
    b: list[Array | None] = [None]
    start = 0
    for n_prev, n in pairwise(sizes):
        W.append(xp.reshape(vector[start : start + n * n_prev], (n, n_prev)))
        start += n * n_prev
    for n in sizes[1:]:
        b.append(xp.reshape(vector[start : start + n], (n, 1)))
        start += n
    return tuple(W), tuple(b)


@dataclass(frozen=True)
class Parameters:
    """theta and its views: the weights W[l], the biases b[l], and `weights`, all of the W in one vector."""

    theta: Array
    weights: Array
    W: tuple[Array, ...]
    b: tuple[Array, ...]

    @classmethod
    def of(cls, xp: Namespace, theta: Array, sizes: Sequence[int]) -> "Parameters":
        """The views of a vector of `count_parameters(sizes)` numbers."""
        return cls(theta, theta[: count_weights(sizes)], *layer_views(xp, theta, sizes))


@dataclass(frozen=True)
class Gradient:
    """g, the derivative of J for theta, and its views dW[l], db[l]; `weights` is the part of all of the dW."""

    g: Array
    weights: Array
    dW: tuple[Array, ...]
    db: tuple[Array, ...]

    @classmethod
    def of(cls, xp: Namespace, g: Array, sizes: Sequence[int]) -> "Gradient":
        """The views of a vector of `count_parameters(sizes)` numbers."""
        return cls(g, g[: count_weights(sizes)], *layer_views(xp, g, sizes))
