"""The CPU with Numba: loops fused around the definitions, and reductions in one pass over memory.

The elementwise loops contain no formula: the definition is their body. Only softmax and its loss are written out.
Memory is C-contiguous, so a row of (n, m) is a vector, and vector loops stand in functions of their own: with
two-dimensional indices in the inner loop the same code runs several times slower.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from deepxp.kernels import scalars
from deepxp.kernels.compile import OPTIONS, SUM, body, kept
from deepxp.kernels.numpy import (
    clip_by_norm,
    gather,
    input_gradient,
    l2_gradient,
    l2_penalty,
    scale,
    squared_error,
    weigh,
    weight_gradient,
)
from deepxp.kernels.threads import split
from deepxp.ops import activations
from deepxp.ops import losses as cost_functions
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace
from deepxp.ops.updates import Rule

__all__ = [
    "activation_backward",
    "clip_by_norm",
    "cost",
    "dense_forward",
    "dropout",
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

TILE = 2**14  # numbers of a tile: with its exponentials half of a 256 kB second-level cache in float32


def record(backend: Any, step: Callable[[Any], None]) -> Callable[[], None]:
    """The step as one program of native calls; see `kernels.record`, which is built from the loops here."""
    from deepxp.kernels.record import record

    return record(backend, step)


# Loops around elementwise definitions


@cache
def forward_loops(g: Callable[..., Any], dtype: str) -> tuple[Any, Any]:
    xp, forward = scalars.namespace(dtype), body(g, dtype)

    def row_in_place(Z: Array, b: float) -> None:
        for j in range(Z.size):
            Z[j] = forward(xp, Z[j] + b)

    def row_apart(Z: Array, b: float, A: Array) -> None:
        for j in range(Z.size):
            z = Z[j] + b
            Z[j] = z
            A[j] = forward(xp, z)

    in_place, apart = kept(row_in_place, g, dtype), kept(row_apart, g, dtype)

    def rows_in_place(Z: Array, b: Array, start: int, stop: int) -> None:
        for i in range(start, stop):
            in_place(Z[i], b[i, 0])

    def rows_apart(Z: Array, b: Array, A: Array, start: int, stop: int) -> None:
        for i in range(start, stop):
            apart(Z[i], b[i, 0], A[i])

    return kept(rows_in_place, g, dtype), kept(rows_apart, g, dtype)


@cache
def backward_loop(g_backward: Callable[..., Any], dtype: str) -> Any:
    xp, backward = scalars.namespace(dtype), body(g_backward, dtype)
    real = np.dtype(dtype).type
    zero = real(0.0)

    def row(dZ: Array, saved: Array) -> Any:
        total = zero
        for j in range(dZ.size):
            dz = backward(xp, dZ[j], saved[j])
            dZ[j] = dz
            total += dz
        return total

    row = kept(row, g_backward, dtype, options=SUM)

    def rows(dZ: Array, saved: Array, db: Array, start: int, stop: int) -> None:
        for i in range(start, stop):
            db[i, 0] = row(dZ[i], saved[i]) / real(dZ.shape[1])

    return kept(rows, g_backward, dtype)


@cache
def update_loop(rule: Callable[..., Any], states: int, dtype: str) -> Any:
    xp, step = scalars.namespace(dtype), body(rule, dtype)

    def no_state(theta: Array, g: Array, rates: Any) -> None:
        for i in range(theta.size):
            (theta[i],) = step(xp, theta[i], g[i], *rates)

    def one_state(theta: Array, g: Array, v: Array, rates: Any) -> None:
        for i in range(theta.size):
            theta[i], v[i] = step(xp, theta[i], g[i], v[i], *rates)

    def two_states(theta: Array, g: Array, m: Array, v: Array, rates: Any) -> None:
        for i in range(theta.size):
            theta[i], m[i], v[i] = step(xp, theta[i], g[i], m[i], v[i], *rates)

    return kept((no_state, one_state, two_states)[states], rule, dtype)


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """The product into Z, then bias and activation in one pass."""
    np.matmul(W, A_prev, out=Z)
    if not g.elementwise:
        np.add(Z, b, out=Z)
        A[...] = g.forward(xp, Z)
        return
    in_place, apart = forward_loops(g.forward, Z.dtype.name)
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
    rows = backward_loop(g.backward, dZ.dtype.name)
    split(lambda start, stop: rows(dZ, kept, db, start, stop), dZ.shape[0], dZ.size)


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """The rule in one pass over theta, its gradient and its state."""
    loop, real = update_loop(rule, len(state), theta.dtype.name), theta.dtype.type
    numbers = tuple([real(rate) for rate in rates])
    vectors = (theta, g, *state)
    split(lambda start, stop: loop(*[v[start:stop] for v in vectors], numbers), theta.size, theta.size, unit=16)


# Reductions over the classes of a sample: blocks of columns that stay in the cache between the passes


@cache
def column_loops(dtype: str) -> tuple[Any, Any]:
    """Softmax over columns start..stop, in tiles of `width` columns and `height` rows; and its loss for labels.

    A tile is small enough to stay in the cache between its maximum and its exponentials. Its exponentials are taken
    from its own maximum; when all tiles of a column are done, a factor a tile makes up for the difference. So each is
    computed once, and memory is read twice and written twice however long a column is.
    """
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    zero, one, smallest = real(0.0), real(1.0), real(np.finfo(dtype).tiny)
    lowest = real(np.finfo(dtype).min)  # above -inf: a tile of nothing but -inf is e^-inf = 0, and not -inf - -inf
    maximum, exp, log = xp.maximum, xp.exp, xp.log

    def exponentials(Z: Array, A: Array, lo: int, hi: int, height: int, tops: Array, top: Array, total: Array) -> None:
        width = hi - lo
        part = np.empty(width, Z.dtype)
        for tile in range(tops.shape[0]):
            first, last = tile * height, min((tile + 1) * height, Z.shape[0])
            highest = tops[tile]
            for j in range(width):
                highest[j], part[j] = maximum(Z[first, lo + j], lowest), zero
            for i in range(first + 1, last):
                z = Z[i, lo:hi]
                for j in range(width):
                    highest[j] = maximum(highest[j], z[j])
            for i in range(first, last):
                z, a = Z[i, lo:hi], A[i, lo:hi]
                for j in range(width):
                    e = exp(z[j] - highest[j])
                    a[j] = e
                    part[j] += e
            if tile == 0:
                for j in range(width):
                    top[j], total[j] = highest[j], part[j]
            else:
                for j in range(width):
                    new = maximum(top[j], highest[j])
                    total[j] = total[j] * exp(top[j] - new) + part[j] * exp(highest[j] - new)
                    top[j] = new

    def shares(A: Array, lo: int, hi: int, height: int, tops: Array, top: Array, total: Array) -> None:
        width = hi - lo
        factor = np.empty(width, A.dtype)
        for tile in range(tops.shape[0]):
            highest = tops[tile]
            for j in range(width):
                factor[j] = exp(highest[j] - top[j]) / total[j]
            for i in range(tile * height, min((tile + 1) * height, A.shape[0])):
                a = A[i, lo:hi]
                for j in range(width):
                    y = a[j] * factor[j]
                    a[j] = zero if y < smallest else y

    exponentials, shares = (kept(f, dtype, options=SUM) for f in (exponentials, shares))

    def softmax_columns(Z: Array, A: Array, start: int, stop: int, height: int, width: int) -> None:
        tops = np.empty((-(-Z.shape[0] // height), width), Z.dtype)
        top, total = np.empty(width, Z.dtype), np.empty(width, Z.dtype)
        for lo in range(start, stop, width):
            hi = min(lo + width, stop)
            exponentials(Z, A, lo, hi, height, tops, top, total)
            shares(A, lo, hi, height, tops, top, total)

    def label_columns(
        Z: Array, y: Array, ell: Array, dZ: Array, start: int, stop: int, height: int, width: int
    ) -> None:
        tops = np.empty((-(-Z.shape[0] // height), width), Z.dtype)
        top, total = np.empty(width, Z.dtype), np.empty(width, Z.dtype)
        for lo in range(start, stop, width):
            hi = min(lo + width, stop)
            exponentials(Z, dZ, lo, hi, height, tops, top, total)
            for j in range(hi - lo):
                ell[lo + j] = log(total[j]) - (Z[y[lo + j], lo + j] - top[j])
            shares(dZ, lo, hi, height, tops, top, total)
            for j in range(lo, hi):
                dZ[y[j], j] -= one

    return kept(softmax_columns, dtype), kept(label_columns, dtype)


def tile_of(C: int) -> tuple[int, int]:
    """Rows and columns of a tile of `column_loops`, for columns of C numbers."""
    return (C, TILE // C // 16 * 16) if C <= 64 else (64, 256)


def _columns(loop: Callable[..., None], Z: Array, *arrays: Array) -> None:
    tile = tile_of(Z.shape[0])
    split(lambda start, stop: loop(Z, *arrays, start, stop, *tile), Z.shape[1], 4 * Z.size, unit=16)


def softmax(xp: Namespace, Z: Array) -> Array:
    """Maximum, exponentials and their sum, division: three passes over a block that stays in the cache."""
    A = np.empty_like(Z)
    _columns(column_loops(Z.dtype.name)[0], Z, A)
    return A


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """The passes of softmax, with the loss between them and the label's 1 taken off at the end."""
    _columns(column_loops(Z.dtype.name)[1], Z, y, losses, dZ)


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """softmax in compiled passes, the rest in NumPy: probabilities as targets are rare."""
    np.subtract(Z, np.max(Z, axis=0), out=dZ)
    chosen = np.einsum("ij,ij->j", Y, dZ)
    total = np.log(np.sum(np.exp(dZ), axis=0))
    _columns(column_loops(Z.dtype.name)[0], Z, dZ)
    np.subtract(dZ, Y, out=dZ)
    np.subtract(total * np.sum(Y, axis=0), chosen, out=losses)


