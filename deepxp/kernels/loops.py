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
