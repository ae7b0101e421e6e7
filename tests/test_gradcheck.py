import importlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops import activations
from deepxp.ops.losses import LOSSES, Loss

gradcheck = importlib.import_module("deepxp.gradcheck")  # `deepxp.gradcheck` is the function of that name

RUNNING = (2, 3, 5, 4, 2, 1)
ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softmax")


def network(sizes=(4, 5, 3), hidden="tanh", loss="softmax-cross-entropy", **options):
    net = dx.Network(sizes, hidden, loss, **{"backend": "cpu", "dtype": "float64", "seed": 2} | options)
    for l in range(1, net.L + 1):
        net.b[l][...] = np.linspace(-0.3, 0.4, net.sizes[l])[:, None]
    return net


def table(m=12, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


def wrong(backward, name="wrong", **options):
    """A tanh layer with another derivative: the record itself checks nothing."""
    return activations.Activation(name, activations.tanh, backward, **options)


# what is right passes


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_activation_with_every_loss(hidden, loss):
    net = network(hidden=hidden, loss=loss)
    Y = np.eye(3)[:, np.arange(12) % 3]
    check = dx.gradcheck(net, table().T, Y)
    assert check.passed, str(check)
    assert [block.name for block in check.blocks] == ["dW[1]", "dW[2]", "db[1]", "db[2]"]
    assert all(block.checked + block.at_kinks == block.size for block in check.blocks)
    assert sum(block.checked for block in check.blocks) >= 0.8 * net.theta.size


def test_labels_two_classes_and_soft_targets():
    assert dx.gradcheck(network(), table().T, np.arange(12) % 3).passed
    assert dx.gradcheck(network((4, 5, 1), loss="sigmoid-cross-entropy"), table().T, np.arange(12) % 2).passed
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 12).T
    assert dx.gradcheck(network(), table().T, soft).passed


def test_the_running_example_every_parameter():
    net = network(RUNNING, "tanh", "sigmoid-cross-entropy")
    check = dx.gradcheck(net, table(9, 2).T, np.arange(9) % 2)
    assert check.passed, str(check)
    assert sum(block.checked for block in check.blocks) == net.theta.size
    assert check.error == max(block.error for block in check.blocks) < 1e-7


def test_no_hidden_layer_dropout_scaler_and_float32():
    scaler = dx.data.Scaler("standard", np.arange(4.0), np.full(4, 2.0))
    for options in ({"sizes": (4, 3)}, {"dropout": 0.5}, {"scaler": scaler}, {"dtype": "float32"}):
        assert dx.gradcheck(network(**options), table().T, np.arange(12) % 3).passed, options


def test_large_blocks_are_checked_along_directions():
    net = network((40, 30, 3))
    check = dx.gradcheck(net, table(20, 40).T, np.arange(20) % 3)
    assert check.passed, str(check)
    large = check.blocks[0]
    assert (large.name, large.size, large.directions, large.checked) == ("dW[1]", 1200, True, 4)
    assert not check.blocks[1].directions


def test_a_tiny_gradient_is_judged_by_what_can_be_seen():
    net = network((4, 5, 1), loss="sigmoid-cross-entropy")
    net.W[2][...] *= 1e-9
    check = dx.gradcheck(net, table().T, np.arange(12) % 2)
    assert check.passed, str(check)
    assert check.blocks[0].allowed > 2e-7


# what is wrong fails, and names the block

