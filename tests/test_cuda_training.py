"""Whole training steps on the CUDA kernels, run on the host: what a GPU is asked to do equals what the CPU computes."""

from collections import Counter

import numpy as np
import pytest
from cupy_double import install, raw
from numpy.testing import assert_allclose, assert_array_equal
from test_cuda_kernels import lion, swish, swish_backward

import deepxp as dx
from deepxp import rng
from deepxp.backend import Backend
from deepxp.kernels import cupy as kernels
from deepxp.ops import updates
from deepxp.optimizers import OPTIMIZERS

SIZES = (9, 33, 17, 5)
STEPS, M = 4, 37


class Lion(dx.Momentum):
    """A rule of a user's own."""

    rule = staticmethod(lion)


def network(backend, dtype="float64", **settings):
    return dx.Network(SIZES, backend=backend, dtype=dtype, seed=3, **settings)


def data(loss, weighted):
    random = np.random.default_rng(0)
    X, y = random.normal(size=(SIZES[0], M)), random.integers(0, SIZES[-1], M)
    if loss != "softmax-cross-entropy":
        y = random.random((SIZES[-1], M))
    return X, y, random.random(M) + 0.5 if weighted else None


def trained(backend, dtype, loss, weighted, settings, optimizer, options):
    """theta, and the loss of each step; the last batch is a smaller one."""
    X, y, w = data(loss, weighted)
    net = network(backend, dtype, loss=loss, **settings)
    step = dx.TrainingStep(net, optimizer, M, **options)
    costs = []
    for i in range(STEPS):
        m = M if i < STEPS - 1 else 30
        costs.append(float(step(X[:, :m], y[..., :m], None if w is None else w[:m])))
    return dx.asnumpy(net.theta), costs


def assert_trains_alike(*case, dtype="float64"):
    theta, costs = trained(Backend("reference", np), dtype, *case)
    gpu_theta, gpu_costs = trained("gpu", dtype, *case)
    close = {"float64": 1e-10, "float32": 5e-5}[dtype]
    assert_allclose(gpu_costs, costs, rtol=close)
    assert_allclose(gpu_theta, theta, rtol=close, atol=close)
    start = dx.asnumpy(network("cpu", dtype, loss=case[0], **case[2]).theta)
    assert np.abs(theta - start).max() > 1e-3  # it moved


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    return install(monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", ["relu", "gelu", "softmax", dx.Activation("swish", swish, swish_backward)], ids=str)
def test_every_kind_of_activation(hidden, dtype):
    assert_trains_alike("softmax-cross-entropy", False, {"hidden": hidden}, dx.Adam(lr=1e-2), {}, dtype=dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"])
def test_every_loss_with_and_without_weights(loss, weighted):
    assert_trains_alike(loss, weighted, {"hidden": "tanh"}, dx.SGD(), {})


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS.values(), Lion], ids=lambda cls: cls.__name__)
def test_every_update_rule(optimizer):
    assert_trains_alike("softmax-cross-entropy", False, {"hidden": "relu"}, optimizer(lr=1e-2), {})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_penalty_and_clipping_together(dtype):
    settings, options = {"hidden": "elu", "dropout": 0.25}, {"l2": 1e-2, "clip_norm": 0.5}
    assert_trains_alike("softmax-cross-entropy", True, settings, dx.AdamW(lr=1e-2), options, dtype=dtype)


def test_a_short_training_ends_alike(machine):
    X, y, _ = data("softmax-cross-entropy", False)
    nets = [network(name, hidden="silu", dropout=0.2) for name in (Backend("reference", np), "gpu")]
    runs = [dx.train(net, X, y, epochs=3, batch_size=8) for net in nets]
    assert_allclose(runs[1].loss, runs[0].loss, rtol=1e-9)
    assert_allclose(nets[1].predict_proba(X), nets[0].predict_proba(X), rtol=1e-8)


# a step is static: nothing is allocated but the J that is handed out, and what runs are the kernels


@pytest.mark.parametrize("options", [{}, {"l2": 1e-3, "clip_norm": 1.0}], ids=["plain", "with l2 and clipping"])
def test_a_warm_step_is_made_of_kernels_alone(machine, monkeypatch, options):
    X, y, _ = data("softmax-cross-entropy", False)
    step = dx.TrainingStep(network("gpu", hidden="relu"), dx.AdamW(), M, **options)
    step(X, y)
    launched, call = Counter(), raw.RawKernel.__call__

    def counted(self, *arguments):
        launched["RawKernel"] += 1
        call(self, *arguments)

    monkeypatch.setattr(raw.RawKernel, "__call__", counted)
    with machine.counting() as seen, step.net.backend.active():
        step.run(step.workspace(M, labels=True), labels=True)
    assert (seen.allocations, seen.host_waits, seen.host_to_device, seen.gemm_temporaries) == (1, 0, 0, 0)
    assert seen.gemms == 3 + 3 + 2  # forward; dW; dA
    layers = 3 + 1 + 1 + 3 + 2  # bias and activation; loss; cost; activation backward; weights and biases by AdamW
    others = 2 + 1 + 2 if options else 0  # squares and penalty; gradient of the penalty; squares and clipping
    assert launched == {"RawKernel": layers + others}


# what changes from step to step is read on the device, so a captured launch may be run again


def captured(cp, work):
    cp.cuda.get_current_stream().synchronize()  # its arrays were made there
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        work()
        stream.begin_capture()
        work()
        return stream.end_capture(), stream


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_captured_update_follows_the_rates(machine, dtype):
    import cupy as cp

    theta, g = cp.asarray(np.zeros(50, dtype)), cp.asarray(np.ones(50, dtype))
    rates = cp.asarray(np.array([0.5], dtype))
    graph, stream = captured(cp, lambda: kernels.update(cp, updates.sgd, theta, g, (), rates))
    with stream:
        assert_array_equal(theta.get(), -0.5)  # the warm-up; capturing runs nothing
        rates[...] = 0.25
        graph.launch()
        rates[...] = 2.0
        graph.launch()
        assert_array_equal(theta.get(), -2.75)


def test_captured_dropout_bits_follow_the_counter(machine):
    import cupy as cp

    key, counter = (cp.asarray(x) for x in rng.dropout_stream(7, epoch=2, step=0))
    bits = cp.zeros((9, 5), dtype=cp.uint16)
    graph, stream = captured(cp, lambda: kernels.dropout_bits(cp, key, counter, 3, bits))
    with stream:
        for step in (1, 2):
            counter[0:1] = step
            graph.launch()
            assert_array_equal(bits.get(), rng.dropout_bits(7, 2, step, 3, (9, 5)))


def test_a_flag_remembers_until_it_is_read(machine):
    import cupy as cp

    flag, x = cp.asarray(np.float32(1.0)), cp.asarray(np.ones(5002, np.float32))
    kernels.all_finite(cp, x, flag)
    with machine.counting() as seen:
        kernels.all_finite(cp, x, flag)
    assert (seen.host_waits, seen.allocations) == (0, 0)
    assert bool(flag)
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 4321, 5001):
            flag[...] = 1.0
            x[place] = bad
            kernels.all_finite(cp, x, flag)
            x[place] = 1.0
            kernels.all_finite(cp, x, flag)  # all is well again, but it was not
            assert not bool(flag)


def test_the_reference_on_the_gpu_is_still_there(machine):
    import cupy as cp

    gpu = dx.backend("gpu")
    assert gpu.kernels is kernels
    definitions = Backend(gpu.name, cp, device=gpu.device)
    assert definitions[updates.update].func is updates.update
