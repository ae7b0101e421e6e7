"""Update rules on vectors: the numbers of the optimizers, their state, and what they leave alone.

That the rules are the published formulas is proved in test_proofs.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops import updates
from deepxp.optimizers import OPTIMIZERS

BOTH = pytest.mark.parametrize(
    "xp", [Backend("reference", np), Backend("kernel", np, numpy_kernels)], ids=["definition", "kernel"]
)
RULES = {
    updates.sgd: (0, (0.1,)),
    updates.momentum: (1, (0.1, 0.9)),
    updates.nesterov: (1, (0.1, 0.9)),
    updates.rmsprop: (1, (0.1, 0.9, 1e-8)),
    updates.adam: (2, (0.1, 0.9, 0.999, 1e-8, 1.3)),
    updates.adamw: (2, (0.1, 0.9, 0.999, 1e-8, 1.3, 0.01)),
}
EVERY = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


def vectors(rule, size=100, dtype="float64"):
    rng = np.random.default_rng(0)
    states, _ = RULES[rule]
    return (*rng.normal(size=(2, size)).astype(dtype), *rng.random((states, size)).astype(dtype))


@EVERY
@BOTH
def test_an_update_writes_theta_and_the_state_and_leaves_the_gradient(xp, rule):
    theta, g, *state = vectors(rule)
    expected, before = rule(np, theta, g, *state, *RULES[rule][1]), g.copy()
    xp[updates.update](rule, theta, g, state, RULES[rule][1])
    for got, wanted in zip((theta, *state), expected, strict=True):
        assert_array_equal(got, wanted)
    assert_array_equal(g, before)


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_precision_stays_what_it_is(rule, dtype):
    assert {x.dtype for x in rule(np, *vectors(rule, dtype=dtype), *RULES[rule][1])} == {np.dtype(dtype)}


@EVERY
@BOTH
def test_a_NaN_in_the_gradient_stays_where_it_is(xp, rule):
    theta, g, *state = vectors(rule)
    g[7] = np.nan
    xp[updates.update](rule, theta, g, state, RULES[rule][1])
    assert_array_equal(np.flatnonzero(np.isnan(theta)), [7])


def test_the_rates_of_adam_hold_its_bias_corrections():
    for t in (1, 2, 10, 1000):
        rate, beta1, beta2, eps, scale = dx.Adam(lr=0.01, beta1=0.8, beta2=0.99, eps=1e-6).rates(0.01, t)
        assert (beta1, beta2, eps) == (0.8, 0.99, 1e-6)
        assert_allclose(rate, 0.01 / (1 - 0.8**t), rtol=1e-15)
        assert_allclose(scale, 1 / math.sqrt(1 - 0.99**t), rtol=1e-15)


def test_the_first_step_of_adam_has_the_length_of_its_rate():
    """m_hat = g and v_hat = g^2: theta moves by lr in the direction of -sign(g), whatever g is."""
    g, (theta, m, v) = np.array([1e-3, -5.0, 400.0]), np.zeros((3, 3))
    theta, m, v = updates.adam(np, theta, g, m, v, *dx.Adam(0.01, eps=0.0).rates(0.01, 1))
    assert_allclose(theta, -0.01 * np.sign(g), rtol=1e-14)


def test_the_optimizers_name_rules_that_take_their_rates_and_states():
    for name, cls in OPTIMIZERS.items():
        states, rates = RULES[cls.rule]
        assert (cls.rule.__name__, cls.states, len(cls().rates(0.1, 1))) == (name, states, len(rates))


def net(hidden="tanh"):
    return dx.Network((3, 4, 2), hidden, "squared-error", backend=Backend("numpy", np, numpy_kernels), dtype="float64")


def test_weight_decay_is_on_the_weights_and_not_on_the_biases():
    """With a gradient of zero AdamW shrinks W by 1 - lr lambda and leaves b where it is."""
    network = net()
    network.theta[...] = np.arange(1.0, network.theta.size + 1)
    before, weights = network.theta.copy(), network.parameters.weights.size
    X = np.zeros((3, 2))
    step = dx.TrainingStep(network, dx.AdamW(lr=0.1, weight_decay=0.5), batch_size=2)
    y = network.predict_proba(X)
    assert float(step(X, y)) == 0
    assert_allclose(network.theta[:weights], 0.95 * before[:weights], rtol=1e-14)
    assert_array_equal(network.theta[weights:], before[weights:])


@pytest.mark.parametrize("optimizer", [cls() for cls in OPTIMIZERS.values()], ids=lambda o: o.name)
def test_every_optimizer_finds_the_bottom_of_a_bowl(optimizer):
    """J(theta) = sum c theta^2 / 2, c of very different size."""
    c, theta = np.array([1.0, 0.5, 2.0]), np.array([0.05, -0.05, 0.05])
    state = [np.zeros(3) for _ in range(optimizer.states)]
    start = np.sum(c * theta**2)
    for t in range(1, 201):
        new = optimizer.rule(np, theta, c * theta, *state, *optimizer.rates(optimizer.lr, t))
        theta, state = new[0], new[1:]
    assert np.sum(c * theta**2) < 1e-2 * start
    for wrong in (-1.0, 0.0):  # uphill, or nowhere
        at = np.array([0.05, -0.05, 0.05])
        other = optimizer.rule(np, at, wrong * c * at, *[np.zeros(3)] * optimizer.states, *optimizer.rates(0.01, 1))
        assert np.sum(c * other[0] ** 2) > 0.99 * np.sum(c * at**2)
