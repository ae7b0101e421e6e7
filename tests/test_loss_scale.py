"""The scale of a gradient in float16: the rule, that it is taken out again, and that a step which overflows leaves no
trace, on the double of CuPy and on a GPU."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal
from test_graph import Plain, batches, graphs

import deepxp as dx
from deepxp import loss_scale as room
from deepxp.backend import CupyBackend
from deepxp.data.batches import Batches
from deepxp.footprint import memory_need
from deepxp.health import Health
from deepxp.kernels import graph
from deepxp.loss_scale import LossScale
from deepxp.ops.dense import input_gradient, weight_gradient
from deepxp.ops.loss_scale import FIRST, LEAST, MOST, PATIENCE, rescale
from deepxp.ops.updates import adam, rates_of, update_where
from deepxp.optimizers import OPTIMIZERS

# the rule, in NumPy


def after(fits, J, S, good=0.0, t=5.0, skipped=2.0):
    """What J, S, good, t and skipped are then."""
    numbers = [np.full((), value, np.float32) for value in (fits, J, S, good, t, skipped)]
    with np.errstate(invalid="ignore"):
        rescale(np, *numbers)
    return [float(number) for number in numbers[1:]]


def test_a_gradient_that_fits_is_an_update_and_counts():
    assert after(1.0, 0.5, 8.0, good=7.0) == [0.5, 8.0, 8.0, 6.0, 2.0]


def test_after_2000_in_a_row_the_scale_is_doubled():
    assert PATIENCE == 2000
    assert after(1.0, 0.5, 8.0, good=1998.0) == [0.5, 8.0, 1999.0, 6.0, 2.0]
    assert after(1.0, 0.5, 8.0, good=1999.0) == [0.5, 16.0, 0.0, 6.0, 2.0]
    assert after(1.0, 0.5, MOST, good=1999.0) == [0.5, MOST, 0.0, 6.0, 2.0]


def test_a_gradient_that_overflows_halves_the_scale_and_is_no_update():
    assert after(0.0, 0.5, 8.0, good=1999.0) == [0.5, 4.0, 0.0, 5.0, 3.0]
    assert after(0.0, 0.5, 2 * LEAST) == [0.5, LEAST, 0.0, 5.0, 3.0]


def test_at_the_least_scale_it_is_not_the_scale_that_is_too_large():
    J, *rest = after(0.0, 0.5, LEAST, good=3.0)
    assert math.isnan(J) and rest == [LEAST, 3.0, 5.0, 2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_says_nothing_about_the_scale(bad):
    J, *rest = after(0.0, bad, 8.0, good=3.0)
    assert not math.isfinite(J) and rest == [8.0, 3.0, 5.0, 2.0]


def test_the_first_scale_is_the_greatest_that_a_difference_of_probabilities_fits():
    assert FIRST <= float(np.finfo(np.float16).max) < 2 * FIRST


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_an_update_where_the_flag_is_0_changes_no_bit():
    rng = np.random.default_rng(0)
    theta, m, v = rng.standard_normal(9), rng.standard_normal(9), rng.random(9)
    before = [theta.copy(), m.copy(), v.copy()]
    update_where(np, np.zeros(()), adam, theta, np.full(9, np.nan), (m, v), dx.Adam().rates(0.1, 3))
    assert_array_equal([theta, m, v], before)
    update_where(np, np.ones(()), adam, theta, np.ones(9), (m, v), dx.Adam().rates(0.1, 3))
    assert_array_equal([theta, m, v], adam(np, before[0], np.ones(9), *before[1:], *dx.Adam().rates(0.1, 3)))


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda cls: cls.__name__)
def test_rates_of_a_step_number_in_an_array_are_those_of_the_number(cls):
    for t in (1, 2, 10_000):
        expected = cls().rates(0.3, t)
        out = np.empty(len(expected))
        rates_of(np, cls().rates, np.full((), 0.3), np.full((), t, np.float32), out)
        assert_allclose(out, expected, rtol=1e-15)


# on a device


@pytest.fixture
def half(gpu):
    return dx.backend(gpu.name, "fp16")


def full(backend):
    return dx.backend(backend.name)


def plain(backend):
    """The same without a recording."""
    return CupyBackend(backend.name, backend.xp, Plain(backend.kernels), backend.device, backend.read_loss_every)


def made(backend, optimizer=None, *, S=None, loss="softmax-cross-entropy", **options):
    net = dx.Network((6, 7, 5, 3), backend=backend, seed=1, loss=loss, dropout=options.pop("dropout", 0.0))
    step = dx.TrainingStep(net, optimizer or dx.Adam(1e-2), 9, **options)
    if S is not None:
        with backend.active():
            step.loss_scale.S[...] = S
    return net, step


def kept(net, step):
    return [dx.asnumpy(x) for x in (net.theta, *step.state)]


def scale_of(step):
    """(S, steps since it was changed, updates, steps left out)"""
    return dx.asnumpy(step.loss_scale.state).tolist()


def test_derivatives_too_small_for_float16_are_not_lost(half):
    rng = np.random.default_rng(0)
    dZ, A, W = (rng.standard_normal(shape) for shape in ((5, 9), (4, 9), (5, 4)))
    dZ *= 1e-9
    with half.active():
        S = half.zeros((), "float32") + 2.0**20
        given = [half.asarray(x, "float32") for x in (dZ, A, W)]
        found = []
        for kernels in (half.kernels, half.kernels.scaled(half.xp, S)):
            dW, dA = half.zeros((5, 4), "float32") + np.nan, half.zeros((4, 9), "float32") + np.nan
            kernels.weight_gradient(half.xp, given[0], given[1], dW)
            kernels.input_gradient(half.xp, given[2], given[0], dA)
            found.append((dW.get(), dA.get()))
    assert not found[0][0].any() and not found[0][1].any()
    assert_allclose(found[1][0], dZ @ A.T / 9, rtol=5e-2, atol=1e-12)
    assert_allclose(found[1][1], W.T @ dZ, rtol=5e-2, atol=1e-11)


def test_the_scaled_products_have_the_names_of_their_definitions(half):
    from test_kernels import parameters

    scaled = half.kernels.scaled(half.xp, half.zeros((), "float32"))
    for op in (weight_gradient, input_gradient):
        assert parameters(getattr(scaled, op.__name__)) == parameters(op)


@pytest.mark.parametrize("steps_before", [0, 1, graph.WARM_UP + 1], ids=["first", "plain", "replayed"])
def test_a_step_that_overflows_changes_no_bit_but_of_the_scale(half, steps_before):
    net, step = made(half, clip_norm=1.0, l2=1e-3)
    X, y = batches(1)[0]
    for _ in range(steps_before):
        step(X, y)
    expected = kept(net, step)
    with half.active():
        step.loss_scale.S[...] = 2.0**22
    J = float(step(X, y))
    assert math.isfinite(J)
    for old, new in zip(expected, kept(net, step), strict=True):
        assert_array_equal(old, new)
    assert scale_of(step) == [2.0**21, 0.0, steps_before, 1.0]
    while scale_of(step)[2] == steps_before:  # until it fits
        assert float(step(X, y)) == J
    S, good, _, skipped = scale_of(step)
    assert (S, good) == (2.0 ** (22 - skipped), 1.0)
    assert not np.array_equal(kept(net, step)[0], expected[0])


def test_the_first_update_is_that_of_step_1_however_many_were_left_out(half):
    """Adam's bias corrections go by the updates that there were."""
    X, y = batches(1)[0]
    late_net, late = made(half, S=2.0**22)
    while scale_of(late)[2] == 0:
        late(X, y)
    net, step = made(half, S=scale_of(late)[0])
    step(X, y)
    assert late.t > step.t == 1
    for expected, found in zip(kept(net, step), kept(late_net, late), strict=True):
        assert_array_equal(found, expected)


