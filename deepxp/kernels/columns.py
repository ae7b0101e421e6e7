"""Softmax over columns, and its loss for labels, in compiled passes along the rows that memory holds.

Threads that write next to each other in every row take the memory from each other (measured for (100, 1024) on two
threads: 75 us where halves of the columns are taken, 20 us where the halves are arrays of their own). So parts are
rows, and what belongs to a column is brought together between two passes, as a maximum and a sum for each part:

- `first_pass` with `store` writes e^(Z - its own maximum) into A, and `second_pass` makes up for the difference. Every
  exponential is computed once. For what stays in the cache.
- Without, the first pass only keeps a running maximum and sum (Milakov & Gimelshein 2018), and the second computes the
  exponentials again. Memory is read twice and written once, in its own order, which is what counts for the rest.
- `block` goes through maximum, exponentials and shares for some columns at a time. For one thread, and for columns so
  many that it matters little where two threads meet.

Short rows are taken several at a time, as one long row with that many times the columns. Pieces of rows are addressed
by pointers: slices of an array are counted references, which cost as much as 100 exponentials (measured: 0.56 ns a
number with them, 0.39 without, for 10 classes).
"""

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from deepxp.kernels import scalars
from deepxp.kernels.compile import SUM, kept
from deepxp.kernels.native import as_pointer
from deepxp.ops.typing import Array

LONG = 1024  # numbers of a row below which several are taken together
CACHED = 2**16  # numbers of Z, and as many of A, that stay in the second-level cache between two looks at them
TILE = 16  # rows whose maximum is taken at a time in the first pass


@cache
def rows(dtype: str) -> dict[str, Any]:
    """What is done to a piece of a row; all are vector loops."""
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    zero, smallest = real(0.0), real(np.finfo(dtype).tiny)
    maximum, exp = xp.maximum, xp.exp_falling

    def raise_maximum(z: Array, top: Array) -> None:
        for j in range(z.size):
            top[j] = maximum(top[j], z[j])

    def exponentials(z: Array, top: Array, a: Array, total: Array) -> None:
        for j in range(z.size):
            e = exp(z[j] - top[j])
            a[j] = e
            total[j] += e

    def sum_exponentials(z: Array, top: Array, total: Array) -> None:
        for j in range(z.size):
            total[j] += exp(z[j] - top[j])

    def shares(a: Array, factor: Array) -> None:
        for j in range(a.size):
            y = a[j] * factor[j]
            a[j] = zero if y < smallest else y

    def exponential_shares(z: Array, top: Array, factor: Array, a: Array) -> None:
        for j in range(z.size):
            y = exp(z[j] - top[j]) * factor[j]
            a[j] = zero if y < smallest else y

    def merge(top: Array, total: Array, other_top: Array, other_total: Array) -> None:
        for j in range(top.size):
            new = maximum(top[j], other_top[j])
            total[j] = total[j] * exp(top[j] - new) + other_total[j] * exp(other_top[j] - new)
            top[j] = new

    functions = raise_maximum, exponentials, sum_exponentials, shares, exponential_shares, merge
    return {f.__name__: kept(f, dtype, options=SUM) for f in functions}


@cache
def block(dtype: str, *, labels: bool) -> Any:
    """A = softmax(Z) for columns start..stop, `width` at a time; with labels A becomes dZ, and the losses are filled.

    Z, A, y and losses are addresses, of (C, m) and (m,).
    """
    real = np.dtype(dtype).type
    zero, one, label, size = real(0.0), real(1.0), np.int32(0), np.dtype(dtype).itemsize
    lowest = real(np.finfo(dtype).min)  # above -inf: a column of nothing but -inf is e^-inf = 0, and not -inf - -inf
    row = rows(dtype)
    log, nan = scalars.namespace(dtype).log, real(np.nan)
    raise_maximum, exponentials, shares = row["raise_maximum"], row["exponentials"], row["shares"]

    def columns(Z: int, A: int, y: int, losses: int, C: int, m: int, start: int, stop: int, width: int) -> None:
        width = min(width, stop - start)
        space = np.empty((2, width), real)
        table, dZ = carray(as_pointer(Z, zero), (C, m)), carray(as_pointer(A, zero), (C, m))
        for lo in range(start, stop, width):
            n = min(width, stop - lo)
            top, total = space[0, :n], space[1, :n]
            top[:], total[:] = lowest, zero
            for i in range(C):
                raise_maximum(carray(as_pointer(Z + size * (i * m + lo), zero), n), top)
            for i in range(C):
                at = size * (i * m + lo)
                exponentials(carray(as_pointer(Z + at, zero), n), top, carray(as_pointer(A + at, zero), n), total)
            if labels:
                here, ell = carray(as_pointer(y + 4 * lo, label), n), carray(as_pointer(losses + size * lo, zero), n)
                for j in range(n):  # labels are looked at here: memory is not guarded, and `run` takes what stands in Y
                    known = 0 <= here[j] < C
                    ell[j] = log(total[j]) - (table[here[j], lo + j] - top[j]) if known else nan
            for j in range(n):
                total[j] = one / total[j]
            for i in range(C):
                shares(carray(as_pointer(A + size * (i * m + lo), zero), n), total)
            if labels:
                for j in range(n):
                    if 0 <= here[j] < C:
                        dZ[here[j], lo + j] -= one

    return kept(columns, dtype, labels)


