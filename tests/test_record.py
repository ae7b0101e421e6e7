"""A step recorded as native calls is the step."""

import threading
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("numba", reason="Numba is not installed: the compiled kernels are not used")

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import blas, product, record
from deepxp.kernels import numba as kernels
from deepxp.kernels.product import Tile
from deepxp.kernels.team import Program
from deepxp.ops.activations import ACTIVATIONS, Activation

REFERENCE = Backend("reference", np)
COMPILED = Backend("cpu", np, kernels)
OPTIMIZERS = [dx.SGD(), dx.Momentum(), dx.Nesterov(), dx.RMSProp(), dx.Adam(), dx.AdamW()]


def data(net, m, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(net.sizes[0], m))
    if net.loss.name == "squared-error":
        return X, rng.normal(size=(net.sizes[-1], m))
    if net.loss.name == "sigmoid-cross-entropy":
        return X, rng.integers(0, 2, (net.sizes[-1], m))
    return X, rng.integers(0, net.sizes[-1], m)


@pytest.fixture(params=["own", "BLAS"], autouse=True)
def products(request, monkeypatch):
    """By either kind of product, whatever this processor takes."""
    tile = Tile(4, 2, 4) if request.param == "own" else None
    monkeypatch.setattr(product, "tile", lambda dtype: tile)


def trained(backend, optimizer, steps=5, m=9, sizes=(6, 7, 5, 3), dtype="float64", **options):
    step_options = {name: options.pop(name) for name in ("l2", "clip_norm") if name in options}
    net = dx.Network(sizes, backend=backend, dtype=dtype, seed=1, **options)
    step = dx.TrainingStep(net, optimizer, m, **step_options)
    X, y = data(net, m)
    return [float(step(X, y)) for _ in range(steps)], net, step


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_every_update_rule_gives_the_reference(optimizer):
    J, net, _ = trained(COMPILED, optimizer)
    expected, reference, _ = trained(REFERENCE, optimizer)
    assert_allclose(J, expected, rtol=1e-11)
    assert_allclose(net.theta, reference.theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_gives_the_reference(name):
    J, net, _ = trained(COMPILED, dx.Adam(1e-2), hidden=name)
    expected, reference, _ = trained(REFERENCE, dx.Adam(1e-2), hidden=name)
    assert_allclose(J, expected, rtol=1e-9)
    assert_allclose(net.theta, reference.theta, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "squared-error"},
        {"loss": "sigmoid-cross-entropy", "sizes": (6, 4, 1)},
        {"loss": "sigmoid-cross-entropy"},
        {"dropout": 0.3, "l2": 1e-2, "clip_norm": 0.5},
        {"sizes": (6, 3)},
        {"m": 1},
    ],
    ids=str,
)
def test_what_has_no_native_form_is_called_in_its_place(options):
    J, net, _ = trained(COMPILED, dx.Adam(1e-2), **options)
    expected, reference, _ = trained(REFERENCE, dx.Adam(1e-2), **options)
    assert_allclose(J, expected, rtol=1e-10)
    assert_allclose(net.theta, reference.theta, rtol=1e-7, atol=1e-10)


@pytest.mark.skipif(not blas.product("float32"), reason="NumPy was built without its own OpenBLAS here")
def test_a_plain_step_is_one_program():
    _, _, step = trained(COMPILED, dx.Adam(), dtype="float32")
    (recorded,) = step._recorded.values()
    parts = recorded.parts
    assert [type(part) for part in parts[1:]] == [Program], "the step fell apart"


def test_a_smaller_batch_has_a_recording_of_its_own_and_the_learning_rate_is_read_at_every_step():
    results = []
    for backend in (REFERENCE, COMPILED):
        net = dx.Network((6, 5, 3), backend=backend, dtype="float64")
        step = dx.TrainingStep(net, dx.Adam(), 8)
        X, y = data(net, 8)
        for m, lr in ((8, 1e-2), (5, 1e-1), (8, 1e-3), (5, 1e-2)):
            step.lr = lr
            step(X[:, :m], y[:m])
        results.append(net.theta)
    assert_allclose(results[1], results[0], rtol=1e-9, atol=1e-12)


def test_threads_that_train_their_own_networks_do_not_meet():
    alone = trained(COMPILED, dx.Adam(), steps=200, sizes=(6, 40, 3))[1].theta
    results = [None] * 4

    def work(i):
        results[i] = trained(COMPILED, dx.Adam(), steps=200, sizes=(6, 40, 3))[1].theta

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for result in results:
        assert_array_equal(result, alone)


