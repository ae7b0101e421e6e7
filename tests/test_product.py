"""C = alpha A B in registers: the product is NumPy's, at every size that a tile, a panel and a sum can end at."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("numba", reason="Numba is not installed: products are NumPy's")

from numba import njit

from deepxp.kernels import blas, native, product
from deepxp.kernels.product import LONGEST, ROOM, Tile
from deepxp.kernels.record import once
from deepxp.ops.activations import ACTIVATIONS

# the tile of AVX-512 for each precision, one of other numbers of rows, vectors and lanes, and the smallest there is
TILES = [
    ("float32", Tile(8, 2, 16)),
    ("float64", Tile(8, 2, 8)),
    ("float32", Tile(4, 3, 4)),
    ("float64", Tile(2, 1, 2)),
]
GUARD = 64  # numbers around C and beyond the scratch memory that nobody may write


@njit
def call(kernel, words):
    native.call(kernel, words)


def multiplied(dtype, tile, A, B, alpha=1.0, extra=3):
    """alpha A B by the kernel, into rows that are `extra` numbers apart, all of it NaN before; checks what lies around
    C and behind the scratch memory."""
    m, n, size = A.shape[0], B.shape[1], A.itemsize
    strides = [[stride // size for stride in X.strides] for X in (A, B)]
    memory = np.full(2 * GUARD + m * (n + extra), np.nan, dtype)
    C = memory[GUARD:-GUARD].reshape(m, n + extra)[:, :n]
    needed = product.scratch(tile, n, A.shape[1], rows=strides[1][1] == 1)
    space = np.full(needed + GUARD, np.nan, dtype)
    words = (
        A.ctypes.data, *strides[0], B.ctypes.data, *strides[1], C.ctypes.data, n + extra, m, n, A.shape[1],
        native.bits(alpha), space.ctypes.data,
    )  # fmt: skip
    block = np.array(words, np.int64)
    call(product.product(dtype, tile).address, block.ctypes.data)
    around = np.ones(memory.size, bool)
    around[GUARD:-GUARD].reshape(m, n + extra)[:, :n] = False
    assert np.isnan(memory[around]).all()
    assert np.isnan(space[needed:]).all()
    return C


def operand(rng, rows, columns, dtype, turned):
    if turned:
        return rng.normal(size=(columns, rows)).astype(dtype).T
    return rng.normal(size=(rows, columns)).astype(dtype)


def check(dtype, tile, A, B, alpha=1.0):
    wide = np.float64 if dtype == "float32" else np.longdouble
    exact = wide(alpha) * (A.astype(wide) @ B.astype(wide))
    bound = 2 * (A.shape[1] + 2) * np.finfo(dtype).eps * abs(alpha) * (np.abs(A).astype("d") @ np.abs(B).astype("d"))
    error = np.abs(multiplied(dtype, tile, A, B, alpha) - exact)
    assert (error <= bound).all(), (A.shape, B.shape, np.max(error / bound))


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=["AB", "AB^T", "A^TB", "A^TB^T"])
@pytest.mark.parametrize(("dtype", "tile"), TILES, ids=str)
def test_the_product_at_every_edge_of_a_tile_a_panel_and_a_sum(dtype, tile, turned):
    rng = np.random.default_rng(0)
    rows, columns, lanes = tile.rows, tile.columns, tile.lanes
    for m in (1, rows - 1, rows, rows + 1, 3 * rows + 1):
        for n in sorted({1, lanes - 1, lanes, lanes + 1, columns - 1, columns, columns + 1, 2 * columns + lanes + 1}):
            for k in (1, rows - 1, rows + 1, 3 * rows):
                if m and n and k:
                    check(dtype, tile, operand(rng, m, k, dtype, turned[0]), operand(rng, k, n, dtype, turned[1]), 0.5)
    for k in (LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST + 7):
        check(dtype, tile, operand(rng, 5, k, dtype, turned[0]), operand(rng, k, columns + 1, dtype, turned[1]), -2.0)


def test_more_columns_than_are_turned_at_a_time():
    rng, tile = np.random.default_rng(1), Tile(8, 2, 16)
    n = 2 * (ROOM // LONGEST) + 5
    for turned in (False, True):
        check("float32", tile, operand(rng, 3, LONGEST, "float32", False), operand(rng, LONGEST, n, "float32", turned))


@pytest.mark.parametrize(("dtype", "tile"), TILES, ids=str)
def test_nan_and_infinity_reach_their_row_and_their_column_and_nothing_else(dtype, tile):
    rng = np.random.default_rng(2)
    for bad in (np.nan, np.inf):
        A, B = operand(rng, 9, 20, dtype, False), operand(rng, 20, tile.columns + 3, dtype, True)
        A[4, 7], B[11, 3] = bad, bad
        with np.errstate(invalid="ignore"):
            expected = A @ B
        found = multiplied(dtype, tile, A, B)
        assert_array_equal(np.isnan(found), np.isnan(expected))
        assert_array_equal(np.isinf(found), np.isinf(expected))
        rest = np.isfinite(expected)
        assert_allclose(found[rest], expected[rest], rtol=1e-4, atol=1e-5)


def test_a_number_of_the_product_does_not_depend_on_the_rest_of_it():
    """So a step's bits do not depend on how many threads share it."""
    rng, tile = np.random.default_rng(3), Tile(8, 2, 16)
    A, B = operand(rng, 21, 300, "float32", False), operand(rng, 300, 75, "float32", True)
    whole = multiplied("float32", tile, A, B)
    for rows in (slice(0, 1), slice(5, 14), slice(8, 21)):
        for columns in (slice(0, 16), slice(3, 50), slice(32, 75)):
            assert_array_equal(multiplied("float32", tile, A[rows], B[:, columns]), whole[rows, columns])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_takes_it_where_the_processor_has_a_tile_and_the_blas_where_not(dtype, monkeypatch):
    rng = np.random.default_rng(4)
    W, b, A_prev = (rng.normal(size=shape).astype(dtype) for shape in ((30, 40), (30, 1), (40, 50)))
    expected = np.tanh(W @ A_prev + b)
    tiles = [None] if blas.product(dtype) else []  # without a BLAS there is a call of NumPy's
    for tile in (*tiles, Tile(8, 2, 8), Tile(4, 3, 4)):
        monkeypatch.setattr(product, "tile", lambda dtype, tile=tile: tile)
        Z, A = np.full((30, 50), np.nan, dtype), np.full((30, 50), np.nan, dtype)
        assert once("dense_forward", W, b, A_prev, ACTIVATIONS["tanh"], Z, A)
        assert_allclose(A, expected, rtol=1e-5, atol=1e-5)


