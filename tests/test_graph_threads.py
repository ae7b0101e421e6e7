"""A recorded step among several threads, and what becomes of its memory, on the double of CuPy: whoever runs it, on
whatever stream, it is the same step; and what it took is given back when nothing can be disturbed by that."""

import gc
import importlib
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cupy_double import cuda, install
from numpy.testing import assert_array_equal
from test_graph import STEPS, batches, graphs, trained

import deepxp as dx
from deepxp.kernels import cublas, graph, streams


@pytest.fixture
def machine(monkeypatch):
    return install(monkeypatch)


# several threads


def in_a_thread(*calls):
    """The calls, each in a thread of its own at the same time; what they return, when all threads have ended."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result(60) for done in [pool.submit(call) for call in calls]]


def test_a_step_goes_on_when_the_thread_that_recorded_it_has_ended(machine):
    """The graph knows the workspace of its products by its address."""
    expected = trained(dx.backend("gpu"), steps=STEPS + 2)[0]
    ((J, _, step),) = in_a_thread(lambda: trained(dx.backend("gpu")))
    assert graphs(step) != [None]
    streams._streams.made.clear()
    gc.collect()
    with dx.backend("gpu").active():  # this thread multiplies meanwhile, with a workspace that is free
        one = dx.backend("gpu").xp.ones((2, 2), "float32")
        cublas.product(dx.backend("gpu").xp, one, one, dx.backend("gpu").xp.empty((2, 2), "float32"))
        assert recorded_in(step)._lease.handle is not cublas.lease(dx.backend("gpu").xp).handle
    J += [float(step(X, y)) for X, y in batches(STEPS + 2)[STEPS:]]
    assert_array_equal(J, expected)


def recorded_in(step):
    (recorded,) = step._recorded.values()
    return recorded


def test_another_thread_launches_a_graph_in_order_with_what_its_own_stream_does(machine):
    """The double raises RaceError where two streams use a workspace, or what a step works on, at the same time."""
    _, net, step = trained(dx.backend("gpu"))
    X, y = batches(1)[0]

    def other():
        first = float(step(X, y))
        return first, net.theta.get()

    gpu = dx.backend("gpu")
    with gpu.active():  # this thread's stream is busy with a product, and not yet joined with any other
        one, product = gpu.xp.ones((2, 2), "float32"), gpu.xp.empty((2, 2), "float32")
        cublas.product(gpu.xp, one, one, product)
        ((J, theta),) = in_a_thread(other)
    assert np.isfinite(J)
    assert np.isfinite(float(step(X, y)))
    assert np.any(net.theta.get() != theta)


def test_a_step_is_only_recorded_on_a_stream_that_has_warmed_up(machine):
    """What a stream needs is made there before: a capture is no time to make it."""
    _, _, step = trained(dx.backend("gpu"), steps=graph.WARM_UP)
    X, y = batches(1)[0]

    def other():
        seen = []
        for _ in range(graph.WARM_UP + 1):
            step(X, y)
            seen.append(graphs(step) != [None])
        return seen

    assert in_a_thread(other) == [[False] * graph.WARM_UP + [True]]


def test_one_thread_captures_at_a_time(machine, monkeypatch):
    """What is switched off meanwhile, the garbage collector, is everybody's."""
    begin, end, both, now, most = cuda.Stream.begin_capture, cuda.Stream.end_capture, threading.Barrier(2), [], []

    def began(self):
        now.append(self)
        begin(self)
        time.sleep(0.05)
        most.append(len(now))

    def ended(self):
        assert not gc.isenabled()
        now.remove(self)
        return end(self)

    monkeypatch.setattr(cuda.Stream, "begin_capture", began)
    monkeypatch.setattr(cuda.Stream, "end_capture", ended)

    def run():
        both.wait(60)
        return trained(dx.backend("gpu"))

    results = in_a_thread(run, run)
    assert most == [1, 1]
    assert gc.isenabled()
    assert [graphs(step) != [None] for _, _, step in results] == [True, True]
    assert_array_equal(results[0][0], results[1][0])


# what is given back


def test_a_step_that_is_gone_gives_its_memory_back_after_its_graph_is_gone(machine, monkeypatch):
    _, _, step = trained(dx.backend("gpu"))
    recorded = recorded_in(step)
    kept, pool, seen = weakref.ref(recorded.graph), recorded._pool, []
    monkeypatch.setattr(cuda.MemoryPool, "free_all_blocks", lambda self: seen.append((self is pool, kept())))
    step._recorded.clear()
    del recorded
    gc.collect()
    assert seen == [(True, None)]


def test_nothing_is_given_back_during_a_capture(machine, monkeypatch):
    """To give memory back waits for the device, which would end the capture; afterwards it is done."""
    _, _, step = trained(dx.backend("gpu"))
    pool, seen, begin = recorded_in(step)._pool, [], cuda.Stream.begin_capture
    monkeypatch.setattr(cuda.MemoryPool, "free_all_blocks", lambda self: seen.append(self is pool))

    def began(self):
        begin(self)
        step._recorded.clear()
        assert seen == []

    monkeypatch.setattr(cuda.Stream, "begin_capture", began)
    trained(dx.backend("gpu"))
    assert seen == [True]


def test_a_device_that_is_full_is_asked_once_more_when_others_have_given_back_what_they_only_keep(machine, monkeypatch):
    """The definition of softmax' derivative makes temporaries; they come when all else is there."""
    net = dx.Network((6, 7, 5, 3), backend="gpu", seed=1, hidden="softmax")
    step, (X, y), asked = dx.TrainingStep(net, dx.Adam(1e-2), 9), batches(1)[0], []
    step.workspace(9, labels=True)
    take = type(machine).allocate

    def full(self, size):
        if self.thread.pools and getattr(self.thread.pools[-1], "__name__", "") == "_room" and not asked:
            raise cuda.OutOfMemoryError(size, 0)
        return take(self, size)

    monkeypatch.setattr(type(machine), "allocate", full)
    monkeypatch.setattr(cuda.MemoryPool, "free_all_blocks", lambda self: asked.append(self is cuda.default_pool))
    assert np.isfinite(float(step(X, y)))
    assert asked == [True]


def test_what_stays_with_a_stream_is_not_from_the_pool_of_a_step(machine):
    _, _, step = trained(dx.backend("gpu"))
    assert recorded_in(step)._lease.handle.workspace.data.mem.pool is None
    dense = importlib.import_module("deepxp.kernels.cupy")
    with dx.backend("gpu").active(), dx.backend("gpu").xp.cuda.using_allocator(recorded_in(step)._pool.malloc):
        gpu = dx.backend("gpu").xp
        with gpu.cuda.Stream(non_blocking=True):
            assert dense._scratch(gpu).data.mem.pool is None


@pytest.mark.parametrize("way", ["numbers", "lane"])
def test_page_locked_memory_is_let_go_when_the_last_copy_has_left_it(machine, way):
    gpu = dx.backend("gpu")
    with gpu.active():
        if way == "numbers":
            sent, out = gpu.numbers(2, "float32")
            sent[:] = (1, 2)
            last = sent._left[0]
        else:
            sent, out = gpu.lane((4, 3), "float32"), gpu.xp.empty((4, 3), "float32")
            sent.fill(lambda table: table.fill(1.0), out)
            last = sent._copied[0]
        assert not last.done
        del sent
        assert last.done
