import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.data.batches import Batches

CPU = dx.backend("cpu")
ROWS = np.array([4, 0, 4, 2])


def tables(dtype=np.float32, m=6):
    X = np.arange(3 * m).reshape(m, 3).astype(dtype)
    return X, np.arange(m, dtype=np.int32), np.linspace(0.5, 1.5, m)


def memory(m=4):
    return np.full((m, 3), np.nan, np.float32), np.full(m, -1, np.int32), np.full(m, np.nan, np.float32)


def test_on_the_cpu_the_callers_memory_is_read_in_place(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(6, 3))
    batches = Batches.of(CPU, mapped, *tables()[1:])
    assert np.shares_memory(batches.X, mapped)
    assert batches.X.dtype == np.uint8
    assert len(batches) == 6


@pytest.mark.parametrize("backend", [CPU, Backend("reference", np)], ids=lambda b: b.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, np.float16, bool])
def test_rows_are_gathered_in_the_precision_of_the_batch(backend, dtype):
    X, Y, w = tables(dtype)
    out_X, out_Y, out_w = memory()
    Batches.of(backend, X, Y, w).fill(ROWS, out_X, out_Y, out_w)
    assert_array_equal(out_X, X[ROWS].astype(np.float32))
    assert_array_equal(out_Y, Y[ROWS])
    assert_array_equal(out_w, w[ROWS].astype(np.float32))


def test_the_memory_of_the_caller_stays_as_it_is():
    X, Y, w = tables()
    before = X.copy(), Y.copy(), w.copy()
    batches = Batches.of(CPU, X, Y, w)
    out = memory()
    batches.fill(ROWS, *out)
    for array in out:
        array[...] = 9
    for array, old in zip((X, Y, w), before, strict=True):
        assert_array_equal(array, old)


def test_without_weights_their_memory_is_not_touched():
    out_X, out_Y, out_w = memory()
    Batches.of(CPU, *tables()[:2], None).fill(ROWS, out_X, out_Y, out_w)
    assert np.isnan(out_w).all()


def test_targets_may_be_rows():
    X, _, _ = tables()
    Y, out_Y = np.arange(12.0).reshape(6, 2), np.empty((4, 2), np.float32)
    Batches.of(CPU, X, Y, None).fill(ROWS, memory()[0], out_Y, None)
    assert_array_equal(out_Y, Y[ROWS])


def test_a_table_of_any_order_is_gathered():
    X, Y, w = tables()
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
        out = memory()
        Batches.of(CPU, same, Y, w).fill(ROWS, *out)
        assert_array_equal(out[0], X[ROWS])


def test_on_a_device_the_tables_are_moved_once_and_gathered_there(monkeypatch):
    machine = install(monkeypatch)
    gpu = dx.backend("gpu")
    X, Y, w = tables(np.uint8)
    with machine.counting() as seen:
        batches = Batches.of(gpu, X, Y, w)
    assert seen.host_to_device == 3
    assert batches.X.dtype == np.uint8
    rows, out = gpu.asarray(ROWS), [gpu.asarray(array) for array in memory()]
    with machine.counting() as seen:
        batches.fill(rows, *out)
    assert seen.host_waits == seen.host_to_device == seen.device_to_host == 0
    for found, expected in zip(out, (X, Y, w), strict=True):
        assert_array_equal(found.get(), expected[ROWS].astype(found.dtype))
