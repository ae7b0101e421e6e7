"""The CPU without a compiler: the definitions in place, over blocks that fit the cache.

Times of the definition over these, measured as those of `kernels.numba`: bias + relu 2.6 and its backward 2.3, softmax
1.5 and its loss with dZ 6.7, Adam 1.8, sgd 1.2.

Elementwise definitions run on the tape (`kernels.tape`) and so are bit-identical to themselves. Reductions are written
by hand to need no array beyond the ones they fill.
"""

from collections.abc import Sequence

import numpy as np

from deepxp.kernels.philox import bits
from deepxp.kernels.tape import BLOCK, program
from deepxp.ops import regularization
from deepxp.ops.activations import Activation
from deepxp.ops.regularization import penalized
from deepxp.ops.typing import Array, Namespace
from deepxp.ops.updates import Rule


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """The product into Z, then bias and activation, block by block while Z is in the cache."""
    np.matmul(W, A_prev, out=Z)
    if not g.elementwise:
        np.add(Z, b, out=Z)
        A[...] = g.forward(xp, Z)
        return
    activate = program(g.forward, 1)
    rows = max(1, BLOCK // Z.shape[1])
    for top in range(0, Z.shape[0], rows):
        block = Z[top : top + rows]
        np.add(block, b[top : top + rows], out=block)
        source = block.reshape(-1)
        activate((source,), (source if A is Z else A[top : top + rows].reshape(-1),))


def activation_backward(xp: Namespace, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> None:
    """g' over blocks of rows, and their sums while they are in the cache."""
    if g.elementwise:
        source = dA.reshape(-1)
        out = source if dZ is dA else dZ.reshape(-1)
        program(g.backward, 2)((source, kept.reshape(-1)), (out,))
    else:
        dZ[...] = g.backward(xp, dA, kept)
    np.sum(dZ, axis=1, keepdims=True, out=db)
    np.divide(db, dZ.shape[1], out=db)


def weight_gradient(xp: Namespace, dZ: Array, A_prev: Array, dW: Array) -> None:
    """The product straight into the view of the flat gradient."""
    np.matmul(dZ, A_prev.T, out=dW)
    np.divide(dW, dZ.shape[1], out=dW)


def input_gradient(xp: Namespace, W: Array, dZ: Array, dA_prev: Array) -> None:
    """The product straight into its place."""
    np.matmul(W.T, dZ, out=dA_prev)


def softmax(xp: Namespace, Z: Array) -> Array:
    """One array, the result."""
    A = np.subtract(Z, np.max(Z, axis=0))
    np.exp(A, out=A)
    return np.divide(A, np.sum(A, axis=0), out=A)


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """dZ is the only (C, m) array: it holds z - max, then e^(z - max), then A - Y."""
    np.subtract(Z, np.max(Z, axis=0), out=dZ)
    chosen = np.einsum("ij,ij->j", Y, dZ)
    np.exp(dZ, out=dZ)
    total = np.sum(dZ, axis=0)
    np.divide(dZ, total, out=dZ)
    np.subtract(dZ, Y, out=dZ)
    np.subtract(np.log(total) * np.sum(Y, axis=0), chosen, out=losses)


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """As above, where Y is 1 in one place of a column: a gather and a scatter of m numbers."""
    np.subtract(Z, np.max(Z, axis=0), out=dZ)
    columns = np.arange(y.size)
    chosen = dZ[y, columns]
    np.exp(dZ, out=dZ)
    total = np.sum(dZ, axis=0)
    np.divide(dZ, total, out=dZ)
    dZ[y, columns] -= 1.0
    np.subtract(np.log(total), chosen, out=losses)


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """dZ is the only (n[L], m) array: it holds max(z, 0) - y z, then log(1 + e^-|z|), then A - Y."""
    np.multiply(Y, Z, out=dZ)
    for z, d in zip(Z, dZ, strict=True):
        np.subtract(np.maximum(z, 0.0), d, out=d)
    np.sum(dZ, axis=0, out=losses)
    np.negative(np.abs(Z, out=dZ), out=dZ)
    np.add(losses, np.sum(np.log1p(np.exp(dZ, out=dZ), out=dZ), axis=0), out=losses)
    np.multiply(Z, 0.5, out=dZ)
    np.add(np.tanh(dZ, out=dZ), 1.0, out=dZ)
    np.subtract(np.multiply(dZ, 0.5, out=dZ), Y, out=dZ)


def squared_error(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """The sum of squares without the squares."""
    np.subtract(Z, Y, out=dZ)
    np.einsum("ij,ij->j", dZ, dZ, out=losses)
    np.multiply(losses, 0.5, out=losses)


def weigh(xp: Namespace, w: Array, losses: Array, dZ: Array) -> None:
    """In place."""
    np.multiply(losses, w, out=losses)
    np.multiply(dZ, w, out=dZ)


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """The rule over blocks of theta, its state and its gradient together."""
    places = (0, *range(2, 2 + len(state)))
    program(rule, 2 + len(state), len(rates), places)((theta, g, *state), (theta, *state), rates)


def l2_penalty(xp: Namespace, w: Array, strength: float, J: Array) -> None:
    """Without the squares."""
    np.add(J, 0.5 * strength * np.dot(w, w), out=J)


def l2_gradient(xp: Namespace, w: Array, g: Array, strength: float) -> None:
    """In place, over blocks."""
    program(penalized, 2, 1)((g, w), (g,), (strength,))


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """In place, or into out."""
    np.multiply(A, 65536.0 / keep, out=out)
    np.copyto(out, 0.0, where=bits >= keep)


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """The words of NumPy's own Philox."""
    out[...] = bits(key, counter, layer, out.size).reshape(out.shape)


def clip_by_norm(xp: Namespace, g: Array, limit: float) -> None:
    """A pass over g that reads it, and one that writes it only where it is too long."""
    norm = np.sqrt(np.dot(g, g))
    if np.isinf(norm):  # its squares overflow
        regularization.clip_by_norm(xp, g, limit)
    elif not norm <= limit:  # also where the norm is NaN: it must reach g
        np.multiply(g, limit / norm, out=g)


def gather(xp: Namespace, table: Array, rows: Array, out: Array) -> None:
    """Row copies; `mode="clip"` because the default buffers the output to be able to raise."""
    if table.dtype == out.dtype:
        np.take(table, rows, axis=0, out=out, mode="clip")
    else:
        out[...] = table[rows]


def scale(xp: Namespace, X: Array, shift: Array, factor: Array) -> None:
    """In place."""
    np.subtract(X, shift, out=X)
    np.multiply(X, factor, out=X)
