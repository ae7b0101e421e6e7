"""The CPU with Numba: the operations on the compiled loops of `kernels.loops`, over several threads where it pays."""

from collections.abc import Callable, Sequence

import numpy as np

from deepxp.kernels import loops
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
from deepxp.kernels.record import record
from deepxp.kernels.threads import split
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


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """The product into Z, then bias and activation in one pass."""
    np.matmul(W, A_prev, out=Z)
    if not g.elementwise:
        np.add(Z, b, out=Z)
        A[...] = g.forward(xp, Z)
        return
    in_place, apart = loops.forward_loops(g.forward, Z.dtype.name)
    if A is Z:
        split(lambda start, stop: in_place(Z, b, start, stop), Z.shape[0], Z.size)
    else:
        split(lambda start, stop: apart(Z, b, A, start, stop), Z.shape[0], Z.size)


def activation_backward(xp: Namespace, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> None:
    """g' and the sums of the rows in one pass."""
    if not g.elementwise:
        dZ[...] = g.backward(xp, dA, kept)
        np.sum(dZ, axis=1, keepdims=True, out=db)
        np.divide(db, dZ.shape[1], out=db)
        return
    if dZ is not dA:
        np.copyto(dZ, dA)
    rows = loops.backward_loop(g.backward, dZ.dtype.name)
    split(lambda start, stop: rows(dZ, kept, db, start, stop), dZ.shape[0], dZ.size)


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """The rule in one pass over theta, its gradient and its state."""
    loop, real = loops.update_loop(rule, len(state), theta.dtype.name), theta.dtype.type
    numbers = tuple([real(rate) for rate in rates])
    vectors = (theta, g, *state)
    split(lambda start, stop: loop(*[v[start:stop] for v in vectors], numbers), theta.size, theta.size, unit=16)


def _columns(loop: Callable[..., None], Z: Array, *arrays: Array) -> None:
    tile = loops.tile_of(*Z.shape)
    split(lambda start, stop: loop(Z, *arrays, start, stop, *tile), Z.shape[1], 2 * Z.size, unit=16)


def softmax(xp: Namespace, Z: Array) -> Array:
    """Maximum, exponentials and their sum, division: three passes over a block that stays in the cache."""
    A = np.empty_like(Z)
    _columns(loops.column_loops(Z.dtype.name)[0], Z, A)
    return A


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """The passes of softmax, with the loss between them and the label's 1 taken off at the end."""
    _columns(loops.column_loops(Z.dtype.name)[1], Z, y, losses, dZ)


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """softmax in compiled passes, the rest in NumPy: probabilities as targets are rare."""
    np.subtract(Z, np.max(Z, axis=0), out=dZ)
    chosen = np.einsum("ij,ij->j", Y, dZ)
    total = np.log(np.sum(np.exp(dZ), axis=0))
    _columns(loops.column_loops(Z.dtype.name)[0], Z, dZ)
    np.subtract(dZ, Y, out=dZ)
    np.subtract(total * np.sum(Y, axis=0), chosen, out=losses)


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """Loss and A - Y in one pass."""
    loop = loops.logistic_loop(Z.dtype.name)
    split(lambda start, stop: loop(Z, Y, losses, dZ, start, stop), Z.shape[1], 2 * Z.size, unit=16)


def cost(xp: Namespace, losses: Array, J: Array) -> None:
    """The mean, summed in float64."""
    J[...] = loops.mean_loop(losses.dtype.name)(losses)


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """One pass."""
    real = A.dtype.type
    loops.dropout_loop(A.dtype.name)(A.reshape(-1), bits.reshape(-1), keep, real(65536.0 / keep), out.reshape(-1))
