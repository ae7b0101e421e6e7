"""The recursions: the gradient of J with respect to every parameter, and a step that is the same on every backend.

The checkers here are written from EQUATIONS alone: they read J and the gradient and nothing else of the package.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from namespaces import complex_step, poison
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops.activations import ACTIVATIONS
from deepxp.parameters import Parameters
from deepxp.recursions import backward, class_column, evaluate_loss, forward
from deepxp.rng import dropout_bits

H = 1e-5
ROUNDING = 1e-10  # of a difference of J: 1e-16 J / H, a few times
OUTPUTS = {"softmax-cross-entropy": 3, "sigmoid-cross-entropy": 1, "squared-error": 1}
REFERENCE = Backend("reference", np)


def problem(net, m=7, seed=3, labels=False):
    """X (n[0], m), targets, and parameters at which every layer is awake, the biases too."""
    rng = np.random.default_rng(seed)
    net.backend.write(net.theta, rng.normal(size=net.theta.shape[0]) * 0.8)
    X, C = rng.normal(size=(net.sizes[0], m)), net.sizes[-1]
    if net.loss.name == "squared-error":
        return X, rng.normal(size=(C, m))
    if net.loss.name == "sigmoid-cross-entropy":
        return X, rng.integers(0, 2, size=(C, m)).astype(float)
    y = np.arange(m) % C
    return X, y if labels else np.eye(C)[:, y]


class Cost:
    """J(theta) and its gradient at fixed data, weights and dropout masks."""

    def __init__(self, net, X, y, w=None, shared=True):
        self.net, self.weighted = net, w is not None
        labels = y.ndim == 1
        self.work = net.memory(X.shape[1], labels=labels, shared=shared).workspace(X.shape[1])
        self.classes = class_column(net, labels=labels)
        self.gradient = net.gradient()
        net.backend.write(self.work.X, X.T)
        net.backend.write(self.work.Y, y.astype(np.int32) if labels else np.ascontiguousarray(y.T))
        if self.weighted:
            net.backend.write(self.work.w, w)
        for l, bits in enumerate(self.work.bits):
            if bits is not None:
                net.backend.write(bits, dropout_bits(5, 0, 1, l, tuple(bits.shape)))

    def J(self):
        forward(self.net, self.work)
        return evaluate_loss(self.net, self.work, self.classes, weighted=self.weighted)

    def g(self):
        self.J()
        backward(self.net, self.work, self.gradient)
        return self.net.backend.asnumpy(self.gradient.g).copy()

    def at(self, theta):
        """J at other parameters."""
        before = self.net.theta + 0.0
        self.net.backend.write(self.net.theta, theta)
        J = float(self.J())
        self.net.theta[...] = before
        return J


def central_difference(cost, theta, d):
    return (cost.at(theta + H * d) - cost.at(theta - H * d)) / (2 * H)


def numeric_gradient(cost):
    theta = cost.net.backend.asnumpy(cost.net.theta).copy()
    return np.array([central_difference(cost, theta, d) for d in np.eye(theta.size)])


@cache
def differentiated(hidden, loss, **options):
    """(J, its numeric gradient) of a running example. They belong to the function J(theta) and to no backend, so they
    are computed once, by the definitions alone; a backend has to have both."""
    cost = example_cost(hidden, loss, REFERENCE, **options)
    return float(cost.J()), numeric_gradient(cost)


def blocks(net, g):
    """The gradient of each W[l] and b[l]."""
    views = Parameters.of(np, g, net.sizes)
    yield from ((f"dW[{l}]", views.W[l]) for l in range(1, net.L + 1))
    yield from ((f"db[{l}]", views.b[l]) for l in range(1, net.L + 1))


def assert_same_gradient(net, numeric, g, tolerance, rounding=ROUNDING):
    for (name, expected), (_, got) in zip(blocks(net, numeric), blocks(net, g), strict=True):
        error, scale = np.linalg.norm(expected - got), np.linalg.norm(expected) + np.linalg.norm(got)
        assert error < tolerance * scale + rounding, f"{name} is off by {error / scale:.2g}"


def awake(net, X, y):
    """No unit sits within 1e-3 of a kink, where central differences and derivatives may differ."""
    cost = Cost(net, X, y, shared=False)
    cost.J()
    asnumpy = cost.net.backend.asnumpy
    return all(np.abs(asnumpy(cost.work.Z[l])).min() > 1e-3 for l in range(1, cost.net.L))


def running_example(hidden, loss, backend, **options):
    sizes = (2, 3, 5, 4, 2, OUTPUTS[loss])
    return dx.Network(sizes, hidden, loss, backend=backend, dtype="float64", **options)


def example_cost(hidden, loss, backend, *, m=7, labels=False, weighted=False, dropout=0.0):
    net = running_example(hidden, loss, backend, dropout=dropout)
    X, y = problem(net, m, labels=labels)
    return Cost(net, X, y, np.linspace(0.0, 2.0, m) if weighted else None)


def assert_is_differentiated(hidden, loss, backend, **options):
    J, numeric = differentiated(hidden, loss, **options)
    cost = example_cost(hidden, loss, backend, **options)
    assert_allclose(float(cost.J()), J, rtol=1e-13)
    assert_same_gradient(cost.net, numeric, cost.g(), 1e-7)


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_the_gradient_of_every_parameter_is_that_of_central_differences(hidden, loss, backend):
    net = running_example(hidden, loss, backend)
    assert awake(net, *problem(net))
    assert_is_differentiated(hidden, loss, backend)


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_the_gradient_of_every_parameter_is_that_of_the_complex_step(hidden, loss):
    net = running_example(hidden, loss, complex_step.backend())
    cost = Cost(net, *problem(net), shared=False)
    g = cost.g()
    assert_array_equal(g.imag, 0)
    stepped = np.empty(g.size)
    for i in range(g.size):
        before = net.theta[i]
        net.theta[i] = before + 1j * complex_step.STEP
        stepped[i] = cost.J().imag / complex_step.STEP
        net.theta[i] = before
    assert_same_gradient(net, stepped, g.real, 1e-12, rounding=0.0)


@pytest.mark.parametrize("loss", OUTPUTS)
def test_the_gradient_at_fixed_dropout_masks(loss, backend):
    masks = {"m": 11, "dropout": (0.2, 0.5, 0.0, 0.3)}
    assert_is_differentiated("tanh", loss, backend, **masks)
    without = example_cost("tanh", loss, backend, m=11)
    assert np.linalg.norm(without.g() - differentiated("tanh", loss, **masks)[1]) > 0.01  # the masks do something


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("loss", OUTPUTS)
def test_the_gradient_with_sample_weights(loss, labels, backend):
    assert_is_differentiated("gelu", loss, backend, labels=labels, weighted=True)


@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ((20, 60, 50, 10), "softmax-cross-entropy"),
        ((20, 60, 50, 6), "sigmoid-cross-entropy"),
        ((20, 60, 50, 4), "squared-error"),
        ((20, 10), "softmax-cross-entropy"),
        ((20, 1), "sigmoid-cross-entropy"),
    ],
)
@pytest.mark.parametrize("hidden", ["silu", "elu", "tanh", "softmax"])
def test_the_gradient_of_larger_networks_along_random_directions(hidden, sizes, loss, backend):
    net = dx.Network(sizes, hidden, loss, backend=backend, dtype="float64", seed=4)
    rng = np.random.default_rng(1)
    X, y = problem(net, m=33, labels=len(sizes) == 2 and sizes[-1] > 1)
    net.backend.write(net.theta, 0.2 * rng.normal(size=net.theta.shape[0]))
    cost = Cost(net, X, y)
    g, theta = cost.g(), net.backend.asnumpy(net.theta).copy()
    for direction in rng.normal(size=(6, g.size)):
        d = direction / np.linalg.norm(direction) + g / np.linalg.norm(g)
        assert_allclose(g @ d, central_difference(cost, theta, d), rtol=1e-7)


def test_the_checkers_see_a_wrong_gradient():
    net = running_example("tanh", "sigmoid-cross-entropy", REFERENCE)
    cost = Cost(net, *problem(net))
    numeric, g = numeric_gradient(cost), cost.g()
    assert_same_gradient(net, numeric, g, 1e-7)
    m, weights = cost.work.m, net.parameters.weights.shape[0]
    wrong = {"1/m applied twice": g / m, "one number": g + 1e-6 * (np.arange(g.size) == 30), "a sign": g.copy()}
    wrong["a sign"][weights:] *= -1
    for bad in wrong.values():
        with pytest.raises(AssertionError, match="is off by"):
            assert_same_gradient(net, numeric, bad, 1e-7)


@pytest.mark.parametrize("broken", ["tanh_backward", "weight_gradient", "input_gradient"])
def test_a_broken_recursion_is_seen(broken):
    """The checker looks at the recursion and not at itself: break one line of it and the gradient is off."""
    net = running_example("tanh", "sigmoid-cross-entropy", REFERENCE)
    if broken == "tanh_backward":
        wrong = replace(ACTIVATIONS["tanh"], backward=lambda xp, dA, A: dA * (1.0 - A))
        net.g = (None, *[wrong] * 4, net.g[-1])
        wrong_net = net
    else:

        class Kernels:
            @staticmethod
            def weight_gradient(xp, dZ, A_prev, dW):
                dW[...] = dZ @ A_prev.T

            @staticmethod
            def input_gradient(xp, W, dZ, dA_prev):
                dA_prev[...] = W.T @ dZ / dZ.shape[1]

        kept = type("Kernels", (), {broken: staticmethod(getattr(Kernels, broken))})
        wrong_net = running_example("tanh", "sigmoid-cross-entropy", Backend("broken", np, kept))
    cost = Cost(wrong_net, *problem(wrong_net))
    with pytest.raises(AssertionError, match="is off by"):
        assert_same_gradient(wrong_net, numeric_gradient(cost), cost.g(), 1e-7)


def test_labels_and_one_hot_columns_give_the_same_J_and_gradient(backend):
    net = running_example("relu", "softmax-cross-entropy", backend)
    X, y = problem(net, labels=True)
    labels, columns = Cost(net, X, y), Cost(net, X, np.eye(3)[:, y])
    assert_allclose(float(labels.J()), float(columns.J()), rtol=1e-14)
    assert_allclose(labels.g(), columns.g(), rtol=1e-12, atol=1e-15)


def test_shared_memory_changes_nothing(backend):
    net = running_example(["relu", "gelu", "sigmoid", "silu"], "softmax-cross-entropy", backend, dropout=0.25)
    X, y = problem(net)
    one, other = Cost(net, X, y, shared=True), Cost(net, X, y, shared=False)
    assert_array_equal(one.g(), other.g())


@pytest.mark.parametrize("labels", [True, False])
def test_l2_adds_to_J_and_to_the_gradient_what_its_penalty_says(labels, backend):
    """SGD with rate 1 leaves theta - gradient: the gradient that a step used is read off theta."""
    J, numeric = differentiated("silu", "softmax-cross-entropy", labels=labels)
    net = running_example("silu", "softmax-cross-entropy", backend)
    X, y = problem(net, labels=labels)
    theta, strength = net.backend.asnumpy(net.theta).copy(), 0.3
    penalized = np.where(np.arange(theta.size) < net.parameters.weights.shape[0], theta, 0.0)
    step = dx.TrainingStep(net, dx.SGD(lr=1.0), batch_size=7, l2=strength)
    assert_allclose(float(step(X, y)), J + 0.5 * strength * float(np.sum(penalized**2)), rtol=1e-13)
    assert_same_gradient(net, numeric + strength * penalized, theta - net.backend.asnumpy(net.theta), 1e-7)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_a_clipped_gradient_keeps_its_direction_and_has_at_most_the_limit(limit, backend):
    net = running_example("tanh", "squared-error", backend)
    X, y = problem(net)
    g, theta = Cost(net, X, y).g(), net.backend.asnumpy(net.theta).copy()
    dx.TrainingStep(net, dx.SGD(lr=1.0), batch_size=7, clip_norm=limit)(X, y)
    used = theta - net.backend.asnumpy(net.theta)
    length = np.linalg.norm(g)
    assert 1e-3 < length < 1e3
    assert_allclose(used, g * min(1.0, limit / length), rtol=1e-9, atol=1e-15)


# one step, the same on every backend


STEPS = {
    "labels": {"loss": "softmax-cross-entropy", "labels": True},
    "columns": {"loss": "softmax-cross-entropy"},
    "two classes": {"loss": "sigmoid-cross-entropy"},
    "numbers": {"loss": "squared-error"},
    "dropout": {"loss": "softmax-cross-entropy", "labels": True, "dropout": (0.5, 0.1, 0.0, 0.25)},
    "weights": {"loss": "sigmoid-cross-entropy", "weighted": True},
    "weights of labels": {"loss": "softmax-cross-entropy", "labels": True, "weighted": True},
    "l2": {"loss": "squared-error", "l2": 0.1},
    "clipping": {"loss": "softmax-cross-entropy", "clip_norm": 0.01},
    "everything": {
        "loss": "softmax-cross-entropy",
        "labels": True,
        "dropout": 0.2,
        "weighted": True,
        "l2": 0.01,
        "clip_norm": 0.1,
    },
}
MIXED = ["relu", "gelu", "sigmoid", "softmax"]


def run_steps(backend, *, loss, labels=False, dropout=0.0, weighted=False, optimizer=None, dtype="float64", **options):
    """Three steps on batches of two sizes: the losses and the parameters."""
    net = running_example(MIXED, loss, REFERENCE, dropout=dropout)
    X, y = problem(net, m=12, labels=labels)
    net = net.to(backend, dtype)
    w = np.arange(1.0, 13.0) if weighted else None
    step = dx.TrainingStep(net, optimizer or dx.Adam(lr=0.01), batch_size=12, **options)
    J = [float(step(X, y, w)), float(step(X[:, :5], y[..., :5], None if w is None else w[:5])), float(step(X, y, w))]
    return np.array(J), net.backend.asnumpy(net.theta)


@pytest.mark.parametrize("case", STEPS)
def test_a_training_step_is_the_same_on_every_backend(case, backend):
    J, theta = run_steps(backend, **STEPS[case])
    J0, theta0 = run_steps(REFERENCE, **STEPS[case])
    assert_allclose(J, J0, rtol=1e-13)
    assert_allclose(theta, theta0, rtol=1e-9, atol=1e-12)
    assert np.all(np.isfinite(theta))


OPTIMIZERS = [dx.SGD(0.1), dx.Momentum(0.1), dx.Nesterov(0.1), dx.RMSProp(0.01), dx.Adam(0.01), dx.AdamW(0.01)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_every_update_rule_is_the_same_on_every_backend(optimizer, backend):
    J, theta = run_steps(backend, loss="squared-error", optimizer=optimizer)
    J0, theta0 = run_steps(REFERENCE, loss="squared-error", optimizer=optimizer)
    assert_allclose(J, J0, rtol=1e-13)
    assert_allclose(theta, theta0, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("kernels", [None, numpy_kernels], ids=["reference", "numpy"])
def test_a_step_reads_nothing_that_was_consumed_or_never_written(kernels, case):
    J, theta = run_steps(poison.PoisonBackend("poison", np, kernels), **STEPS[case])
    J0, theta0 = run_steps(Backend("healthy", np, kernels), **STEPS[case])
    assert_array_equal(J, J0)
    assert_array_equal(theta, theta0)


def test_the_poison_is_found_by_who_reads_it():
    class Kernels:
        @staticmethod
        def input_gradient(xp, W, dZ, dA_prev):
            dA_prev[...] += W.T @ dZ  # reads what nobody has written

    _, theta = run_steps(poison.PoisonBackend("poison", np, Kernels), loss="squared-error")
    assert np.isnan(theta).any()


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_predicting_and_evaluating_are_the_same_on_every_backend(loss, dtype, backend):
    """Two epochs in batches that do not divide the samples, from a table in double precision."""
    answers = []
    for where in (backend, REFERENCE):
        rng = np.random.default_rng(2)
        X = rng.normal(size=(4, 50))
        y = (X[0] * X[1] > 0).astype(int) + (X[2] > 0) if OUTPUTS[loss] == 3 else (X[0] > X[1]).astype(float)
        net = dx.Network((4, 8, 6, OUTPUTS[loss]), ["gelu", "relu"], loss, backend=where, dtype=dtype, dropout=0.1)
        history = dx.train(
            net,
            X,
            y,
            epochs=2,
            batch_size=16,
            sample_weight=np.arange(1, 51),
            l2=1e-3,
            clip_norm=1.0,
            validation=(X, y),
        )
        records = [{k: v for k, v in record.items() if k != "seconds"} for record in history]
        proba = net.predict_proba(X)
        assert isinstance(proba, np.ndarray) and proba.dtype == dtype
        answers.append((records, net.backend.asnumpy(net.theta), proba, net.predict(X), dx.evaluate(net, X, y)))
    (records, theta, A, decided, metrics), (records0, theta0, A0, decided0, metrics0) = answers
    close = {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-5}
    for one, other in zip([*records, metrics], [*records0, metrics0], strict=True):
        assert one.keys() == other.keys()
        assert_allclose(list(one.values()), list(other.values()), **close)
    assert_allclose(theta, theta0, **close)
    assert_allclose(A, A0, **close)
    if loss == "squared-error":
        assert_allclose(decided, decided0, **close)
    else:
        assert_array_equal(decided, decided0)


def test_columns_that_live_on_the_device_stay_there(backend):
    net = running_example(MIXED, "softmax-cross-entropy", backend)
    X, _ = problem(net, m=9)
    expected = net.predict_proba(X)
    on_device = backend.asarray(np.ascontiguousarray(X.T), "float64").T
    A, labels = net.predict_proba(on_device), net.predict(on_device)
    assert backend.owns(A) and backend.owns(labels)
    assert_array_equal(backend.asnumpy(A), expected)
    assert_array_equal(backend.asnumpy(labels), expected.argmax(axis=0))
    step = dx.TrainingStep(net, dx.SGD(0.1), batch_size=9)
    twin = dx.TrainingStep(net.to(), dx.SGD(0.1), batch_size=9)
    y = np.arange(9) % 3
    assert float(step(on_device, y)) == float(twin(X, y))
    assert dx.evaluate(net, on_device, y) == dx.evaluate(net, X, y)


# dtypes: what is float32 stays float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", STEPS)
def test_a_network_keeps_its_precision(case, dtype):
    """NumPy 2 turns float32 into float64 wherever a NumPy scalar slips in: here every op's result is looked at."""
    seen = set()

    class Recorder(np.ndarray):
        def __setitem__(self, key, value):
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and self.dtype.kind == "f":
                seen.add((self.dtype.name, value.dtype.name))
            super().__setitem__(key, value)

    class Watched(Backend):
        def empty(self, shape, kind):
            return np.empty(shape, kind).view(Recorder)

        def zeros(self, shape, kind):
            return np.zeros(shape, kind).view(Recorder)

        def write(self, out, x):
            np.copyto(out, x)

    _, theta = run_steps(Watched("watched", np), dtype=dtype, **STEPS[case])
    assert seen == {(dtype, dtype)}
    assert theta.dtype == dtype