@cache
def _logistic_loop(dtype: str) -> Any:
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    loss, link = body(cost_functions.logistic_loss, dtype), body(activations.sigmoid, dtype)
    zero = real(0.0)

    def columns(Z: Array, Y: Array, ell: Array, dZ: Array, start: int, stop: int) -> None:
        for j in range(start, stop):
            ell[j] = zero
        for i in range(Z.shape[0]):
            for j in range(start, stop):
                ell[j] += loss(xp, Z[i, j], Y[i, j])
                dZ[i, j] = link(xp, Z[i, j]) - Y[i, j]

    return kept(columns, cost_functions.logistic_loss, activations.sigmoid, dtype)


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """Loss and A - Y in one pass."""
    loop = _logistic_loop(Z.dtype.name)
    split(lambda start, stop: loop(Z, Y, losses, dZ, start, stop), Z.shape[1], 4 * Z.size, unit=16)


@cache
def mean_loop(dtype: str) -> Any:
    real = np.dtype(dtype).type

    def mean(ell: Array) -> Any:
        total = 0.0
        for j in range(ell.size):
            total += ell[j]
        return real(total / ell.size)

    return kept(mean, dtype, options=SUM)


def cost(xp: Namespace, losses: Array, J: Array) -> None:
    """The mean, summed in float64."""
    J[...] = mean_loop(losses.dtype.name)(losses)


@cache
def _dropout_loop(dtype: str) -> Any:
    zero = np.dtype(dtype).type(0.0)

    def drop(A: Array, bits: Array, keep: Any, factor: float, out: Array) -> None:
        for j in range(A.size):
            out[j] = A[j] * factor if bits[j] < keep else zero

    return kept(drop, dtype, options=OPTIONS)


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """One pass."""
    real = A.dtype.type
    _dropout_loop(A.dtype.name)(A.reshape(-1), bits.reshape(-1), keep, real(65536.0 / keep), out.reshape(-1))
