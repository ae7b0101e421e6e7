"""One dense layer, forward and backward: the lines of the recursion, each into arrays that the caller owns.

`Z` and `A` may be the same memory where g' reads A, and `dZ` may be the memory of `dA`: those are *consumed*.
"""

from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """Z[l] = W[l] A[l-1] + b[l],  A[l] = g[l](Z[l])

    W (n[l], n[l-1]), b (n[l], 1), A_prev (n[l-1], m); fills Z and A, both (n[l], m).
    """
    Z[...] = W @ A_prev + b
    A[...] = g.forward(xp, Z)


def activation_backward(xp: Namespace, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> None:
    """dZ[l] = dA[l] * g[l]'(Z[l]),  db[l] = 1/m sum over samples of dZ[l]

    `kept` is A[l] or Z[l], whichever g' reads, (n[l], m); fills dZ (n[l], m) and db (n[l], 1). dA is consumed.
    """
    dZ[...] = g.backward(xp, dA, kept)
    db[...] = xp.sum(dZ, axis=1, keepdims=True) / dZ.shape[1]


def weight_gradient(xp: Namespace, dZ: Array, A_prev: Array, dW: Array) -> None:
    """dW[l] = 1/m dZ[l] A[l-1]^T

    dZ (n[l], m), A_prev (n[l-1], m); fills dW (n[l], n[l-1]).
    """
    dW[...] = dZ @ A_prev.T / dZ.shape[1]


def input_gradient(xp: Namespace, W: Array, dZ: Array, dA_prev: Array) -> None:
    """dA[l-1] = W[l]^T dZ[l]

    W (n[l], n[l-1]), dZ (n[l], m); fills dA_prev (n[l-1], m).
    """
    dA_prev[...] = W.T @ dZ
