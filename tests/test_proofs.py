"""Proofs by SymPy, from the very functions that train: that g' is the derivative of g, and that dZ = A - Y.

A definition runs on symbols (`namespaces.sympy_xp`) and becomes a formula with exact constants. A claim is proved when
SymPy reduces the difference of its two sides to 0. A piecewise function is looked at on each side of its kink.
"""

import inspect

import numpy as np
import pytest
import sympy
from namespaces.sympy_xp import Exact, array, expressions, is_zero, xp
from sympy import Rational, diff, exp, log, sqrt, symbols

from deepxp.ops import dense, losses, regularization, updates
from deepxp.ops.activations import (
    ACTIVATIONS,
    exponential,
    exponential_backward,
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softmax_backward,
    tanh,
)
from deepxp.ops.losses import (
    log_softmax,
    logistic_loss,
    poisson_deviance,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_labels,
    squared_error,
)

z, dA = symbols("z dA", real=True)
SIDES = {"z > 0": symbols("z", positive=True), "z < 0": symbols("z", negative=True)}


def on(f, *arguments):
    """The formula that a definition makes of some symbols."""
    return expressions(f(xp, *map(Exact, arguments)))


def sides(g):
    """z anywhere where g is one formula; else on either side of 0."""
    return list(SIDES.values()) if "maximum" in inspect.getsource(g) or "where" in inspect.getsource(g) else [z]


def derivative_is_proved(forward, backward, reads, at):
    A = on(forward, at)
    return is_zero(on(backward, dA, A if reads == "A" else at) - dA * diff(A, at))


# activations


@pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.elementwise], ids=lambda g: g.name)
def test_the_backward_of_an_activation_is_dA_times_its_derivative(g):
    for at in sides(g.forward):
        assert derivative_is_proved(g.forward, g.backward, g.reads, at)


@pytest.mark.parametrize("g", [relu, leaky_relu, ACTIVATIONS["elu"].forward], ids=lambda g: g.__name__)
def test_a_kinked_activation_is_what_it_says_on_either_side(g):
    slope = {"relu": lambda z: 0, "leaky_relu": lambda z: z / 100, "elu": lambda z: exp(z) - 1}[g.__name__]
    assert is_zero(on(g, SIDES["z > 0"]) - SIDES["z > 0"])
    assert is_zero(on(g, SIDES["z < 0"]) - slope(SIDES["z < 0"]))


def test_the_activations_are_their_textbook_formulas():
    assert is_zero(on(sigmoid, z) - 1 / (1 + exp(-z)))
    assert is_zero(on(silu, z) - z / (1 + exp(-z)))
    assert is_zero(on(tanh, z) - (exp(z) - exp(-z)) / (exp(z) + exp(-z)))
    root = Rational("0.7978845608028654")
    assert is_zero(on(gelu, z) - z / 2 * (1 + sympy.tanh(root * (z + Rational("0.044715") * z**3))))
    assert abs(root - sqrt(2 / sympy.pi)) < 1e-16