AT_THE_END = """
import ctypes, mmap, sys
import subprocess
import sys

import numpy as np
sys.path[:0] = {path!r}
from test_product import Tile, multiplied

def at_the_end(X):
    '''X in memory whose last byte is the last that may be read.'''
    page = mmap.PAGESIZE
    size = -(-X.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + size), page, 0) == 0
    there = np.frombuffer(memory, X.dtype, X.size, offset=size - X.nbytes).reshape(X.shape)
    there[...] = X
    kept.append(memory)
    return there

kept, rng = [], np.random.default_rng(0)
for n in (1, 5, 8, 13, 16, 19, 32, 37):
    for turned_a in (False, True):
        for turned_b in (False, True):
            A, B = (rng.normal(size=shape).astype("float32") for shape in ((11, 21), (21, n)))
            A = at_the_end(np.ascontiguousarray(A.T)).T if turned_a else at_the_end(A)
            B = at_the_end(np.ascontiguousarray(B.T)).T if turned_b else at_the_end(B)
            np.testing.assert_allclose(multiplied("float32", Tile(8, 2, 16), A, B), A @ B, rtol=1e-4, atol=1e-4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is protected by a call of Linux")
def test_nothing_is_read_behind_the_operands():
    script = AT_THE_END.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr or "it read where nothing may be read"
