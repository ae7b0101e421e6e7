"""A team of threads runs a program to the same bits as one thread does, whoever else computes, sleeps or forks."""

import os
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("numba", reason="Numba is not installed: the compiled kernels are not used")

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import blas, record, team, threads
from deepxp.kernels import numba as kernels

COMPILED = Backend("cpu", np, kernels)
SIZES, M = (96, 80, 70, 10), 200  # every call of its step is worth several parts


@pytest.fixture
def three(monkeypatch):
    """A team of three threads, however many cores there are."""
    made = team.Team(3)
    monkeypatch.setattr(team, "WORTH", 0.0)
    monkeypatch.setattr(team, "BREAK", 0)
    made._break = 0
    monkeypatch.setattr(record, "size", lambda: 3)
    monkeypatch.setattr(team, "team", lambda: made)
    return made


def step_and_batch(dtype="float32", seed=0):
    net = dx.Network(SIZES, backend=COMPILED, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((SIZES[0], M)).astype(dtype), rng.integers(0, SIZES[-1], M)
    return net, dx.TrainingStep(net, dx.Adam(), M), X, y


def theta_after(steps, **options):
    net, step, X, y = step_and_batch(**options)
    for _ in range(steps):
        step(X, y)
    return net.theta


def run_alone(monkeypatch):
    monkeypatch.setattr(team.Team, "_lead", lambda self, program, wait: False)


def test_all_parts_together_give_the_bits_of_one_after_the_other(three, monkeypatch):
    together = theta_after(20)
    run_alone(monkeypatch)
    assert_array_equal(together, theta_after(20))


def test_the_threads_do_run_the_program(three, monkeypatch):
    _net, step, X, y = step_and_batch()
    step(X, y)  # wakes them
    monkeypatch.setattr(threads, "alone", lambda *words: pytest.fail("run by one thread"))
    generation = int(three._words[threads.GENERATION])
    for _ in range(50):
        address = programs(step)[0]._address
        assert any(three._lead(address, threads.PATIENCE) for _ in range(10_000)), "the threads do not wake up"
    assert three._words[threads.GENERATION] == generation + 50


def programs(step):
    (recorded,) = step._recorded.values()
    return [part for part in recorded.parts if isinstance(part, team.Program)]


def test_a_step_in_parts_is_the_step(three):
    net, step, X, y = step_and_batch("float64")
    reference = dx.Network(SIZES, backend=Backend("reference", np), dtype="float64", seed=0)
    expected = dx.TrainingStep(reference, dx.Adam(), M)
    assert_allclose([float(step(X, y)) for _ in range(4)], [float(expected(X, y)) for _ in range(4)], rtol=1e-11)
    assert_allclose(net.theta, reference.theta, rtol=1e-8, atol=1e-12)
    (program,) = programs(step)
    parts = program.parts
    assert parts.count(3) >= 5, "the step was not cut into parts"


def test_sleeping_threads_are_woken(three):
    expected, (net, step, X, y) = theta_after(6), step_and_batch()
    for _ in range(6):
        step(X, y)
        deadline = time.monotonic() + 30
        while (three._words[threads.STATUS + 1 : threads.STATUS + 3] != threads.ASLEEP).any():
            assert time.monotonic() < deadline, "a thread without work does not fall asleep"
            time.sleep(1e-3)
    assert_array_equal(net.theta, expected)


def test_several_python_threads_share_a_team(three):
    expected = [theta_after(60, seed=seed) for seed in range(3)]
    found = [None] * 3

    def train(seed):
        found[seed] = theta_after(60, seed=seed)

    workers = [threading.Thread(target=train, args=(seed,), daemon=True) for seed in range(3)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(120)
    for got, wanted in zip(found, expected, strict=True):
        assert_array_equal(got, wanted)


@pytest.mark.skipif(not blas.threads(), reason="NumPy was built without its own OpenBLAS here")
def test_the_blas_has_its_threads_back_after_a_step(three):
    before = blas.threads()
    put = team.ctypes.PYFUNCTYPE(None, team.ctypes.c_int)(three._put)
    try:
        for number in (3, 1, 2):
            put(number)
            theta_after(2)
            assert blas.threads() == number
            assert three._words[threads.HELD + 1] == 0
    finally:
        put(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # JAX warns of forks where it was imported
def test_the_child_of_a_fork_trains_to_the_same_bits(monkeypatch):
    monkeypatch.setattr(team, "_made", [])
    expected = theta_after(5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # leaves by os._exit, whatever happens
        status = 1
        try:
            os.write(write, theta_after(5).tobytes()[:4096])
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 60
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child did not finish its training")
        time.sleep(1e-2)
    assert done[1] == 0
    assert os.read(read, 4096) == expected.tobytes()[:4096]
    os.close(read)
    os.close(write)


def test_after_a_delay_one_thread_does_the_programs_for_a_while(three, monkeypatch):
    _, step, X, y = step_and_batch()
    step(X, y)
    (program,) = programs(step)
    alone, late = [], program._words[threads.HEAD - 1]
    monkeypatch.setattr(team.Team, "run_alone", lambda self, address: alone.append(address))
    monkeypatch.setattr(team, "BREAK", 4 * program.work)
    three._break = 4 * program.work
    program._words[threads.HEAD - 1] = -1  # any waiting is too long
    assert any(three._lead(program._address, threads.PATIENCE) for _ in range(10_000)), "the threads do not wake up"
    assert three._rest == 4 * program.work and three._break == 8 * program.work
    for _ in range(4):
        step(X, y)
    assert len(alone) == 4 and three._rest <= 0
    program._words[threads.HEAD - 1] = late


def test_two_python_threads_that_begin_at_once_make_one_team(monkeypatch):
    monkeypatch.setattr(team, "_made", [])
    found, start = [], threading.Barrier(4)

    def begin():
        start.wait(30)
        found.append(team.team())

    workers = [threading.Thread(target=begin, daemon=True) for _ in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(30)
    assert len(found) == 4 and len(set(map(id, found))) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_pieces_cover_the_range_and_start_at_multiples(count, monkeypatch):
    monkeypatch.setattr(record, "size", lambda: count)
    for length in (1, 2, 7, 8, 9, 15, 16, 17, 64, 1000):
        for unit in (1, 8, 16):
            for numbers in (1, 10**4, 10**9):
                pieces = record.Recorder(None).pieces(length, numbers, 8_000, unit)
                assert pieces[0][0] == 0
                assert pieces[-1][1] == length
                assert all(a[1] == b[0] for a, b in pairwise(pieces))
                assert all(i < j for i, j in pieces)
                assert all(i % unit == 0 for i, _ in pieces)
                assert len(pieces) <= max(1, min(count, numbers // 8_000))