def test_the_scale_grows_and_the_products_follow_it_in_a_recorded_step(half):
    net, step = made(half)
    reference, other = made(plain(half))
    for s in (step, other):
        with half.active():
            s.loss_scale.state[1:2] = PATIENCE - graph.WARM_UP - 2
    for i, (X, y) in enumerate(batches(graph.WARM_UP + 5)):
        assert float(step(X, y)) == float(other(X, y))
        assert scale_of(step)[0] == (FIRST if i < graph.WARM_UP + 1 else 2 * FIRST)
    assert graphs(step) != [None]
    assert_array_equal(kept(net, step)[0], kept(reference, other)[0])


CASES = {
    "adam": {},
    "adamw": {"optimizer": dx.AdamW(1e-2)},
    "momentum": {"optimizer": dx.Momentum(0.1)},
    "everything": {"optimizer": dx.AdamW(1e-2, weight_decay=0.1), "dropout": 0.25, "l2": 1e-2, "clip_norm": 0.3},
}


@pytest.mark.parametrize("case", CASES)
def test_training_stays_close_to_float32(half, case):
    runs = []
    for backend in (half, full(half)):
        net, step = made(backend, **CASES[case])
        losses = [float(step(X, y)) for X, y in batches(12)]
        runs.append((losses, dx.asnumpy(net.theta)))
    assert_allclose(runs[0][0], runs[1][0], rtol=5e-3)
    assert_allclose(runs[0][1], runs[1][1], atol=2e-2)
    assert not np.array_equal(runs[0][1], runs[1][1])