WRONG = {
    "sigmoid, A instead of A (1 - A)": (sigmoid, lambda xp, dA, A: dA * A, "A"),
    "sigmoid, 1 - A^2": (sigmoid, lambda xp, dA, A: dA * (1.0 - A * A), "A"),
    "sigmoid, of A instead of Z": (sigmoid, lambda xp, dA, A: dA * sigmoid(xp, A) * (1.0 - sigmoid(xp, A)), "A"),
    "tanh, 1 + A^2": (tanh, lambda xp, dA, A: dA * (1.0 + A * A), "A"),
    "tanh, 1 - A": (tanh, lambda xp, dA, A: dA * (1.0 - A), "A"),
    "tanh, without dA": (tanh, lambda xp, dA, A: 1.0 - A * A, "A"),
    "relu, always 1": (relu, lambda xp, dA, A: dA, "A"),
    "leaky relu, 0.1": (leaky_relu, lambda xp, dA, A: xp.where(A > 0.0, dA, 0.1 * dA), "A"),
    "elu, A - 1": (ACTIVATIONS["elu"].forward, lambda xp, dA, A: xp.where(A > 0.0, dA, dA * (A - 1.0)), "A"),
    "silu, s (1 + z s)": (
        silu,
        lambda xp, dA, Z: dA * sigmoid(xp, Z) * (1.0 + Z * sigmoid(xp, Z)),
        "Z",
    ),
    "gelu, the inner derivative without its 3": (
        gelu,
        lambda xp, dA, Z: (
            lambda t: dA * (0.5 * (1.0 + t) + 0.5 * Z * (1.0 - t * t) * (0.7978845608028654 * (1.0 + 0.044715 * Z * Z)))
        )(xp.tanh(0.7978845608028654 * Z * (1.0 + 0.044715 * Z * Z))),
        "Z",
    ),
    "gelu, a constant off in its 8th digit": (
        gelu,
        lambda xp, dA, Z: (
            lambda t: dA * (0.5 * (1.0 + t) + 0.5 * Z * (1.0 - t * t) * (0.7978845708028654 * (1.0 + 0.134145 * Z * Z)))
        )(xp.tanh(0.7978845608028654 * Z * (1.0 + 0.044715 * Z * Z))),
        "Z",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_derivative_is_not_proved(name):
    forward, backward, reads = WRONG[name]
    assert not all(derivative_is_proved(forward, backward, reads, at) for at in sides(forward))


def test_a_kink_cannot_be_passed_over():
    with pytest.raises(ValueError, match="each side of the kink"):
        on(relu, z)


# softmax: three classes, the whole Jacobian

Z3 = symbols("z1:4", real=True)
column = array(*Z3)[:, None]
M = symbols("M0", real=True)
shares = [exp(zi) / sum(map(exp, Z3)) for zi in Z3]


def test_softmax_is_its_formula_whatever_is_subtracted_first():
    """The maximum enters as a free symbol, so the shift is proved to cancel, and may be held fixed in derivatives."""
    for a, share in zip(expressions(softmax(xp, column)), shares, strict=True):
        assert M in a.free_symbols
        assert is_zero(a - share)
        assert is_zero(diff(a, M))
    assert is_zero(sum(expressions(softmax(xp, column))) - 1)


def test_log_softmax_is_the_logarithm_of_softmax():
    for value, share in zip(expressions(log_softmax(xp, column)), shares, strict=True):
        assert is_zero(exp(value) - share)


def jacobian_is_proved(backward):
    upstream = symbols("d1:4", real=True)
    got = expressions(backward(xp, array(*upstream)[:, None], array(*shares)[:, None]))
    wanted = [sum(upstream[i] * diff(shares[i], zk) for i in range(3)) for zk in Z3]
    return all(is_zero(g - w) for g, w in zip(got, wanted, strict=True))


def test_softmax_backward_is_the_whole_jacobian():
    assert jacobian_is_proved(softmax_backward)
    for i in range(3):
        for k in range(3):
            assert is_zero(diff(shares[i], Z3[k]) - shares[i] * (int(i == k) - shares[k]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda xp, dA, A: dA * A * (1.0 - A),  # the diagonal alone
        lambda xp, dA, A: A * (dA - xp.sum(dA, axis=0, keepdims=True)),
        lambda xp, dA, A: A * (dA + xp.sum(dA * A, axis=0, keepdims=True)),
    ],
    ids=["the diagonal", "a sum without A", "a sign"],
)
def test_a_wrong_jacobian_is_not_proved(wrong):
    assert not jacobian_is_proved(wrong)


# losses: dZ = A - Y


def loss_of(evaluate, Z, *targets):
    """(the losses of the columns, dZ) as formulas; Z (n, m) of expressions."""
    ell, dZ = np.empty(Z.shape[1], object), np.empty(Z.shape, object)
    evaluate(xp, Z, *targets, ell, dZ)
    return expressions(ell), np.array(expressions(dZ), object).reshape(Z.shape)


def probabilities():
    """y1, y2 and what is left of 1."""
    y1, y2 = symbols("y1 y2", real=True)
    return y1, y2, 1 - y1 - y2


def cross_entropy_is_proved(evaluate, Y, link=softmax):
    (J,), dZ = loss_of(evaluate, column, array(*Y)[:, None])
    A = expressions(link(xp, column))
    return all(
        is_zero(d - diff(J, zi)) and is_zero(d - (a - y)) for d, zi, a, y in zip(dZ[:, 0], Z3, A, Y, strict=True)
    )


def test_the_dZ_of_softmax_cross_entropy_is_A_minus_Y_and_the_derivative_of_its_loss():
    assert cross_entropy_is_proved(softmax_cross_entropy, probabilities())


def test_that_needs_targets_that_sum_to_one():
    assert not cross_entropy_is_proved(softmax_cross_entropy, symbols("y1:4", real=True))


def test_the_loss_of_softmax_cross_entropy_is_minus_sum_y_log_a():
    Y = probabilities()
    (J,), _ = loss_of(softmax_cross_entropy, column, array(*Y)[:, None])
    assert is_zero(sympy.expand_log(J + sum(y * log(a) for y, a in zip(Y, shares, strict=True)), force=True))


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_dZ_of_a_label_is_the_derivative_of_its_loss(label):
    classes = np.array([[0], [1], [2]])

    class Labels(xp):
        """`classes == y` has been decided: what `where` gets is an array of truths."""

        where = staticmethod(np.where)
        ones_like = staticmethod(lambda Z: array(*[1] * Z.size).reshape(Z.shape))

    ell, dZ = np.empty(1, object), np.empty((3, 1), object)
    softmax_cross_entropy_labels(Labels, column, np.array([label]), classes, ell, dZ)
    (J,), dZ = expressions(ell), expressions(dZ)
    assert is_zero(sympy.expand_log(J + log(shares[label]), force=True))
    for i, d in enumerate(dZ):
        assert is_zero(d - diff(J, Z3[i]))
        assert is_zero(d - (shares[i] - int(i == label)))


@pytest.mark.parametrize("at", SIDES.values(), ids=SIDES)
def test_the_dZ_of_sigmoid_cross_entropy_is_A_minus_Y_and_the_derivative_of_its_loss(at):
    y = symbols("y", real=True)
    (J,), dZ = loss_of(sigmoid_cross_entropy, array(at)[:, None], array(y)[:, None])
    a = 1 / (1 + exp(-at))
    assert is_zero(dZ[0, 0] - diff(J, at))
    assert is_zero(dZ[0, 0] - (a - y))
    # the stable form is the textbook's: the same derivative, and the same value for y = 0 and y = 1
    assert is_zero(exp(J.subs(y, 1)) - 1 / a)
    assert is_zero(exp(J.subs(y, 0)) - 1 / (1 - a))
    assert is_zero(diff(J, y, 2))
    assert is_zero(J - on(logistic_loss, at, y))


def test_several_labels_at_once_are_a_sum_over_rows():
    p, q, y1, y2 = SIDES["z > 0"], symbols("q", negative=True), *symbols("y1 y2", real=True)
    (J,), dZ = loss_of(sigmoid_cross_entropy, array(p, q)[:, None], array(y1, y2)[:, None])
    assert is_zero(J - on(logistic_loss, p, y1) - on(logistic_loss, q, y2))
    for d, at, y in zip(dZ[:, 0], (p, q), (y1, y2), strict=True):
        assert is_zero(d - diff(J, at))
        assert is_zero(d - (1 / (1 + exp(-at)) - y))


def test_the_dZ_of_the_squared_error_is_A_minus_Y_and_the_derivative_of_its_loss():
    y = symbols("y1:4", real=True)
    (J,), dZ = loss_of(squared_error, column, array(*y)[:, None])
    assert is_zero(J - sum((zi - yi) ** 2 for zi, yi in zip(Z3, y, strict=True)) / 2)
    for d, zi, yi in zip(dZ[:, 0], Z3, y, strict=True):
        assert is_zero(d - diff(J, zi))
        assert is_zero(d - (zi - yi))


@pytest.mark.parametrize("count", [0, symbols("n", positive=True)], ids=["nothing counted", "y > 0"])
def test_the_dZ_of_the_poisson_deviance_is_A_minus_Y_and_the_derivative_of_its_loss(count):
    (J,), dZ = loss_of(poisson_deviance, array(z)[:, None], array(count)[:, None])
    a = exp(z)
    deviance = count * (log(count) - z) - count + a if count else a
    assert is_zero(J - deviance)
    assert is_zero(dZ[0, 0] - diff(J, z))
    assert is_zero(dZ[0, 0] - (a - count))
    assert is_zero(on(exponential_backward, dA, a) - dA * diff(on(exponential, z), z))
    assert not is_zero(dZ[0, 0] - (z - count))  # the link is not the identity


def test_a_wrong_loss_is_not_proved():
    """A squared error under the name of a cross-entropy, a forgotten 1/2, and probabilities where logits are due."""

    def squared(xp, Z, Y, ell, dZ):
        ell[...] = xp.sum((softmax(xp, Z) - Y) * (softmax(xp, Z) - Y), axis=0)
        dZ[...] = softmax(xp, Z) - Y

    assert not cross_entropy_is_proved(squared, probabilities())
    (J,), _ = loss_of(squared_error, column, array(0, 0, 0)[:, None])
    assert not is_zero(J - sum(zi**2 for zi in Z3))


def test_weights_multiply_the_loss_and_its_derivative_alike():
    w, y = symbols("w y", real=True)
    ell, dZ = np.empty(1, object), np.empty((1, 1), object)
    squared_error(xp, array(z)[:, None], array(y)[:, None], ell, dZ)
    losses.weigh(xp, array(w), ell, dZ)
    assert is_zero(expressions(ell)[0] - w * (z - y) ** 2 / 2)
    assert is_zero(expressions(dZ)[0] - diff(expressions(ell)[0], z))


# one layer: dW = 1/m dZ A^T and the others are the derivatives of J = 1/m sum of losses


def test_the_gradients_of_a_layer_are_the_derivatives_of_the_mean_loss():
    W, b, X = (np.array(symbols(f"{name}0:{n}", real=True)) for name, n in (("w", 6), ("b", 2), ("x", 9)))
    Y = array(*symbols("y0:6", real=True)).reshape(2, 3)
    exact = [array(*v) for v in (W, b, X)]
    W2, b2, X2 = exact[0].reshape(2, 3), exact[1].reshape(2, 1), exact[2].reshape(3, 3)
    Z, A, dZ = (np.empty((2, 3), object) for _ in range(3))
    ell, J, db, dW, dX = (np.empty(shape, object) for shape in (3, (), (2, 1), (2, 3), (3, 3)))
    dense.dense_forward(xp, W2, b2, X2, ACTIVATIONS["tanh"], Z, A)
    squared_error(xp, A, Y, ell, dZ)
    losses.cost(xp, ell, J)
    dense.activation_backward(xp, ACTIVATIONS["tanh"], dZ.copy(), A, dZ, db)
    dense.weight_gradient(xp, dZ, X2, dW)
    dense.input_gradient(xp, W2, dZ, dX)
    cost = expressions(J)[0]
    for got, variables, times in ((dW, W, 1), (db, b, 1), (dX, X, 3)):  # dA[l-1] is of the sum, not of the mean
        for g, v in zip(expressions(got), variables, strict=True):
            assert is_zero(g - times * diff(cost, v))


# updates


theta, g, lr, b1, b2, eps, mu, rho, decay = symbols("theta g lr beta1 beta2 eps mu rho decay", positive=True)


def rule(f, *arguments):
    return [e.expression for e in f(xp, *map(Exact, arguments))]


def test_adam_is_algorithm_1_of_the_paper_as_printed():
    m, v, c1, c2 = symbols("m v c1 c2", positive=True)  # c1 = 1 - beta1^t and c2 = 1 - beta2^t, both positive
    got = rule(updates.adam, theta, g, m, v, lr / c1, b1, b2, eps, 1 / sqrt(c2))
    m_t = b1 * m + (1 - b1) * g
    v_t = b2 * v + (1 - b2) * g**2
    m_hat, v_hat = m_t / c1, v_t / c2
    assert is_zero(got[0] - (theta - lr * m_hat / (sqrt(v_hat) + eps)))
    assert is_zero(got[1] - m_t)
    assert is_zero(got[2] - v_t)
    inside = theta - lr * m_hat / sqrt(v_hat + eps)  # not the paper's
    outside = theta - lr * m_hat / (sqrt(v_t) + eps) / sqrt(c2)  # eps that is scaled along
    assert not is_zero(got[0] - inside) and not is_zero(got[0] - outside)


def test_adam_forgets_its_start_and_weighs_gradients_as_the_paper_says():
    """After T steps v = (1 - beta2) sum_i beta2^(T-i) g_i^2: equation 1 of the paper, from zeros."""
    gradients, m, v = symbols("g1:5", real=True), 0, 0
    for gi in gradients:
        _, m, v = rule(updates.adam, theta, gi, m, v, lr, b1, b2, eps, 1)
    T = len(gradients)
    assert is_zero(v - (1 - b2) * sum(b2 ** (T - i) * gi**2 for i, gi in enumerate(gradients, 1)))
    assert is_zero(m - (1 - b1) * sum(b1 ** (T - i) * gi for i, gi in enumerate(gradients, 1)))
    same = m.subs(dict.fromkeys(gradients, g))
    assert is_zero(same / (1 - b1**T) - g)  # a constant gradient is its own corrected mean


def test_adamw_takes_the_decay_off_theta_and_not_off_the_gradient():
    """Algorithm 2 of Loshchilov & Hutter: theta - rate m_hat / (sqrt v_hat + eps) - decay theta."""
    m, v, rate, scale = symbols("m v rate scale", positive=True)
    plain = rule(updates.adam, theta, g, m, v, rate, b1, b2, eps, scale)
    decayed = rule(updates.adamw, theta, g, m, v, rate, b1, b2, eps, scale, decay)
    assert is_zero(decayed[0] - (plain[0] - decay * theta))
    assert is_zero(decayed[1] - plain[1]) and is_zero(decayed[2] - plain[2])


def test_momentum_is_a_sum_over_all_gradients():
    gradients, now, v = symbols("g1:5", real=True), theta, 0
    for gi in gradients:
        now, v = rule(updates.momentum, now, gi, v, lr, mu)
    T = len(gradients)
    unrolled = sum(mu ** (k - i) * gradients[i] for k in range(T) for i in range(k + 1))
    assert is_zero(now - (theta - lr * unrolled))


def test_nesterov_looks_ahead_as_sutskever_writes_it():
    """Their pair (position, velocity) has its gradient at position + mu velocity, which is what theta is here."""
    position, velocity = symbols("position velocity", real=True)
    new_velocity = mu * velocity - lr * g
    new_position = position + new_velocity
    now, v = rule(updates.nesterov, position + mu * velocity, g, -velocity / lr, lr, mu)
    assert is_zero(now - (new_position + mu * new_velocity))
    assert is_zero(v - (-new_velocity / lr))


def test_rmsprop_divides_by_the_root_of_a_running_mean_square():
    gradients, now, s = symbols("g1:4", real=True), theta, 0
    for gi in gradients:
        before = now
        now, s = rule(updates.rmsprop, now, gi, s, lr, rho, eps)
    T = len(gradients)
    mean_square = (1 - rho) * sum(rho ** (T - i) * gi**2 for i, gi in enumerate(gradients, 1))
    assert is_zero(s - mean_square)
    assert is_zero(now - before + lr * gradients[-1] / (sqrt(s) + eps))


def test_without_memory_every_rule_is_plain_descent():
    assert rule(updates.sgd, theta, g, lr) == [theta - lr * g]
    assert is_zero(rule(updates.momentum, theta, g, 0, lr, 0)[0] - (theta - lr * g))
    assert is_zero(rule(updates.nesterov, theta, g, 0, lr, 0)[0] - (theta - lr * g))
    assert is_zero(rule(updates.rmsprop, theta, g, 0, lr, 0, 0)[0] - (theta - lr))  # of unit length, as g > 0
    assert is_zero(rule(updates.adam, theta, g, 0, 0, lr, 0, 0, 0, 1)[0] - (theta - lr))


def test_m_and_v_of_adam_cannot_change_places_unseen():
    m, v = symbols("m v", positive=True)
    right = rule(updates.adam, theta, g, m, v, lr, b1, b2, eps, 1)
    swapped = rule(updates.adam, theta, g, v, m, lr, b1, b2, eps, 1)
    assert not any(is_zero(a - b) for a, b in zip(right, swapped, strict=True))


# regularization


def test_the_l2_gradient_is_the_derivative_of_the_penalty():
    w, strength = symbols("w1:4", real=True), symbols("strength", positive=True)
    J = np.array(Exact(0), object)
    regularization.l2_penalty(xp, array(*w), Exact(strength), J)
    g3 = array(*symbols("g1:4", real=True))
    before = expressions(g3)
    regularization.l2_gradient(xp, array(*w), g3, Exact(strength))
    for after, was, wi in zip(expressions(g3), before, w, strict=True):
        assert is_zero(after - was - diff(expressions(J)[0], wi))
        assert not is_zero(after - was - diff(2 * expressions(J)[0], wi))


def test_a_gradient_longer_than_the_limit_is_scaled_to_it():
    x, y = symbols("x y", positive=True)
    limit = sqrt(x**2 + y**2) / 3
    vector = array(x, y)

    class Long(xp):
        maximum = staticmethod(lambda norm, limit: norm)
        max = staticmethod(lambda g: Exact(symbols("largest", positive=True)))  # whatever the unit
        where = staticmethod(lambda finite, a, b: a)

    regularization.clip_by_norm(Long, vector, Exact(limit))
    a, b = expressions(vector)
    assert is_zero(a**2 + b**2 - limit**2)
    assert is_zero(a * y - b * x)


# the proofs say what the functions compute


@pytest.mark.parametrize("g", ACTIVATIONS.values(), ids=lambda g: g.name)
def test_a_formula_has_the_values_of_the_function_that_trains(g):
    values = (-1.7, 0.3, 2.4)
    exact = [Exact(Rational(repr(value))) for value in values]
    if g.elementwise:
        formula = [float(g.forward(xp, one).expression) for one in exact]
    else:
        formula = [float(e.subs(M, 0)) for e in expressions(g.forward(xp, array(*exact)[:, None]))]
    np.testing.assert_allclose(formula, g.forward(np, np.array(values)[:, None])[:, 0], rtol=1e-14)
