import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.optimizers import OPTIMIZERS, SCHEDULES

RULES = [dx.SGD(), dx.Momentum(), dx.Nesterov(), dx.RMSProp(), dx.Adam(), dx.AdamW()]


def step_of(optimizer, *, seed=3, l2=0.0, dtype="float64"):
    """A network, its theta before, one step, and the gradient of that step."""
    net = dx.Network((4, 5, 3), backend="cpu", seed=seed, dtype=dtype)
    net.b[1][...] = 0.5
    table = np.random.default_rng(seed).standard_normal((8, 4))
    before = net.theta.copy()
    step = dx.TrainingStep(net, optimizer, 8, l2=l2)
    step(table.T, np.arange(8) % 3)
    return net, before, step


# rates


def test_rates_of_adam_at_steps_1_and_2():
    adam = dx.Adam(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-6)
    assert_allclose(adam.rates(0.1, 1), (0.1 / 0.1, 0.9, 0.99, 1e-6, 1 / math.sqrt(0.01)), rtol=1e-13)
    assert_allclose(adam.rates(0.05, 2), (0.05 / 0.19, 0.9, 0.99, 1e-6, 1 / math.sqrt(0.0199)), rtol=1e-13)


def test_the_first_step_of_adam_goes_lr_against_the_sign():
    net, before, step = step_of(dx.Adam(lr=0.01, eps=1e-12))
    moved = step.gradient.g != 0
    assert_allclose((net.theta - before)[moved], -0.01 * np.sign(step.gradient.g[moved]), rtol=1e-6)


def test_the_others_take_their_rates():
    assert dx.SGD().rates(0.5, 1) == (0.5,)
    assert dx.Momentum(mu=0.8).rates(0.5, 9) == (0.5, 0.8)
    assert dx.Nesterov(mu=0.8).rates(0.5, 9) == (0.5, 0.8)
    assert dx.RMSProp(rho=0.7, eps=1e-3).rates(0.5, 9) == (0.5, 0.7, 1e-3)


# steps, held against formulas written again


def test_sgd_and_the_first_step_of_momentum_and_nesterov():
    for optimizer, factor in ((dx.SGD(lr=0.5), 1.0), (dx.Momentum(lr=0.5), 1.0), (dx.Nesterov(lr=0.5), 1.9)):
        net, before, step = step_of(optimizer)
        assert_allclose(net.theta, before - 0.5 * factor * step.gradient.g, rtol=1e-12, atol=1e-15)


def by_hand(optimizer, gradients, theta):
    """theta after these gradients, by the papers' formulas."""
    v = m = np.zeros_like(theta)
    for t, g in enumerate(gradients, 1):
        match optimizer:
            case dx.Nesterov(lr=lr, mu=mu):
                v = mu * v + g
                theta = theta - lr * (g + mu * v)
            case dx.Momentum(lr=lr, mu=mu):
                v = mu * v + g
                theta = theta - lr * v
            case dx.RMSProp(lr=lr, rho=rho, eps=eps):
                v = rho * v + (1 - rho) * g**2
                theta = theta - lr * g / (np.sqrt(v) + eps)
            case dx.Adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps):
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
                m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
                theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            case dx.SGD(lr=lr):
                theta = theta - lr * g
    return theta


@pytest.mark.parametrize("optimizer", RULES[:-1], ids=lambda o: o.name)
def test_five_steps_by_hand(optimizer):
    net = dx.Network((4, 5, 3), backend="cpu", seed=3, dtype="float64")
    before, seen = net.theta.copy(), []
    step = dx.TrainingStep(net, optimizer, 8)
    table = np.random.default_rng(3).standard_normal((8, 4))
    for _ in range(5):
        step(table.T, np.arange(8) % 3)
        seen.append(step.gradient.g.copy())
    assert_allclose(net.theta, by_hand(optimizer, seen, before), rtol=1e-10, atol=1e-12)
    assert step.t == 5
    assert len(step.state) == optimizer.states
    other = dx.SGD(lr=0.05) if optimizer != dx.SGD(lr=0.05) else dx.SGD(lr=0.1)
    assert not np.allclose(net.theta, by_hand(other, seen, before), rtol=1e-10, atol=1e-12)