def test_a_gradient_is_clipped_by_its_length_without_the_scale(half):
    net, step = made(half, dx.SGD(1.0), clip_norm=1e-3)
    before = dx.asnumpy(net.theta)
    step(*batches(1)[0])
    assert_allclose(np.linalg.norm(dx.asnumpy(net.theta).astype(np.float64) - before), 1e-3, rtol=1e-3)


def test_a_replayed_step_waits_for_nothing_and_launches_nothing(monkeypatch):
    machine = install(monkeypatch)
    _, step = made(dx.backend("gpu", "fp16"))
    for X, y in batches(graph.WARM_UP + 2):
        step(X, y)
    with machine.counting() as seen:
        step.run(step.workspace(9, labels=True), labels=True)
    assert (seen.kernels, seen.gemms, seen.host_waits, seen.host_to_device, seen.device_to_host) == (1, 0, 0, 0, 0)


def test_only_float32_in_float16_has_a_scale(half):
    for backend, dtype, scaled in ((half, "float32", True), (half, "float64", False), (full(half), "float32", False)):
        net = dx.Network((3, 2), backend=backend, dtype=dtype)
        assert isinstance(dx.TrainingStep(net).loss_scale, LossScale) is scaled
    assert dx.TrainingStep(dx.Network((3, 2), backend="cpu")).loss_scale is None


class Rooted(dx.SGD):
    def rates(self, lr, t):
        return (lr / math.sqrt(t),)


class Powered(dx.SGD):
    def rates(self, lr, t):
        return (lr * t**-0.5,)


def test_rates_that_a_device_cannot_compute_are_refused_before_the_run(half):
    with pytest.raises(dx.ConfigError, match=r"the rates of Rooted\.rates cannot be computed .* or take another prec"):
        made(half, Rooted())
    net, step = made(half, Powered(0.5))
    reference, other = made(full(half), Rooted(0.5))
    for X, y in batches(5):
        step(X, y)
        other(X, y)
    assert_allclose(dx.asnumpy(net.theta), dx.asnumpy(reference.theta), atol=2e-2)


def test_what_is_rounded_is_counted_where_memory_is(half):
    need = [memory_need(dx.Network((6, 70, 3), backend=b), dx.Adam(), 9) for b in (half, full(half))]
    assert need[0] - need[1] == 2 * (6 * 70 + (6 + 70) * 9)


# runs


def digits(count=400):
    bundled = dx.data.digits()
    return bundled.X[:count].T / 16.0, bundled.y[:count].astype(np.int64)


def test_a_run_tells_what_was_left_out_and_the_scale_of_each_epoch(half, monkeypatch):
    monkeypatch.setattr(room, "FIRST", 2.0**22)
    X, y = digits()
    runs, said = [], []
    for backend in (half, full(half)):
        net = dx.Network((64, 24, 10), backend=backend, seed=0)
        history = dx.train(net, X, y, epochs=6, batch_size=20, optimizer=dx.Adam(5e-3), on_note=said.append)
        runs.append((history, dx.evaluate(net, X, y)["accuracy"]))
    history = runs[0][0]
    left_out = history["overflowed"]
    assert left_out[0] >= 5 and sum(left_out[1:]) <= 2
    assert history["loss_scale"][-1] == 2.0 ** (22 - sum(left_out))
    assert not {"overflowed", "loss_scale"} & runs[1][0].records[0].keys()
    assert not [text for text in said if "explodes" in text or "left out" in text]
    assert runs[1][1] > 0.9 and abs(runs[0][1] - runs[1][1]) < 0.04