def width_of(C: int) -> int:
    """Columns of a block: they stay in the cache, but are not so few that the ends of the pieces count."""
    return max(256, min(CACHED // C, 2 * LONG) // 16 * 16)


@cache
def whole(dtype: str, *, labels: bool) -> Any:
    """`block` for all columns of arrays."""
    loop = block(dtype, labels=labels)

    def softmax(Z: Array, A: Array, width: int) -> None:
        loop(Z.ctypes.data, A.ctypes.data, 0, 0, Z.shape[0], Z.shape[1], 0, Z.shape[1], width)

    def loss(Z: Array, dZ: Array, width: int, y: Array, losses: Array) -> None:
        data = Z.ctypes.data, dZ.ctypes.data, y.ctypes.data, losses.ctypes.data
        loop(*data, Z.shape[0], Z.shape[1], 0, Z.shape[1], width)

    return kept(loss if labels else softmax, dtype, labels)


def is_wide(C: int, m: int) -> bool:
    """Are there so many columns, and few classes, that threads had better take columns?"""
    return m >= max(4096, 8 * C) and C <= 1024


def rows_together(C: int, m: int) -> int:
    """How many short rows of (C, m) are taken as one long one."""
    return next((k for k in range(max(1, min(LONG // m, C // TILE)), 1, -1) if C % k == 0), 1)


@cache
def first_pass(dtype: str, *, store: bool) -> Any:
    """The maximum of rows first..last of Z (C, m) and the sum of their exponentials, in states[me] (2, m)."""
    real = np.dtype(dtype).type
    zero, size, lowest = real(0.0), np.dtype(dtype).itemsize, real(np.finfo(dtype).min)
    row = rows(dtype)
    raise_maximum, exponentials, sum_exponentials = row["raise_maximum"], row["exponentials"], row["sum_exponentials"]
    merge = row["merge"]

    def stored(Z: int, A: int, states: int, me: int, m: int, first: int, last: int) -> None:
        state = carray(as_pointer(states + size * 2 * m * me, zero), (2, m))
        top, total = state[0], state[1]
        top[:], total[:] = lowest, zero
        width = max(LONG // 2, CACHED // (last - first))
        for lo in range(0, m, width):
            n = min(width, m - lo)
            here, part = top[lo : lo + n], total[lo : lo + n]
            for i in range(first, last):
                raise_maximum(carray(as_pointer(Z + size * (i * m + lo), zero), n), here)
            for i in range(first, last):
                at = size * (i * m + lo)
                exponentials(carray(as_pointer(Z + at, zero), n), here, carray(as_pointer(A + at, zero), n), part)

    def running(Z: int, A: int, states: int, me: int, m: int, first: int, last: int) -> None:
        width = min(m, 2 * LONG)
        state = carray(as_pointer(states + size * 2 * m * me, zero), (2, m))
        top, total = state[0], state[1]
        top[:], total[:] = lowest, zero
        space = np.empty((2, width), real)
        for tile in range(first, last, TILE):
            for lo in range(0, m, width):
                n = min(width, m - lo)
                high, part = space[0, :n], space[1, :n]
                high[:], part[:] = lowest, zero
                for i in range(tile, min(tile + TILE, last)):
                    raise_maximum(carray(as_pointer(Z + size * (i * m + lo), zero), n), high)
                for i in range(tile, min(tile + TILE, last)):
                    sum_exponentials(carray(as_pointer(Z + size * (i * m + lo), zero), n), high, part)
                merge(top[lo : lo + n], total[lo : lo + n], high, part)

    return kept(stored if store else running, dtype, store)


@cache
def second_pass(dtype: str, *, store: bool, labels: bool) -> Any:
    """A = softmax(Z) for rows first..last of (C, m), each of `together` rows of the caller's, from the states (parts,
    2, m) of the first pass; with labels A becomes dZ, and the losses of those whose label is here are filled."""
    xp, real = scalars.namespace(dtype), np.dtype(dtype).type
    zero, one, nan, label, size = real(0.0), real(1.0), real(np.nan), np.int32(0), np.dtype(dtype).itemsize
    merge, shares, exponential_shares = (rows(dtype)[name] for name in ("merge", "shares", "exponential_shares"))
    exp, log = xp.exp_falling, xp.log

    def outputs(
        Z: int, A: int, states: int, parts: int, me: int, y: int, losses: int,
        C: int, m: int, together: int, first: int, last: int,
    ) -> None:  # fmt: skip
        n = m // together
        state = carray(as_pointer(states, zero), (parts, 2, together, n))
        top, factor = np.empty((together, n), real), np.empty((together, n), real)
        high, total = top[0], factor[0]
        high[:], total[:] = state[0, 0, 0], state[0, 1, 0]
        for part in range(parts):
            for k in range(together):
                if part > 0 or k > 0:
                    merge(high, total, state[part, 0, k], state[part, 1, k])
        if labels:
            here, ell = carray(as_pointer(y, label), n), carray(as_pointer(losses, zero), n)
            table = carray(as_pointer(Z, zero), (C * together, n))
            for j in range(n):
                if first * together <= here[j] < last * together:
                    ell[j] = log(total[j]) - (table[here[j], j] - high[j])
                elif first == 0 and not 0 <= here[j] < C * together:  # memory is not guarded, and Y holds anything
                    ell[j] = nan
        for j in range(n):
            total[j] = one / total[j]
        for k in range(together - 1, -1, -1):
            if store:
                for j in range(n):
                    factor[k, j] = exp(state[me, 0, k, j] - high[j]) * total[j]
            else:
                top[k], factor[k] = high, total
        tops, factors = top.reshape(-1), factor.reshape(-1)
        for i in range(first, last):
            a = carray(as_pointer(A + size * i * m, zero), m)
            if store:
                shares(a, factors)
            else:
                exponential_shares(carray(as_pointer(Z + size * i * m, zero), m), tops, factors, a)
        if labels:
            dZ = carray(as_pointer(A, zero), (C * together, n))
            for j in range(n):
                if first * together <= here[j] < last * together:
                    dZ[here[j], j] -= one

    return kept(outputs, dtype, store, labels)
