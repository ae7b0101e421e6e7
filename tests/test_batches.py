import importlib

import numpy as np
import pytest
from cupy_double import install
from cupy_double.order import RaceError
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.data.batches import Batches, Resident, Streamed
from deepxp.footprint import memory_need
from deepxp.kernels import streams
from deepxp.kernels.graph import WARM_UP

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


def test_on_a_device_a_batch_is_gathered_by_the_recorded_step(monkeypatch):
    """Which samples are next is all that it is told."""
    install(monkeypatch)
    rng = np.random.default_rng(0)
    X, y, w = rng.integers(0, 256, (5, 40)).astype(np.uint8), rng.integers(0, 3, 40), rng.random(40) + 0.5
    cuda, gathers, run = importlib.import_module("deepxp.kernels.cupy"), [], []
    launch = cuda._run
    monkeypatch.setattr(
        cuda, "_run", lambda xp, source, name, *rest: (run.append(name), launch(xp, source, name, *rest))
    )
    results = []
    for kind in (Resident, Batches):
        monkeypatch.setattr(Resident, "ready", kind.ready)
        run.clear()
        net = dx.Network((5, 4, 3), backend="gpu", seed=2, scaler=dx.data.Scaler.fit(X.T, "standard"))
        dx.train(net, X, y, epochs=2, batch_size=8, sample_weight=w)
        results.append(net.theta.get())
        gathers.append(run.count("gather"))
    assert gathers == [3 * (WARM_UP + 1), 3 * 10]  # of X, y and w
    assert_array_equal(*results)


# data that do not fit on the device


def small_gpu(monkeypatch, free):
    """A GPU with that many bytes left."""
    machine = install(monkeypatch, memory=1 << 30)
    gpu = dx.backend("gpu")
    machine.memory = machine.used[0] + free
    return machine, gpu


def test_what_does_not_fit_stays_on_the_host(monkeypatch):
    X, Y, w = tables(m=640)
    nbytes = X.nbytes + Y.nbytes + w.nbytes
    for free, need, kind in (
        (nbytes + 2048, 2048, Resident),
        (nbytes + 2047, 2048, Streamed),
        (nbytes - 1, 0, Streamed),
    ):
        _, gpu = small_gpu(monkeypatch, free)
        assert type(Batches.of(gpu, X, Y, w, need=need)) is kind
    _, gpu = small_gpu(monkeypatch, X.nbytes + 512)
    assert type(Batches.of(gpu, gpu.asarray(X), Y[:1], None)) is Resident  # it is there already


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, bool, ">f4"])
def test_streamed_batches_are_those_of_a_table_on_the_device(monkeypatch, dtype):
    machine, gpu = small_gpu(monkeypatch, 1 << 20)
    X, Y, w = tables(np.dtype(dtype), m=60)
    streamed = Streamed(gpu, X, Y, w, None)
    order = streamed.order(np.random.default_rng(0).permutation(60))
    with gpu.active():
        out = [gpu.asarray(array) for array in memory(7)]
        for start in range(0, 60, 7):  # the last one is smaller
            rows = order[start : start + 7]
            part = [array[: len(rows)] for array in out]
            with machine.counting() as seen:
                streamed.fill(rows, *part)
            assert seen.host_to_device == seen.device_to_host == 0
            assert seen.sent_ahead == 3
            assert seen.host_waits <= (3 if start > 7 else 0)  # for the copy of two batches ago, never for the step
            for found, expected in zip(part, (X, Y, w), strict=True):
                assert_array_equal(found.get(), expected[rows].astype(found.dtype))


def test_the_next_batch_is_copied_while_the_device_computes(monkeypatch):
    """Its copy comes after nothing but the step before the last: the order of the streams, as the double knows it."""
    machine, gpu = small_gpu(monkeypatch, 1 << 20)
    X, Y, _ = tables(m=60)
    streamed, out = Streamed(gpu, X, Y, None, None), [gpu.asarray(array) for array in memory(6)]
    with gpu.active():
        compute = gpu.xp.cuda.get_current_stream().ptr
        for i in range(4):
            streamed.fill(np.arange(6 * i, 6 * i + 6), *out)
            done = machine.order.streams[compute][compute]
            gpu.xp.add(out[0], 1.0, out=out[0])  # the step
        copies = streams.own(gpu.xp, 0, "copy")[0].ptr
        known = machine.order.streams[copies][compute]
    assert known < done  # the last copy did not wait for what the step before it had still to do
    assert machine.order.streams[compute][copies] == machine.order.streams[copies][copies]  # but the step for the copy


def test_a_buffer_is_not_filled_while_it_is_read(monkeypatch):
    """Each of the four orders counts: without it the double finds a race."""
    X, Y, _ = tables(m=60)

    def run(patch):
        _, gpu = small_gpu(monkeypatch, 1 << 20)
        streamed, out = Streamed(gpu, X, Y, None, None), [gpu.asarray(array) for array in memory(6)]
        with gpu.active(), pytest.MonkeyPatch.context() as p:
            patch(p, importlib.import_module("cupy_double.cuda"))
            for i in range(4):
                streamed.fill(np.arange(6 * i, 6 * i + 6), *out)

    run(lambda p, cuda: None)
    for name in ("wait_event",):
        with pytest.raises(RaceError):
            run(lambda p, cuda, name=name: p.setattr(cuda.Stream, name, lambda self, event: None))
    with pytest.raises(RaceError, match="page-locked"):
        run(lambda p, cuda: p.setattr(cuda.Event, "synchronize", lambda self: None))


def test_a_network_trains_the_same_on_data_that_are_streamed(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (400, 3000)).astype(np.uint8), rng.integers(0, 3, 3000)
    results = []
    for room in (1 << 29, 700_000):
        machine = install(monkeypatch, memory=1 << 30)
        net = dx.Network((400, 8, 3), backend="gpu", seed=2)
        machine.memory = machine.used[0] + memory_need(net, dx.Adam(), 500) + room
        before = machine.used[0]
        with machine.counting() as seen:
            dx.train(net, X, y, epochs=2, batch_size=500, sample_weight=np.linspace(0.5, 1.5, 3000))
        results.append((net.theta.get(), seen.sent_ahead, machine.peak[0] - before))
    (theta, sent, peak), (other, more, less) = results
    assert_array_equal(theta, other)
    assert more == sent + 3 * 12
    assert peak - less > X.nbytes - 2 * 500 * 400 - 20_000  # in the place of the table there are two batches of it


def test_a_table_that_after_all_finds_no_place_is_streamed(monkeypatch):
    X, Y, w = tables(m=640)
    machine, gpu = small_gpu(monkeypatch, X.nbytes + Y.nbytes + w.nbytes)
    held = gpu.zeros((1,), "float32")
    monkeypatch.setattr(type(gpu), "free_memory", lambda self: 1 << 30)  # as where memory is in pieces
    assert type(Batches.of(gpu, X, Y, w)) is Streamed
    assert machine.used[0] == held.nbytes + 508