def test_adamw_decays_weights_and_never_biases():
    plain, before, _ = step_of(dx.Adam(lr=0.01))
    decayed, _, _ = step_of(dx.AdamW(lr=0.01, weight_decay=0.5))
    for l in (1, 2):
        assert_array_equal(decayed.b[l], plain.b[l])
    n = plain.parameters.weights.size
    assert_allclose(decayed.theta[:n], plain.theta[:n] - 0.01 * 0.5 * before[:n], rtol=1e-12)
    assert np.abs(decayed.theta[:n] - plain.theta[:n]).max() > 1e-3


def test_adamw_without_decay_is_adam():
    assert_array_equal(step_of(dx.AdamW(lr=0.01, weight_decay=0.0))[0].theta, step_of(dx.Adam(lr=0.01))[0].theta)


def test_l2_is_on_weights_only():
    plain, before, one = step_of(dx.SGD(lr=0.1))
    penalised, _, other = step_of(dx.SGD(lr=0.1), l2=0.3)
    n = plain.parameters.weights.size
    assert_allclose(other.gradient.weights, one.gradient.weights + 0.3 * before[:n], rtol=1e-12)
    for l in (1, 2):
        assert_array_equal(other.gradient.db[l], one.gradient.db[l])
        assert_array_equal(penalised.b[l], plain.b[l])


def test_l2_is_in_the_loss():
    net = dx.Network((4, 5, 3), backend="cpu", seed=3, dtype="float64")
    table, y = np.random.default_rng(3).standard_normal((8, 4)), np.arange(8) % 3
    plain = float(dx.TrainingStep(net.to(), dx.SGD(), 8)(table.T, y))
    with_l2 = float(dx.TrainingStep(net.to(), dx.SGD(), 8, l2=0.3)(table.T, y))
    assert_allclose(with_l2 - plain, 0.15 * sum((W**2).sum() for W in net.W[1:]), rtol=1e-10)


def test_a_long_gradient_is_clipped_and_a_short_one_is_not():
    _, _, plain = step_of(dx.SGD(lr=0.1))
    g, length = plain.gradient.g, np.linalg.norm(plain.gradient.g)
    for limit in (length / 4, length * 4):
        net = dx.Network((4, 5, 3), backend="cpu", seed=3, dtype="float64")
        net.b[1][...] = 0.5
        step = dx.TrainingStep(net, dx.SGD(lr=0.1), 8, clip_norm=limit)
        step(np.random.default_rng(3).standard_normal((8, 4)).T, np.arange(8) % 3)
        assert_allclose(step.gradient.g, g * min(1.0, limit / length), rtol=1e-12)


@pytest.mark.parametrize("optimizer", RULES, ids=lambda o: o.name)
def test_float32_stays_float32(optimizer):
    net, _, step = step_of(optimizer, dtype="float32")
    for array in (net.theta, step.gradient.g, *step.state):
        assert array.dtype == np.float32


@pytest.mark.parametrize("optimizer", RULES, ids=lambda o: o.name)
def test_every_rule_brings_the_loss_down(optimizer):
    net = dx.Network((4, 8, 3), backend="cpu", seed=3)
    table = np.random.default_rng(3).standard_normal((60, 4)) + 3.0 * np.eye(4)[np.arange(60) % 3]
    history = dx.train(net, table.T, np.arange(60) % 3, epochs=20, batch_size=20, optimizer=optimizer)
    assert history.loss[-1] < 0.9 * history.loss[0]


# hyperparameters


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
def test_a_learning_rate_is_positive(optimizer, lr):
    with pytest.raises(dx.ConfigError, match=rf"learning rate must be a positive number, got lr={lr}"):
        optimizer(lr=lr)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (dx.Momentum, "mu", 1.0),
        (dx.Nesterov, "mu", -0.1),
        (dx.RMSProp, "rho", 1.5),
        (dx.Adam, "beta1", 1.0),
        (dx.Adam, "beta2", math.nan),
        (dx.AdamW, "beta2", 2.0),
        (dx.RMSProp, "eps", -1e-8),
        (dx.Adam, "eps", math.inf),
        (dx.AdamW, "weight_decay", -0.1),
        (dx.AdamW, "weight_decay", math.nan),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(make, name, value):
    with pytest.raises(dx.ConfigError, match=rf"^{name} must .*got {name}={value}"):
        make(**{name: value})


