"""The compiled loops: each is made for a definition and a precision, and contains no formula but its reductions.

The elementwise loops have the definition as their body. Memory is C-contiguous, so a row of (n, m) is a vector, and
vector loops stand in functions of their own: with two-dimensional indices in the inner loop the same code runs several
times slower.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from deepxp.kernels import scalars
from deepxp.kernels.compile import SUM, body, kept
from deepxp.ops import activations, losses
from deepxp.ops.typing import Array

TILE = 2**17  # numbers of a tile: with its exponentials a 1 MB second-level cache in float32


@cache
def forward_loops(g: Callable[..., Any], dtype: str) -> tuple[Any, Any]:
    """(in_place, apart): rows start..stop of Z become g(Z + b), or Z + b beside A = g(Z + b)."""
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
    """Rows start..stop of dA become dZ = dA * g', and their means go to db."""
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
    """theta and its state vectors by a rule, in one pass."""
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


@cache
def column_loops(dtype: str) -> tuple[Any, Any]:
    """Softmax over columns start..stop, in tiles of `width` columns and `height` rows; and its loss for labels.

    A tile is small enough to stay in the cache between its maximum and its exponentials. Its exponentials are taken
    from its own maximum; when all tiles of a column are done, a factor a tile makes up for the difference. So each is
    computed once, and memory is read twice and written twice however long a column is.
    """
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    zero, one, nan, smallest = real(0.0), real(1.0), real(np.nan), real(np.finfo(dtype).tiny)
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
        width = min(width, stop - start)
        tops = np.empty((-(-Z.shape[0] // height), width), Z.dtype)
        top, total = np.empty(width, Z.dtype), np.empty(width, Z.dtype)
        for lo in range(start, stop, width):
            hi = min(lo + width, stop)
            exponentials(Z, A, lo, hi, height, tops, top, total)
            shares(A, lo, hi, height, tops, top, total)

    def label_columns(
        Z: Array, y: Array, ell: Array, dZ: Array, start: int, stop: int, height: int, width: int
    ) -> None:
        width = min(width, stop - start)
        tops = np.empty((-(-Z.shape[0] // height), width), Z.dtype)
        top, total = np.empty(width, Z.dtype), np.empty(width, Z.dtype)
        for lo in range(start, stop, width):
            hi = min(lo + width, stop)
            exponentials(Z, dZ, lo, hi, height, tops, top, total)
            for j in range(hi - lo):
                label = y[lo + j]
                known = 0 <= label < Z.shape[0]  # memory is not guarded here, and `run` takes what stands in Y
                ell[lo + j] = log(total[j]) - (Z[label, lo + j] - top[j]) if known else nan
            shares(dZ, lo, hi, height, tops, top, total)
            for j in range(lo, hi):
                if 0 <= y[j] < Z.shape[0]:
                    dZ[y[j], j] -= one

    return kept(softmax_columns, dtype), kept(label_columns, dtype)


def tile_of(C: int, m: int) -> tuple[int, int]:
    """Rows and columns of a tile of `column_loops`, for m columns of C numbers.

    With few rows a tile may be wide, and where the rows are far apart in memory it should be: a long piece of each row
    is what the processor fetches ahead.
    """
    if C > 64:
        return 64, 128
    return C, 512 if m <= 2**14 else TILE // C // 16 * 16


@cache
def logistic_loop(dtype: str) -> Any:
    """The logistic loss of columns start..stop, and their dZ."""
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    loss, link = body(losses.logistic_loss, dtype), body(activations.sigmoid, dtype)
    zero = real(0.0)

    def columns(Z: Array, Y: Array, ell: Array, dZ: Array, start: int, stop: int) -> None:
        for j in range(start, stop):
            ell[j] = zero
        for i in range(Z.shape[0]):
            for j in range(start, stop):
                ell[j] += loss(xp, Z[i, j], Y[i, j])
                dZ[i, j] = link(xp, Z[i, j]) - Y[i, j]

    return kept(columns, losses.logistic_loss, activations.sigmoid, dtype)


@cache
def mean_loop(dtype: str) -> Any:
    """The mean of a vector, summed in float64."""
    real = np.dtype(dtype).type

    def mean(ell: Array) -> Any:
        total = 0.0
        for j in range(ell.size):
            total += ell[j]
        return real(total / ell.size)

    return kept(mean, dtype, options=SUM)


@cache
def dropout_loop(dtype: str) -> Any:
    """A number times a factor where its bits are below `keep`, else 0."""
    zero = np.dtype(dtype).type(0.0)

    def drop(A: Array, bits: Array, keep: Any, factor: float, out: Array) -> None:
        for j in range(A.size):
            out[j] = A[j] * factor if bits[j] < keep else zero

    return kept(drop, dtype)
