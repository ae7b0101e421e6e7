"""Filling a batch: rows of a table into the columns of the network's input."""

from deepxp.ops.typing import Array, Namespace


def gather(xp: Namespace, table: Array, rows: Array, out: Array) -> None:
    """out_i = table[rows_i]; table (M, n) or (M,), rows (m,) of integers, out (m, n) or (m,), in out's precision"""
    out[...] = xp.asarray(xp.take(table, rows, axis=0), dtype=out.dtype)


def scale(xp: Namespace, X: Array, shift: Array, factor: Array) -> None:
    """X = (X - shift) * factor; X (m, n), shift and factor (n,)"""
    X[...] = (X - shift) * factor