def test_optimizers_are_values_and_have_names():
    assert dx.Adam(lr=0.1) == dx.Adam(lr=0.1) != dx.Adam(lr=0.2)
    assert {name: cls().name for name, cls in OPTIMIZERS.items()} == {name: name for name in OPTIMIZERS}
    assert set(OPTIMIZERS) == {"sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"}
    with pytest.raises(AttributeError):
        dx.Adam().lr = 0.5


# schedules


def test_constant():
    assert [dx.Constant().factor(epoch, 10) for epoch in (0.01, 5, 9.9)] == [1.0, 1.0, 1.0]


def test_step_decay_falls_at_whole_multiples():
    schedule = dx.StepDecay(every=3, gamma=0.5)
    expected = {0.1: 1.0, 2.99: 1.0, 3.0: 0.5, 5.9: 0.5, 6.0: 0.25, 9.5: 0.125}
    assert {epoch: schedule.factor(epoch, 10) for epoch in expected} == expected


def test_cosine_falls_from_1_to_0():
    schedule = dx.Cosine()
    assert_allclose(
        [schedule.factor(epoch, 8) for epoch in (0, 2, 4, 6, 8)],
        [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0],
        atol=1e-15,
    )


@pytest.mark.parametrize("schedule", [dx.Constant(warmup=2), dx.StepDecay(warmup=2, every=3), dx.Cosine(warmup=2)])
def test_warm_up_rises_in_a_straight_line_to_the_full_rate(schedule):
    rise = [schedule.factor(epoch, 10) for epoch in np.linspace(0.01, 2.0, 50)]
    assert_allclose(rise, np.linspace(0.005, 1.0, 50), rtol=1e-12)
    assert (np.diff(rise) > 0).all()
    after = [schedule.factor(epoch, 10) for epoch in np.linspace(2.0, 10.0, 50)]
    assert (np.diff(after) <= 0).all()


def test_decay_counts_from_the_end_of_the_warm_up():
    assert dx.StepDecay(warmup=2, every=3).factor(4.9, 10) == 1.0
    assert dx.StepDecay(warmup=2, every=3).factor(5.0, 10) == 0.1
    assert_allclose(dx.Cosine(warmup=2).factor(6, 10), 0.5)


@pytest.mark.parametrize("schedule", [dx.Cosine(warmup=20), dx.Constant(warmup=20)])
def test_a_warm_up_longer_than_the_run(schedule):
    assert_allclose([schedule.factor(epoch, 10) for epoch in (5, 10)], [0.25, 0.5])


@pytest.mark.parametrize(
    "schedule", [dx.Constant(), dx.Constant(warmup=3), dx.Cosine(warmup=1), dx.Cosine(), dx.StepDecay(every=1)]
)
@pytest.mark.parametrize("batch_size", [2, 8])
def test_no_step_is_taken_at_rate_0(schedule, batch_size):
    net = dx.Network((2, 2), backend="cpu")
    X, y, seen = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7], [1.0] * 8]), np.arange(8) % 2, {}

    class Seen(dx.SGD):
        def rates(self, lr, t):
            seen[t] = lr
            return super().rates(lr, t)

    dx.train(net, X, y, epochs=4, batch_size=batch_size, optimizer=Seen(lr=0.5), schedule=schedule)
    assert len(seen) == 4 * 8 // batch_size
    assert all(0 < lr <= 0.5 for lr in seen.values())


def test_the_record_of_an_epoch_has_the_rate_of_its_last_step():
    net = dx.Network((2, 2), backend="cpu")
    X, y = np.array([[0.0, 1, 2, 3], [1.0] * 4]), np.arange(4) % 2
    history = dx.train(net, X, y, epochs=2, batch_size=2, optimizer=dx.SGD(lr=0.8), schedule=dx.Cosine())
    assert_allclose(history["lr"], [0.4 * (1 + math.cos(math.pi * at / 2)) for at in (0.75, 1.75)])


@pytest.mark.parametrize("warmup", [-1, math.nan, math.inf])
@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_warm_up_is_a_number_of_epochs(schedule, warmup):
    with pytest.raises(dx.ConfigError, match=r"warmup is a number of epochs"):
        schedule(warmup=warmup)


@pytest.mark.parametrize("options", [{"every": 0}, {"gamma": 0.0}, {"gamma": 1.5}, {"gamma": math.nan}])
def test_step_decay_out_of_range(options):
    with pytest.raises(dx.ConfigError, match="StepDecay needs every >= 1 and 0 < gamma <= 1"):
        dx.StepDecay(**options)