WRONG = {
    "a factor": lambda xp, dA, A: 1.01 * dA * (1.0 - A * A),
    "a sign": lambda xp, dA, A: -dA * (1.0 - A * A),
    "a square left out": lambda xp, dA, A: dA * (1.0 - A),
    "no chain rule": lambda xp, dA, A: 1.0 - A * A,
    "of sigmoid": lambda xp, dA, A: dA * A * (1.0 - A),
    "one part in a million": lambda xp, dA, A: 1.000001 * dA * (1.0 - A * A),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_derivative_is_found_in_the_layers_it_reaches(mistake):
    net = network((4, 5, 6, 3), ("tanh", wrong(WRONG[mistake])))
    check = dx.gradcheck(net, table().T, np.arange(12) % 3)
    assert not check.passed
    failed = {block.name for block in check.blocks if not block.passed}
    assert failed == {"dW[1]", "db[1]", "dW[2]", "db[2]"}  # what is above layer 2 does not pass through it
    lines = dict(line.split(maxsplit=1) for line in str(check).splitlines())
    assert all(("WRONG" in lines[name]) == (name in failed) for name in lines)
    assert len(lines) == 6


def test_a_wrong_derivative_is_found_along_directions():
    net = network((60, 50, 3), wrong(lambda xp, dA, A: 1.0001 * dA * (1.0 - A * A)))
    check = dx.gradcheck(net, table(20, 60).T, np.arange(20) % 3)
    assert check.blocks[0].directions
    assert not check.blocks[0].passed


def test_one_m_too_many_is_found():
    """The classic mistake: 1/m in dZ as well as in dW."""

    def evaluate(xp, Z, Y, losses, dZ):
        LOSSES["squared-error"].evaluate(xp, Z, Y, losses, dZ)
        dZ[...] = dZ / dZ.shape[1]

    net = network(loss=Loss("squared-error", activations.ACTIVATIONS["identity"], evaluate))
    check = dx.gradcheck(net, table().T, table(12, 3).T)
    assert not any(block.passed for block in check.blocks)


def test_one_wrong_number_of_a_large_block_is_found(monkeypatch):
    net = network((40, 30, 3))
    analytic = gradcheck._Cost.analytic

    def spoiled(cost):
        g = analytic(cost)
        g[700] += 0.01 * np.abs(g).max()
        return g

    monkeypatch.setattr(gradcheck._Cost, "analytic", spoiled)
    check = dx.gradcheck(net, table(20, 40).T, np.arange(20) % 3)
    assert [block.name for block in check.blocks if not block.passed] == ["dW[1]"]


# kinks


def test_what_lies_at_a_kink_is_left_out_and_counted():
    net = network((2, 3, 2), "relu")
    net.theta[...] = np.linspace(0.5, 1.5, net.theta.size)
    net.W[1][1], net.b[1][1] = 0.0, 0.0  # the second unit sits on its kink for every sample
    check = dx.gradcheck(net, table(6, 2).T, np.arange(6) % 2)
    assert check.passed, str(check)
    by_name = {block.name: block for block in check.blocks}
    assert (by_name["dW[1]"].at_kinks, by_name["dW[1]"].checked) == (2, 4)
    assert (by_name["db[1]"].at_kinks, by_name["db[1]"].checked) == (1, 2)
    assert by_name["dW[2]"].at_kinks == by_name["db[2]"].at_kinks == 0
    assert "4 of 6 numbers, 2 at a kink left out" in str(check)


def test_a_smooth_activation_has_no_kinks():
    net = network((2, 3, 2), "elu")
    net.theta[...] = 0.0
    assert sum(block.at_kinks for block in dx.gradcheck(net, table(6, 2).T, np.arange(6) % 2).blocks) == 0


def test_a_block_of_which_nothing_could_be_checked_is_not_called_right():
    """A blank sample, and biases of zero: every unit of layer 1 is on its kink."""
    net = network((2, 3, 2), "relu")
    net.b[1][...] = 0.0
    X = table(6, 2).T
    X[:, 0] = 0.0
    check = dx.gradcheck(net, X, np.arange(6) % 2)
    block = next(block for block in check.blocks if block.name == "db[1]")
    assert (block.checked, block.at_kinks) == (0, 3)
    assert check.passed
    assert [line.split()[0] for line in str(check).splitlines() if "NOT SEEN" in line] == ["db[1]"]


def test_a_check_that_has_seen_nothing_does_not_pass():
    seen = dx.gradcheck(network(), table().T, np.arange(12) % 3)
    assert not replace(seen, blocks=tuple(replace(block, checked=0) for block in seen.blocks)).passed


# what is not touched


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_network_is_not_touched(dtype):
    net = network(dtype=dtype, dropout=0.5)
    before, epochs = net.theta.tobytes(), net.epochs
    first = dx.gradcheck(net, table().T, np.arange(12) % 3)
    assert (net.theta.tobytes(), net.epochs, net.dtype) == (before, epochs, dtype)
    assert dx.gradcheck(net, table().T, np.arange(12) % 3) == first


def test_data_are_checked():
    with pytest.raises(dx.ShapeError, match=r"pass X\.T"):
        dx.gradcheck(network(), table(), np.arange(12) % 3)
    with pytest.raises(dx.DataError, match="got 7 for sample 1"):
        dx.gradcheck(network(), table().T, np.full(12, 7))


# a user's own activation


def swish(xp, Z):
    return Z / (1.0 + xp.exp(-Z))


def swish_backward(xp, dA, Z):
    s = 1.0 / (1.0 + xp.exp(-Z))
    return dA * (s + Z * s * (1.0 - s))


def test_a_swish_of_ones_own_is_silu():
    own = dx.Activation("swish", swish, swish_backward, gain=2.0)
    assert own.reads == "Z"
    nets = [network(hidden=hidden, dtype="float32", dropout=0.25) for hidden in (own, "silu")]
    for net in nets:
        history = dx.train(net, table(40).T, np.arange(40) % 3, epochs=20, batch_size=16, optimizer=dx.Adam(lr=0.01))
        assert history.loss[-1] < 0.95 * history.loss[0]
    assert_allclose(nets[0].theta, nets[1].theta, rtol=1e-4, atol=1e-5)
    assert dx.gradcheck(nets[0], table().T, np.arange(12) % 3).passed


def test_gain_decides_the_variance_of_the_initial_weights():
    one, two = (
        dx.Network((4, 5, 3), dx.Activation("swish", swish, swish_backward, gain=gain), backend="cpu")
        for gain in (1, 2)
    )
    assert_allclose(two.W[1], np.sqrt(2) * one.W[1], rtol=1e-6)


def leaky(xp, Z):
    return xp.where(Z > 0.0, Z, 0.2 * Z)


def leaky_backward(xp, dA, A):
    return xp.where(A > 0.0, dA, 0.2 * dA)


def relu6(xp, Z):
    return xp.minimum(xp.maximum(Z, 0.0), 6.0)


def relu6_backward(xp, dA, A):
    return xp.where(A > 0.0, xp.where(A < 6.0, dA, 0.0), 0.0)


def hard_tanh(xp, Z):
    return xp.minimum(xp.maximum(Z, -1.0), 1.0)


def hard_tanh_backward(xp, dA, Z):
    return xp.where(xp.abs(Z) < 1.0, dA, 0.0)


@pytest.mark.parametrize(
    ("forward", "backward"), [(leaky, leaky_backward), (relu6, relu6_backward), (hard_tanh, hard_tanh_backward)]
)
def test_kinks_at_round_numbers_are_no_mistakes(forward, backward):
    own = dx.Activation(forward.__name__, forward, backward, smooth=False)
    net = network(hidden=own)
    dx.train(net, table().T, np.arange(12) % 3, epochs=2)
    assert dx.gradcheck(net, table().T, np.arange(12) % 3).passed


@pytest.mark.parametrize("mistake", [mistake for mistake in WRONG if "million" not in mistake])
def test_a_wrong_derivative_cannot_be_registered(mistake):
    with pytest.raises(
        dx.GradientError, match=r"the derivative of 'wrong' is wrong: at Z = .*, dA = .* it gives .* give "
    ) as e:
        dx.Activation("wrong", activations.tanh, WRONG[mistake])
    assert "np." not in str(e.value)


def test_a_derivative_that_is_nan_somewhere_is_wrong():
    with pytest.raises(dx.GradientError, match="it gives nan"):
        dx.Activation(
            "wrong", activations.tanh, lambda xp, dA, Z: dA * (1.0 - xp.tanh(Z) ** 2) * xp.sqrt(Z) / xp.sqrt(Z)
        )


def test_dtype_creep_cannot_be_registered():
    third, one = np.float64(1 / 3), np.float64(1.0)
    with pytest.raises(
        dx.ConfigError, match="the function of 'creep' makes float64 of float32; write constants as plain"
    ):
        dx.Activation("creep", lambda xp, Z: third * Z, lambda xp, dA, Z: dA / 3.0)
    with pytest.raises(dx.ConfigError, match="the derivative of 'creep' makes float64"):
        dx.Activation("creep", activations.tanh, lambda xp, dA, A: dA * (one - A * A))


@pytest.mark.parametrize("name", ["clip", "sin", "zeros_like", "float64"])
def test_a_function_that_not_every_engine_has(name):
    with pytest.raises(dx.ConfigError, match=rf"'own' uses xp\.{name}, .* there are abs, exp, .* where"):
        dx.Activation("own", lambda xp, Z: getattr(xp, name)(Z, -1.0, 1.0), activations.tanh_backward)


OPERATORS = {
    "softsign": (lambda xp, Z: Z / (1.0 + abs(Z)), lambda xp, dA, Z: dA / ((1.0 + abs(Z)) * (1.0 + abs(Z)))),
    "square": (lambda xp, Z: Z**2, lambda xp, dA, Z: 2 * Z * dA),
    "mirror": (lambda xp, Z: 1 - -Z, lambda xp, dA, A: dA),
    "cut": (
        lambda xp, Z: xp.minimum(xp.maximum(Z, 0.0), 6.0),
        lambda xp, dA, A: xp.where((A > 0.0) & (A < 6.0), dA, 0.0),
    ),
    "cut or": (
        lambda xp, Z: xp.minimum(xp.maximum(Z, 0.0), 6.0),
        lambda xp, dA, A: xp.where(~((A <= 0.0) | (A >= 6.0)), dA, 0.0),
    ),
    "condition": (lambda xp, Z: xp.maximum(Z, 0.0), lambda xp, dA, A: dA * (A > 0.0)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_runs_on_the_kernels_as_on_arrays(name):
    own, thetas = dx.Activation(name, *OPERATORS[name], smooth=False), []
    for backend in (Backend("numpy", np, numpy_kernels), "cpu", Backend("reference", np)):
        if name in ("softsign", "cut") or backend != "cpu":  # two are compiled: each takes a second
            net = network(hidden=own, backend=backend)
            dx.train(net, table().T, np.arange(12) % 3, epochs=2)
            thetas.append(net.theta)
    for theta in thetas[:-1]:
        assert_allclose(theta, thetas[-1], rtol=1e-9, atol=1e-12)


def test_the_third_parameter_says_what_is_read():
    with pytest.raises(dx.ConfigError, match=r"backward\(xp, dA, A\) or backward\(xp, dA, Z\), .*\(xp, dA, y\)"):
        dx.Activation("other", activations.tanh, lambda xp, dA, y: dA * (1.0 - y * y))


@pytest.mark.parametrize("backward", [lambda xp, dA: dA, lambda: 0.0, abs, None])
def test_a_derivative_of_other_parameters(backward):
    with pytest.raises(dx.ConfigError, match=r"backward\(xp, dA, A\) or backward\(xp, dA, Z\)"):
        dx.Activation("other", activations.tanh, backward)


def test_a_name_that_is_taken():
    """A model file has the name only: it would be read back as the other one."""
    with pytest.raises(dx.ConfigError, match="'relu' is the name of an activation of deepxp"):
        dx.Activation("relu", swish, swish_backward)


def test_the_activations_of_the_package_pass_their_own_check():
    for g in activations.ACTIVATIONS.values():
        if g.elementwise:
            gradcheck.check_activation(g)
    with pytest.raises(dx.GradientError):
        gradcheck.check_activation(wrong(WRONG["a factor"]))


def test_theta_is_restored_exactly_after_every_difference():
    net = network()
    cost = gradcheck._Cost(net, table().T, np.arange(12) % 3)
    before = cost.net.theta.copy()
    cost.slope(3, np.full(5, 0.4))
    assert_array_equal(cost.net.theta, before)


def hard_tanh(xp, Z):
    return xp.maximum(xp.minimum(Z, 1.0), -1.0)


def hard_tanh_backward(xp, dA, Z):
    return xp.where((Z > -1.0) & (Z < 1.0), dA, 0.0)


def test_a_kink_may_be_anywhere():
    """One unit stands 3e-6 below the kink of hard tanh at 1, nearer than the differences reach."""
    g = dx.Activation("hard_tanh", hard_tanh, hard_tanh_backward, smooth=False)
    net = dx.Network((2, 3, 2), hidden=g, loss="squared-error", backend="cpu", dtype="float64", seed=1)
    X = np.array([[0.3], [-0.2]])
    net.b[1][0, 0] = 1.0 - 3e-6 - (net.W[1] @ X)[0, 0]
    report = dx.gradcheck(net, X, np.array([[0.5], [-0.5]]))
    assert report.passed
    assert sum(block.at_kinks for block in report.blocks) > 0


def test_a_branch_for_a_whole_array_is_pointed_to_where():
    for forward, backward in (
        (lambda xp, Z: Z if Z > 0 else 0 * Z, lambda xp, dA, Z: dA),
        (lambda xp, Z: Z, lambda xp, dA, Z: dA if Z > 0 else 0 * dA),
    ):
        with pytest.raises(dx.ConfigError, match=r"'x' decides .* write xp\.where"):
            dx.Activation("x", forward, backward)
