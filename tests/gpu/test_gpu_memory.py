"""Memory and streams of a GPU: running out, data that do not fit, and work from two sides at once."""

import threading

import numpy as np
import pytest
from cupy_double import state
from numpy.testing import assert_array_equal
from test_graph import batches, graphs, trained

import deepxp as dx
from deepxp.footprint import memory_need


def test_a_run_that_does_not_fit_says_what_would_and_leaves_the_device_usable(gpu):
    net = dx.Network((64, 128, 10), backend=gpu)
    free, fixed = gpu.free_memory(), memory_need(net, dx.Adam(), 0)
    per_sample = memory_need(net, dx.Adam(), 1) - fixed
    too_many = 2 * free // per_sample
    with pytest.raises(dx.OutOfMemoryError, match="the largest batch that fits has") as caught:
        dx.TrainingStep(net, dx.Adam(), too_many)
    named = int(str(caught.value).split("fits has ")[1].split()[0])
    assert abs(named * per_sample / free - 1) < 0.2
    X, y = np.zeros((64, 8)), np.zeros(8, int)
    assert np.isfinite(float(dx.TrainingStep(net, dx.Adam(), 8)(X, y)))


def test_memory_that_is_refused_is_a_memory_error_and_leaves_the_device_usable(gpu):
    state.now.memory = 1 << 26  # of the double, which really takes it from the host
    net = dx.Network((64, 128, 10), backend=gpu)
    too_many = 2 * gpu.free_memory() // (memory_need(net, dx.Adam(), 1) - memory_need(net, dx.Adam(), 0))
    with pytest.raises(MemoryError):
        net.memory(too_many, labels=True)
    assert len(trained(gpu)[0]) > 3


def test_data_that_are_streamed_train_the_same_network(gpu, monkeypatch):
    random = np.random.default_rng(0)
    X, y = random.integers(0, 256, (50, 2003)).astype(np.uint8), random.integers(0, 3, 2003)
    thetas = []
    for streamed in (False, True):
        net = dx.Network((50, 17, 3), backend=gpu, seed=2)
        if streamed:
            need = memory_need(net, dx.Adam(), 100) + 1000
            monkeypatch.setattr(type(gpu), "free_memory", lambda self, need=need: need)
        dx.train(net, X, y, epochs=3, batch_size=100)
        thetas.append(dx.asnumpy(net.theta))
    assert_array_equal(*thetas)


def test_two_threads_train_on_one_device_and_do_not_meet(gpu):
    """Each has a stream, a cuBLAS handle, a pool and a graph of its own."""
    alone = dx.asnumpy(trained(gpu, steps=40)[1].theta)
    results, failed, both = [None] * 2, [], threading.Barrier(2)

    def work(i):
        try:
            _, net, step = trained(gpu, steps=40)
            both.wait(100)  # a thread that ends gives back what it had, which is no time to be at a capture
            assert all(graph is not None for graph in graphs(step))
            results[i] = dx.asnumpy(net.theta)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed, failed
    for result in results:
        assert_array_equal(result, alone)


def test_a_caller_with_a_stream_of_its_own_is_served_in_order(gpu):
    """X is made on the caller's stream, and J and theta are read there, with nothing but the library in between."""
    cp = gpu.xp
    expected = trained(gpu, steps=8)
    stream = cp.cuda.Stream(non_blocking=True)
    net = dx.Network((6, 7, 5, 3), backend=gpu, seed=1)
    step, J = dx.TrainingStep(net, dx.Adam(1e-2), 9), []
    with stream:
        for X, y in batches(8):
            x = cp.asarray(X, dtype=cp.float32)
            for _ in range(200):  # so that the step comes long before its input is there
                x = x * 1.0
            J.append(step(x, y))
            x[...] = np.nan  # and this after it was read
        assert [float(value) for value in J] == expected[0]
        assert_array_equal(net.theta.get(), dx.asnumpy(expected[1].theta))
