"""The loops of `kernels.loops` and `kernels.columns`, and the BLAS, as functions of one block of words.

They are what a program of native calls is made of: `kernels.record` writes down which of them, and the words.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import carray
from numba.np.unsafe.ndarray import to_fixed_tuple

from deepxp.kernels import columns, loops, native
from deepxp.ops.updates import Rule

Kernel = Any


@cache
def gemm(dtype: str) -> Kernel:
    """C = alpha A B by the BLAS: (function, A turned?, B turned?, m, n, k, alpha, A, lda, B, ldb, C, ldc)."""
    real = np.dtype(dtype).type

    def product(a: Any) -> None:
        alpha = real(native.number(a[6]))
        native.gemm(a[0], a[1], a[2], a[3], a[4], a[5], alpha, a[7], a[8], a[9], a[10], a[11], a[12])

    return native.kernel(product, dtype)


@cache
def forward(g: Callable[..., Any], dtype: str, apart: bool) -> Kernel:
    """A = g(Z + b), in the memory of Z or beside Z + b: (Z, b, A, n, m)."""
    zero = np.dtype(dtype).type(0)
    in_place, both = loops.forward_loops(g, dtype)

    def rows_in_place(a: Any) -> None:
        n, m = a[3], a[4]
        Z, b = carray(native.as_pointer(a[0], zero), (n, m)), carray(native.as_pointer(a[1], zero), (n, 1))
        in_place(Z, b, 0, n)

    def rows_apart(a: Any) -> None:
        n, m = a[3], a[4]
        Z, b = carray(native.as_pointer(a[0], zero), (n, m)), carray(native.as_pointer(a[1], zero), (n, 1))
        both(Z, b, carray(native.as_pointer(a[2], zero), (n, m)), 0, n)

    return native.kernel(rows_apart if apart else rows_in_place, g, dtype)


@cache
def backward(g_backward: Callable[..., Any], dtype: str) -> Kernel:
    """dZ = dA * g' in the memory of dA, and its means: (dZ, A or Z, db, n, m)."""
    zero, loop = np.dtype(dtype).type(0), loops.backward_loop(g_backward, dtype)

    def rows(a: Any) -> None:
        n, m = a[3], a[4]
        dZ, saved = carray(native.as_pointer(a[0], zero), (n, m)), carray(native.as_pointer(a[1], zero), (n, m))
        loop(dZ, saved, carray(native.as_pointer(a[2], zero), (n, 1)), 0, n)

    return native.kernel(rows, g_backward, dtype)


@cache
def block(dtype: str, labels: bool) -> Kernel:
    """Softmax of some columns: (Z, A, y, losses, C, m, first, last, width); y and losses with labels only."""
    loop = columns.block(dtype, labels=labels)

    def some_columns(a: Any) -> None:
        loop(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8])

    return native.kernel(some_columns, dtype, labels)


@cache
def first_pass(dtype: str, store: bool) -> Kernel:
    """Maxima and sums of some rows: (Z, A, states, part, m, first, last)."""
    loop = columns.first_pass(dtype, store=store)

    def some_rows(a: Any) -> None:
        loop(a[0], a[1], a[2], a[3], a[4], a[5], a[6])

    return native.kernel(some_rows, dtype, store)


@cache
def second_pass(dtype: str, store: bool, labels: bool) -> Kernel:
    """Shares of some rows: (Z, A, states, parts, part, y, losses, C, m, together, first, last)."""
    loop = columns.second_pass(dtype, store=store, labels=labels)

    def some_rows(a: Any) -> None:
        loop(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11])

    return native.kernel(some_rows, dtype, store, labels)


@cache
def mean(dtype: str) -> Kernel:
    """J of the samples' losses: (losses, J, m)."""
    zero, loop = np.dtype(dtype).type(0), loops.mean_loop(dtype)

    def mean(a: Any) -> None:
        carray(native.as_pointer(a[1], zero), 1)[0] = loop(carray(native.as_pointer(a[0], zero), a[2]))

    return native.kernel(mean, dtype)


@cache
def updated(rule: Rule, states: int, rates: int, dtype: str) -> Kernel:
    """A rule on a piece of theta: (theta, g, two vectors of state, rates, size)."""
    zero, loop = np.dtype(dtype).type(0), loops.update_loop(rule, states, dtype)

    def no_state(a: Any) -> None:
        theta, g = carray(native.as_pointer(a[0], zero), a[5]), carray(native.as_pointer(a[1], zero), a[5])
        loop(theta, g, to_fixed_tuple(carray(native.as_pointer(a[4], zero), rates), rates))

    def one_state(a: Any) -> None:
        theta, g = carray(native.as_pointer(a[0], zero), a[5]), carray(native.as_pointer(a[1], zero), a[5])
        v = carray(native.as_pointer(a[2], zero), a[5])
        loop(theta, g, v, to_fixed_tuple(carray(native.as_pointer(a[4], zero), rates), rates))

    def two_states(a: Any) -> None:
        theta, g = carray(native.as_pointer(a[0], zero), a[5]), carray(native.as_pointer(a[1], zero), a[5])
        m, v = carray(native.as_pointer(a[2], zero), a[5]), carray(native.as_pointer(a[3], zero), a[5])
        loop(theta, g, m, v, to_fixed_tuple(carray(native.as_pointer(a[4], zero), rates), rates))

    return native.kernel((no_state, one_state, two_states)[states], rule, rates, dtype)