def test_a_label_out_of_range_makes_the_loss_nan_and_touches_no_memory():
    net = dx.Network((6, 4), backend=COMPILED)
    step = dx.TrainingStep(net, dx.SGD(), 5)
    work = step.workspace(5, labels=True)
    work.X[...] = 1.0
    for label in (-1, 4, 10**9):
        work.Y[...] = [0, 1, 2, 3, label]
        assert np.isnan(step.run(work, labels=True))


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"hidden": "softsign-of-columns"}], ids=str)
def test_a_large_batch_is_read_where_it_is_and_counts_as_if_it_had_been_copied(options, monkeypatch):
    m, n = 80, 300
    if "hidden" in options:  # not elementwise: called from Python, so the batch has to be copied

        def forward(xp, Z):
            return Z / (1.0 + xp.sum(xp.abs(Z), axis=0, keepdims=True))

        def backward(xp, dA, Z):
            return dA / (1.0 + xp.sum(xp.abs(Z), axis=0, keepdims=True))  # no derivative, but a function of dA and Z

        options = {"hidden": Activation("softsign-of-columns", forward, backward, elementwise=False)}
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((k, n), dtype=np.float32).T, rng.integers(0, 3, k)) for k in (m, m, 70, m, 5, m)]
    batches[1][0].flags.writeable = False
    found = []
    for many in (0, 10**9):
        monkeypatch.setattr("deepxp.step.MANY", many)
        net = dx.Network((n, 12, 3), backend=COMPILED, seed=3, **options)
        step = dx.TrainingStep(net, dx.Adam(), m)
        kept = [X.copy() for X, _ in batches]
        losses = [float(step(X, y)) for X, y in batches]
        work = step.workspace(m, labels=True)
        work.X[...], work.Y[...] = batches[0][0].T, batches[0][1]
        losses.append(float(step.run(work, labels=True)))  # reads the workspace again
        found.append((losses, net.theta))
        for (X, _), before in zip(batches, kept, strict=True):
            assert_array_equal(X, before)
    assert_array_equal(found[0][0], found[1][0])
    assert_array_equal(found[0][1], found[1][1])


def test_what_is_done_once_is_ready_for_other_arrays_of_the_same_form():
    rng = np.random.default_rng(0)
    record._ready.clear()
    for _ in range(3):
        Z, A = rng.normal(size=(40, 50)), np.full((40, 50), np.nan)
        assert record.once("softmax_into", Z, A)
        assert_allclose(A, np.exp(Z) / np.exp(Z).sum(axis=0), rtol=1e-12)
    assert len(record._ready) == 1
    assert record.once("softmax_into", Z, Z)  # in place is another form
    assert_allclose(Z, A, rtol=1e-12)
    assert len(record._ready) == 2


def test_what_is_kept_for_the_next_time_does_not_keep_the_arrays():
    record._ready.clear()
    Z, A = np.ones((40, 50)), np.empty((40, 50))
    assert record.once("softmax_into", Z, A)
    gone = [weakref.ref(Z), weakref.ref(A)]
    del Z, A
    assert [ref() for ref in gone] == [None, None]
    assert record._ready


def test_no_more_programs_are_kept_than_some(monkeypatch):
    monkeypatch.setattr(record, "KEPT", 3)
    record._ready.clear()
    for m in range(20, 30):
        assert record.once("softmax_into", np.ones((3, m)), np.empty((3, m)))
    assert len(record._ready) == 3
    assert record.once("softmax_into", np.ones((3, 29)), np.empty((3, 29)))


def test_python_threads_do_the_same_at_once_each_on_its_arrays():
    record._ready.clear()
    rng = np.random.default_rng(1)
    tables = [rng.normal(size=(60, 70)) for _ in range(4)]
    found = [np.empty((60, 70)) for _ in tables]
    start, failed = threading.Barrier(4), []

    def work(Z, A):
        start.wait(30)
        for _ in range(200):
            A[...] = np.nan
            record.once("softmax_into", Z, A)
            if not np.allclose(A.sum(axis=0), 1.0) or np.argmax(A[:, 0]) != np.argmax(Z[:, 0]):
                failed.append(1)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(tables, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    for Z, A in zip(tables, found, strict=True):
        assert_allclose(A, np.exp(Z) / np.exp(Z).sum(axis=0), rtol=1e-12)


def test_another_list_of_rates_is_another_update():
    theta, g = np.ones(50), np.ones(50)
    for rate in (0.5, 0.25):
        assert record.once("update", dx.SGD.rule, theta, g, (), [rate])
    assert_allclose(theta, 0.25)


def test_arrays_with_gaps_are_multiplied_where_they_lie():
    rng = np.random.default_rng(2)
    for _ in range(3):  # the second time from what was kept, were it kept
        W, A_prev, Z = rng.normal(size=(40, 30)), rng.normal(size=(50, 70))[:, :30].T, np.empty((40, 50))
        assert record.once("dense_forward", W, np.zeros((40, 1)), A_prev, ACTIVATIONS["tanh"], Z, Z)
        assert_allclose(Z, np.tanh(W @ A_prev), rtol=1e-12)


def test_what_the_blas_cannot_say_is_left_to_numpy(monkeypatch):
    monkeypatch.setattr(product, "tile", lambda dtype: None)
    rng = np.random.default_rng(3)
    for W in (rng.normal(size=(40, 30))[::-1], np.broadcast_to(rng.normal(size=30), (40, 30))):
        A_prev, Z = rng.normal(size=(30, 50)), np.empty((40, 50))
        if record.once("dense_forward", W, np.zeros((40, 1)), A_prev, ACTIVATIONS["tanh"], Z, Z):
            assert_allclose(Z, np.tanh(W @ A_prev), rtol=1e-12)


def test_an_activation_that_cannot_be_hashed_is_used_as_any_other():
    g = Activation("scaled", ACTIVATIONS["tanh"].forward, ACTIVATIONS["tanh"].backward, gain=np.array(2.0))
    W, A_prev, Z = np.ones((40, 30)), np.ones((30, 50)), np.empty((40, 50))
    assert record.once("dense_forward", W, np.zeros((40, 1)), A_prev, g, Z, Z)


def test_a_rate_beyond_the_precision_is_infinite_without_a_warning():
    net = dx.Network((6, 7, 3), backend=COMPILED, dtype="float32", seed=0)
    X, y = data(net, 9)
    dx.TrainingStep(net, dx.SGD(1e39), 9)(X, y)
    assert not np.isfinite(net.theta).all()
