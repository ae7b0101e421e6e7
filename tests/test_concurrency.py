"""Threads and forked processes: one model may be asked by many, and trainings do not meet."""

import hashlib
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import make_backend

import deepxp as dx

ENGINES = ("numpy", "numba", "reference")
forks = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="there is no safe fork here")
quiet = pytest.mark.filterwarnings(  # Python 3.12 warns of threads and forks, and so does JAX where a test imports it
    "ignore:.*fork:DeprecationWarning", "ignore:os.fork:RuntimeWarning"
)


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """A backend of the CPU whose calls are cut into parts for its team, however short they are."""
    backend = make_backend(request.param, monkeypatch)
    if request.param == "numba":
        from deepxp.kernels import numba, record

        monkeypatch.setattr(record, "NUMBERS", 200)
        monkeypatch.setattr(record, "PRODUCTS", 200)
        monkeypatch.setattr(numba, "LARGE", 500)
    return backend


def data(m=400, n=20):
    random = np.random.default_rng(5)
    X = random.standard_normal((n, m)).astype(np.float32)
    return X, (X[0] * X[1] > 0).astype(int) + (X[2] > 1)


def trained(backend, seed=0, epochs=2):
    """The bits of a network after some training, with dropout, a partial batch, and a split over threads."""
    X, y = data()
    net = dx.Network((20, 48, 32, 3), "gelu", backend=backend, seed=seed, dropout=0.2)
    dx.train(net, X, y, epochs=epochs, batch_size=64)
    return hashlib.sha256(np.ascontiguousarray(net.theta).tobytes()).hexdigest()


def all_at_once(calls):
    """What the calls return, each in a thread of its own, started together."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def test_eight_threads_may_ask_one_model(engine):
    X, y = data(900)
    net = dx.Network((20, 48, 32, 3), "gelu", backend=engine, seed=1)
    parts = [X[:, 100 * k : 100 * k + 150] for k in range(8)]
    wanted = [net.predict_proba(part).tobytes() for part in parts]
    said = all_at_once([lambda part=part: [net.predict_proba(part).tobytes() for _ in range(20)] for part in parts])
    assert said == [[answer] * 20 for answer in wanted]
    loss = dx.evaluate(net, X, y)
    assert all_at_once([lambda: dx.evaluate(net, X, y)] * 8) == [loss] * 8


def test_trainings_in_threads_do_not_meet(engine):
    wanted = [trained(engine, seed) for seed in range(4)]
    assert len(set(wanted)) == 4
    assert all_at_once([lambda seed=seed: trained(engine, seed) for seed in range(4)]) == wanted


def test_asking_while_another_network_trains(engine):
    X, _ = data()
    net = dx.Network((20, 48, 3), backend=engine, seed=1)
    wanted, bits = net.predict_proba(X).tobytes(), trained(engine)
    said = all_at_once([lambda: trained(engine), *[lambda: net.predict_proba(X).tobytes()] * 3])
    assert said == [bits, *[wanted] * 3]


@quiet
@forks
def test_a_forked_child_trains_to_the_same_bits(engine):
    wanted = trained(engine)  # so that the parent's pool has its threads, which a child has not
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, trained(engine).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read().decode() == wanted
    assert os.waitpid(child, 0)[1] == 0
    assert trained(engine) == wanted


@quiet
@forks
def test_children_of_multiprocessing_train_to_the_same_bits(engine):
    wanted = trained(engine)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    children = [context.Process(target=lambda: queue.put(trained(engine))) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(), queue.get()] == [wanted] * 2
    for child in children:
        child.join()
        assert child.exitcode == 0
