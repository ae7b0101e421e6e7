"""The CPU with Numba: the operations on the compiled loops of `kernels.loops`, over several threads where it pays.

Times of the definition over these, float32 on two threads of an AMD EPYC (docs/performance.md has the table, and the
command): bias + relu 5.6 and its backward 21 at n = 2048, m = 1024; softmax 3.8 and its loss with dZ 15 at C = 32000,
m = 1024; Adam 16 and sgd 7.6 on 2.2 million parameters.
"""

from collections.abc import Sequence

import numpy as np

from deepxp.kernels import columns, loops
from deepxp.kernels.compile import precision
from deepxp.kernels.numpy import (
    clip_by_norm,
    dropout_bits,
    gather,
    input_gradient,
    l2_gradient,
    l2_penalty,
    scale,
    squared_error,
    weigh,
    weight_gradient,
)
from deepxp.kernels.record import once, record
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace
from deepxp.ops.updates import Rule

__all__ = [
    "activation_backward",
    "clip_by_norm",
    "cost",
    "dense_forward",
    "dropout",
    "dropout_bits",
    "gather",
    "input_gradient",
    "l2_gradient",
    "l2_penalty",
    "record",
    "scale",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_labels",
    "squared_error",
    "update",
    "weigh",
    "weight_gradient",
]


LARGE = 100_000  # numbers, from which on the team is worth the 10 us that telling it takes


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """The product into Z, then bias and activation in one pass."""
    if Z.size > LARGE and once("dense_forward", W, b, A_prev, g, Z, A):
        return
    np.matmul(W, A_prev, out=Z)
    if not g.elementwise:
        np.add(Z, b, out=Z)
        A[...] = g.forward(xp, Z)
        return
    in_place, apart = loops.forward_loops(g.forward, precision(Z))
    if A is Z:
        in_place(Z, b, 0, Z.shape[0])
    else:
        apart(Z, b, A, 0, Z.shape[0])


def activation_backward(xp: Namespace, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> None:
    """g' and the sums of the rows in one pass."""
    if not g.elementwise:
        dZ[...] = g.backward(xp, dA, kept)
        np.sum(dZ, axis=1, keepdims=True, out=db)
        np.divide(db, dZ.shape[1], out=db)
        return
    if dZ is not dA:
        np.copyto(dZ, dA)
    if dZ.size <= LARGE or not once("activation_backward", g, dZ, kept, dZ, db):
        loops.backward_loop(g.backward, precision(dZ))(dZ, kept, db, 0, dZ.shape[0])


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """The rule in one pass over theta, its gradient and its state."""
    if theta.size > LARGE and once("update", rule, theta, g, state, rates):
        return
    loop, real = loops.update_loop(rule, len(state), precision(theta)), theta.dtype.type
    loop(theta, g, *state, tuple([real(rate) for rate in rates]))


def _softened(Z: Array, A: Array, *labelled: Array) -> None:
    if Z.size > LARGE:
        once("softmax_into", Z, A, *labelled)
    else:
        loop = columns.whole(precision(Z), labels=bool(labelled))
        loop(Z, A, columns.width_of(Z.shape[0]), *labelled)


def softmax(xp: Namespace, Z: Array) -> Array:
    """Maximum, exponentials and shares."""
    Z = np.ascontiguousarray(Z)
    A = np.empty_like(Z)
    _softened(Z, A)
    return A


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """The passes of softmax, with the loss between them and the label's 1 taken off at the end."""
    _softened(Z, dZ, y, losses)


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """softmax in compiled passes, the rest in NumPy: probabilities as targets are rare."""
    np.subtract(Z, np.max(Z, axis=0), out=dZ)
    chosen = np.einsum("ij,ij->j", Y, dZ)
    total = np.log(np.sum(np.exp(dZ), axis=0))
    _softened(Z, dZ)
    np.subtract(dZ, Y, out=dZ)
    np.subtract(total * np.sum(Y, axis=0), chosen, out=losses)


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """Loss and A - Y in one pass."""
    loops.logistic_loop(precision(Z))(Z, Y, losses, dZ, 0, Z.shape[1])


def cost(xp: Namespace, losses: Array, J: Array) -> None:
    """The mean, summed in float64."""
    J[...] = loops.mean_loop(precision(losses))(losses)


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """One pass."""
    real = A.dtype.type
    loops.dropout_loop(precision(A))(A.reshape(-1), bits.reshape(-1), keep, real(65536.0 / keep), out.reshape(-1))
