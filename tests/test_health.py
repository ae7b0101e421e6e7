import dataclasses

import numpy as np
import pytest

import deepxp as dx
from deepxp.health import first_bad, quantities


def state(hidden="relu", **options):
    """A network, its workspace and its gradient, all of them zeros."""
    net = dx.Network((2, 3, 4, 2), hidden, backend="cpu", dtype="float64", **options)
    work, gradient = net.memory(5, labels=True).workspace(5), net.gradient()
    for _, array in quantities(net, work, gradient):
        array[...] = 0.0
    return net, work, gradient


IN_A = ["the input A[0]", "A[1]", "A[2]", "Z[3]", "the loss"]
BACK = ["dW[3]", "db[3]", "dW[2]", "db[2]", "dW[1]", "db[1]"]
UPDATED = [f"the updated {name}[{l}]" for l in (1, 2, 3) for name in "Wb"]


def test_the_order_is_that_of_the_computation():
    assert [name for name, _ in quantities(*state())] == IN_A + BACK + UPDATED


def test_z_has_a_name_of_its_own_where_it_is_kept():
    names = [name for name, _ in quantities(*state("silu"))]
    assert names[:6] == ["the input A[0]", "Z[1]", "A[1]", "Z[2]", "A[2]", "Z[3]"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", range(len(IN_A + BACK + UPDATED)))
def test_the_first_bad_quantity_is_named_whatever_comes_after(k, value):
    net, work, gradient = state()
    for _, array in list(quantities(net, work, gradient))[k:]:
        array.flat[-1] = value
    text = first_bad(net, work, gradient, epoch=3, step=7)
    name, array = list(quantities(net, work, gradient))[k]
    assert text.startswith(f"{value} at step 7 of epoch 3: the first bad values are in {name}, 1 of {array.size};")


def test_bad_input_asks_for_other_data_and_anything_else_for_another_rate():
    net, work, gradient = state()
    work.A[2][0, 0] = np.inf
    assert "lower the learning rate" in (first_bad(net, work, gradient, 1, 1))
    work.A[0][0, 0] = np.inf
    assert "remove or replace those values" in (first_bad(net, work, gradient, 1, 1))
    assert "lower the learning rate" not in (first_bad(net, work, gradient, 1, 1))


def test_a_sum_that_overflowed():
    assert "every layer's values are finite" in (first_bad(*state(), epoch=1, step=1))


# --- a batch left out -------------------------------------------------------------------------------------------------


def poisoned(bad=(), value=np.nan, m=60):
    """Data of which some samples are not finite."""
    random = np.random.default_rng(0)
    X = random.standard_normal((6, m)).astype(np.float32)
    y = (X[0] + X[1] > 0).astype(int)
    X[3, list(bad)] = value
    return X, y


def small(backend, **options):
    return dx.Network((6, 9, 2), "tanh", backend=backend, seed=3, **options)


def notes_of(net, X, y, **options):
    notes = []
    history = dx.train(net, X, y, on_note=notes.append, **options)
    return history, notes


OPTIMIZERS = [dx.SGD(lr=0.1), dx.Momentum(lr=0.1), dx.Adam(lr=0.01), dx.AdamW(lr=0.01), dx.RMSProp(lr=0.01)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_a_step_that_is_skipped_leaves_theta_and_state_to_the_bit(backend, optimizer):
    net, (X, y) = small(backend), poisoned()
    step = dx.TrainingStep(net, optimizer, 20, on_nonfinite="skip")
    step(X[:, :20], y[:20])
    assert float(step.applied) == 1.0
    before = [dx.asnumpy(v).copy() for v in (net.theta, *step.state)]
    bad = X[:, 20:40].copy()
    bad[2, 5] = np.inf
    step(bad, y[20:40])
    assert float(step.applied) == 0.0
    for old, new in zip(before, (net.theta, *step.state), strict=True):
        np.testing.assert_array_equal(dx.asnumpy(new), old)
    step(X[:, 40:], y[40:])
    assert float(step.applied) == 1.0
    assert np.any(dx.asnumpy(net.theta) != before[0])


def test_a_gradient_whose_square_overflows_is_skipped(backend):
    """g is finite, J too: only v = g^2 is not, and a parameter whose v is infinite would never learn again."""
    net = dx.Network((6, 2, 1), "relu", "squared-error", backend=backend, seed=3)
    X, y = np.full((6, 4), 1e12, np.float32), np.zeros(4)
    step = dx.TrainingStep(net, dx.Adam(), 4, on_nonfinite="skip")
    step(X, y)
    assert float(step.applied) == 0.0
    assert np.isfinite(dx.asnumpy(step.state[1])).all()


def test_skipping_is_training_on_the_other_batches(backend):
    X, y = poisoned(bad=(15, 41))
    net, other = small(backend), small(backend)
    history, notes = notes_of(
        net, X, y, epochs=1, batch_size=10, shuffle=False, optimizer=dx.SGD(lr=0.1), on_nonfinite="skip"
    )
    good = np.r_[0:10, 20:40, 50:60]
    clean = dx.train(other, X[:, good], y[good], epochs=1, batch_size=10, shuffle=False, optimizer=dx.SGD(lr=0.1))
    np.testing.assert_array_equal(dx.asnumpy(net.theta), dx.asnumpy(other.theta))
    assert history.loss == pytest.approx(clean.loss, rel=1e-6)
    assert history["skipped"] == [2.0]
    (note,) = notes
    assert "a batch was left out" in note and "step 2 of epoch 1" in note
    if net.backend.read_loss_every == 1:
        assert "the input A[0], 1 of 60; remove or replace those values (sample 16 is the first)" in note


def test_skipping_changes_no_bit_where_there_is_nothing_to_skip(backend):
    (X, y), nets = poisoned(), [small(backend) for _ in range(2)]
    for net, kind in zip(nets, ("stop", "skip"), strict=True):
        dx.train(net, X, y, epochs=3, batch_size=16, on_nonfinite=kind)
    np.testing.assert_array_equal(dx.asnumpy(nets[0].theta), dx.asnumpy(nets[1].theta))


def test_an_epoch_without_a_batch_that_counts_is_an_error(backend):
    X, y = poisoned(bad=range(0, 60, 5))
    with pytest.raises(dx.NonFiniteError, match="every batch of epoch 1 gave NaN or infinity"):
        notes_of(small(backend), X, y, epochs=2, batch_size=10, on_nonfinite="skip")


def test_there_are_two_ways():
    with pytest.raises(dx.ConfigError, match="on_nonfinite must be one of stop, skip, got 'ignore'"):
        dx.TrainingStep(small("cpu"), on_nonfinite="ignore")


# --- the first bad layer, step and batch ------------------------------------------------------------------------------


def every_steps(n):
    """The CPU, whose loss is read as seldom as a GPU's."""
    return dataclasses.replace(dx.backend("cpu"), read_loss_every=n)


@pytest.mark.parametrize("every", [1, 50])
@pytest.mark.parametrize("optimizer", [dx.SGD(lr=0.1), dx.Adam()], ids=lambda optimizer: optimizer.name)
def test_layer_step_and_sample_are_named_however_late_the_loss_is_read(every, optimizer):
    X, y = poisoned(bad=(37,), value=np.inf, m=120)
    net = small(every_steps(every))
    with pytest.raises(dx.NonFiniteError, match=r"nan|inf") as caught:
        dx.train(net, X, y, epochs=1, batch_size=2, shuffle=False, optimizer=optimizer)
    assert "at step 19 of epoch 1: the first bad values are in the input A[0], 1 of 12;" in str(caught.value)
    assert "(sample 38 is the first)" in str(caught.value)


@pytest.mark.parametrize("every", [1, 7])
def test_an_overflow_in_a_layer_is_named_with_its_layer(every):
    X, y = poisoned(m=60)
    X[:, 30] = 3e38
    net = dx.Network(
        (6, 5, 4, 2), "relu", backend=dataclasses.replace(dx.backend("cpu"), read_loss_every=every), seed=1
    )
    with pytest.raises(dx.NonFiniteError) as caught:
        dx.train(net, X, y, epochs=1, batch_size=2, shuffle=False)
    assert "step 16 of epoch 1" in str(caught.value)
    assert "the first bad values are in A[1]" in str(caught.value)


@pytest.mark.parametrize("every", [1, 7])
def test_a_state_that_no_loss_ever_sees_is_found_when_the_epoch_ends(every):
    """g is finite and v = g^2 is not: those parameters would stand still for ever."""
    net = dx.Network((6, 2, 1), "relu", "squared-error", backend=every_steps(every), seed=3)
    X, y = poisoned()
    X[:, 7] = 1e12
    with pytest.raises(dx.NonFiniteError, match=r"at step 4 of epoch 1: .* in the optimizer's state"):
        dx.train(net, X, y, epochs=1, batch_size=2, shuffle=False)


# --- dead units, long gradients ---------------------------------------------------------------------------------------


def test_dead_units_are_told_of_once(backend):
    X, y = poisoned()
    net = dx.Network((6, 8, 5, 2), "relu", backend=backend, seed=1)
    with net.backend.active():
        net.b[1][:4, :] = -1e6
    _, notes = notes_of(net, X, y, epochs=4, batch_size=16, optimizer=dx.SGD(lr=0.01))
    assert [note for note in notes if "dead" in note] == [
        "4 of 8 units of layer 1 are dead after epoch 1: A[1] is the same for every sample; lower the learning rate, "
        "scale the inputs, or take hidden='leaky_relu'"
    ]


def test_living_units_and_equal_samples_are_not_dead(backend):
    X, y = poisoned()
    assert notes_of(small(backend), X, y, epochs=2, batch_size=16)[1] == []
    net = dx.Network((6, 8, 2), "relu", backend=backend)
    assert notes_of(net, np.zeros_like(X), y, epochs=2, batch_size=16)[1] == []


def test_an_exploding_gradient_is_told_of_with_its_layer():
    X, y = poisoned()
    net = dx.Network((6, 1), loss="squared-error", backend="cpu", seed=1)
    _, notes = notes_of(net, X, y, epochs=12, batch_size=20, optimizer=dx.SGD(lr=1.6))
    (note,) = [note for note in notes if "explodes" in note]
    assert "most of it in dW[" in note and "clip_norm=1.0" in note
    _, notes = notes_of(small("cpu"), X, y, epochs=12, batch_size=20, optimizer=dx.SGD(lr=0.1))
    assert notes == []


def test_without_a_listener_it_is_a_warning():
    X, y = poisoned(bad=(3,))
    with pytest.warns(dx.HealthWarning, match="a batch was left out"):
        dx.train(small("cpu"), X, y, epochs=1, batch_size=10, on_nonfinite="skip")


def test_the_command_line_skips_and_says_so(tmp_path, capsys):
    from deepxp.cli import main

    X, y = poisoned()
    X[:, 40:] *= 1e25  # finite, but not what becomes of it
    np.savez(tmp_path / "d.npz", X=X.T, y=y)
    run = ["train", str(tmp_path / "d.npz"), "--scale", "none", "--hidden", "4", "--epochs", "2", "--batch-size", "4"]
    run += ["--test", "0", "--validation", "0", "--device", "cpu", "--loss", "softmax-cross-entropy"]
    assert main([*run, "--out", str(tmp_path / "a"), "--on-nonfinite", "skip"]) == 0
    out = capsys.readouterr().out
    assert "note        a batch was left out, for it gave" in out
    assert '"skipped": ' in (tmp_path / "a" / "metrics.jsonl").read_text()
    assert main([*run, "--out", str(tmp_path / "b")]) == 1
    assert "training met" in capsys.readouterr().err