def huge():
    """Targets whose differences are finite in float32 and beyond float16 at every scale."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 64)), np.full((1, 64), 1e15)


def test_a_gradient_that_never_fits_ends_the_run_with_its_layer(half):
    net = dx.Network((4, 3, 1), backend=half, loss="squared-error")
    before = dx.asnumpy(net.theta)
    halvings = round(math.log2(FIRST / LEAST))
    said = rf"at step {halvings + 1} of epoch 1: the first bad values are in dW\[2\]"
    with pytest.raises(dx.NonFiniteError, match=said):
        dx.train(net, *huge(), epochs=3, batch_size=1)
    assert_array_equal(dx.asnumpy(net.theta), before)


def test_or_its_batches_are_left_out(half):
    net, said = dx.Network((4, 3, 1), backend=half, loss="squared-error"), []
    X, y = huge()
    y[0, ::2] = 1e3
    history = dx.train(net, X, y, epochs=2, batch_size=1, on_nonfinite="skip", on_note=said.append, shuffle=False)
    assert sum(history["overflowed"]) == round(math.log2(FIRST / LEAST))
    assert history["skipped"][0] + 32 - history["overflowed"][0] <= 0 < history["skipped"][1]
    assert history["loss_scale"][-1] == LEAST
    assert "a batch was left out" in said[0]


def test_a_sample_that_is_nan_is_no_matter_of_the_scale(half):
    X, y = digits(60)
    X[3, 7] = np.nan
    net = dx.Network((64, 8, 10), backend=half)
    history = dx.train(net, X, y, epochs=2, batch_size=20, on_nonfinite="skip", on_note=lambda text: None)
    assert history["skipped"] == [1.0, 1.0]
    assert history["overflowed"] == [0.0, 0.0] and history["loss_scale"][-1] == FIRST


def test_inputs_that_are_not_scaled_are_rounded_once_where_they_are_gathered(half):
    X, y = digits()
    thetas = []
    for early in (True, False):
        net = dx.Network((64, 9, 10), backend=half, seed=4)
        step = dx.TrainingStep(net, dx.Adam(1e-2), 50)
        if not early:
            step._memory[True] = net.memory(50, labels=True, shared=False)
        assert step.workspace(50, labels=True).X.dtype == (np.float16 if early else np.float32)
        for k in range(6):
            step(X[:, 50 * k : 50 * k + 50], y[50 * k : 50 * k + 50])
        thetas.append(dx.asnumpy(net.theta))
    assert_array_equal(*thetas)
    scaled = dx.Network((64, 10), backend=half, scaler=dx.data.Scaler.fit(X.T, "standard"))
    assert dx.TrainingStep(scaled).workspace(5, labels=True).X.dtype == np.float32


def test_a_gradient_that_was_left_out_does_not_explode(half):
    """The last of an epoch is what is looked at, and it may be one that did not fit."""
    (net, step), said = made(half), []
    health, (X, y) = Health(net, step, said.append), batches(1)[0]
    data = Batches.of(half, X.T, y.astype(np.int32), None)
    for length in (1.0, np.inf):
        health.begin(1, np.arange(9))
        step(X, y)
        with half.active():
            step.gradient.g[...] = length
        health.end(data, None, 1)
    assert said == []


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(half, monkeypatch, tmp_path):
    monkeypatch.setattr(room, "FIRST", 2.0**20)
    X, y = digits(200)

    def run(net, folder, stop_at=0, resume=False):
        checkpoints, count = dx.Checkpoints(folder, every="3steps", resume=resume), iter(range(10**6))

        def on_step(*numbers):
            if next(count) + 1 == stop_at:
                checkpoints.stop()

        return dx.train(net, X, y, epochs=2, batch_size=20, optimizer=dx.AdamW(1e-2), checkpoints=checkpoints,
                        on_step=on_step, on_note=pytest.fail)  # fmt: skip

    nets = [dx.Network((64, 9, 10), backend=half, seed=4, dropout=0.2) for _ in range(2)]
    whole = run(nets[0], tmp_path / "whole")
    assert whole["overflowed"][0] > 1
    parted = dx.Network((64, 9, 10), backend=replace(half, read_loss_every=1), seed=4, dropout=0.2)
    with pytest.raises(dx.StoppedError):
        run(parted, tmp_path / "parted", stop_at=2)  # after steps that were left out, and before the scale fits
    rest = run(nets[1], tmp_path / "parted", resume=True)
    assert_array_equal(dx.asnumpy(nets[1].theta), dx.asnumpy(nets[0].theta))
    for key in ("overflowed", "loss_scale"):
        assert rest[key] == whole[key]
    other = dx.Network((64, 9, 10), backend=full(half), seed=4, dropout=0.2)
    with pytest.raises(dx.ConfigError, match="was saved with precision='fp16', and this is precision='fp32'"):
        run(other, tmp_path / "parted", resume=True)
