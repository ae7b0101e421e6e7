"""Parity with PyTorch: with the same weights, the same loss, gradients and updates, in float64 on the CPU.

Not part of the normal test run, because torch is not a dependency:

    python -m pytest bench/peers -q
"""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.recursions import backward, class_column, evaluate_loss, forward

torch = pytest.importorskip("torch", reason="torch is not installed: python -m pip install torch")

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
SIZES, M = (6, 9, 7, 5), 20

HIDDEN = {
    "identity": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "leaky_relu": lambda: torch.nn.LeakyReLU(0.01),
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "elu": torch.nn.ELU,
    "gelu": lambda: torch.nn.GELU(approximate="tanh"),
    "silu": torch.nn.SiLU,
    "softmax": lambda: torch.nn.Softmax(dim=1),
}


def summed_over_outputs(loss):
    """Of each sample the sum over its outputs, of the samples the mean."""
    return lambda Z, Y: loss(Z, Y, reduction="none").sum(dim=1).mean()


def cross_entropy(Z, Y):
    return torch.nn.functional.cross_entropy(Z, Y)


LOSSES = {
    "labels": ("softmax-cross-entropy", 5, cross_entropy),
    "probabilities": ("softmax-cross-entropy", 5, cross_entropy),
    "two classes": (
        "sigmoid-cross-entropy",
        1,
        summed_over_outputs(torch.nn.functional.binary_cross_entropy_with_logits),
    ),
    "several labels": (
        "sigmoid-cross-entropy",
        5,
        summed_over_outputs(torch.nn.functional.binary_cross_entropy_with_logits),
    ),
    "numbers": ("squared-error", 5, lambda Z, Y: 0.5 * summed_over_outputs(torch.nn.functional.mse_loss)(Z, Y)),
}
BACKENDS = [Backend("numpy", np, numpy_kernels), Backend("reference", np)]


def targets(kind, rng, outputs):
    """(as deepxp takes them, as PyTorch does)"""
    if kind == "labels":
        y = rng.integers(0, outputs, M)
        return y, torch.from_numpy(y)
    if kind == "numbers":
        Y = rng.normal(size=(outputs, M))
    elif kind == "probabilities":
        Y = rng.random((outputs, M))
        Y /= Y.sum(axis=0)
    else:
        Y = rng.integers(0, 2, (outputs, M)).astype(float)
    return Y, torch.from_numpy(np.ascontiguousarray(Y.T))


class Pair:
    """One network twice, with the same weights and data."""

    def __init__(self, kind, hidden="tanh", backend=BACKENDS[0], seed=0):
        rng = np.random.default_rng(seed)
        loss, outputs, self.loss = LOSSES[kind]
        sizes = (*SIZES[:-1], outputs)
        self.net = dx.Network(sizes, hidden, loss, backend=backend, dtype="float64")
        self.net.theta[...] = rng.normal(size=self.net.theta.size) * 0.5
        layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
        with torch.no_grad():
            for l, layer in enumerate(layers, 1):
                layer.weight.copy_(torch.from_numpy(self.net.W[l].copy()))
                layer.bias.copy_(torch.from_numpy(self.net.b[l][:, 0].copy()))
        modules = [module for layer in layers for module in (layer, HIDDEN[hidden]())][:-1]
        self.layers, self.model = layers, torch.nn.Sequential(*modules)
        X = rng.normal(size=(sizes[0], M))
        self.X, self.rows = X, torch.from_numpy(np.ascontiguousarray(X.T))
        self.y, self.Y = targets(kind, rng, outputs)

    @property
    def theta(self):
        """PyTorch's parameters in the order of theta."""
        return self.flat(lambda p: p)

    @property
    def gradient(self):
        return self.flat(lambda p: p.grad)

    def flat(self, of):
        parts = [of(layer.weight) for layer in self.layers] + [of(layer.bias) for layer in self.layers]
        return np.concatenate([p.detach().numpy().reshape(-1) for p in parts])

    def weights(self):
        return [layer.weight for layer in self.layers]

    def their_loss(self, l2=0.0):
        J = self.loss(self.model(self.rows), self.Y)
        return J + 0.5 * l2 * sum((w * w).sum() for w in self.weights()) if l2 else J

    def our_loss_and_gradient(self):
        labels = self.y.ndim == 1
        work, gradient = self.net.memory(M, labels=labels).workspace(M), self.net.gradient()
        work.X[...] = self.X.T
        work.Y[...] = self.y if labels else self.y.T
        forward(self.net, work)
        J = float(evaluate_loss(self.net, work, class_column(self.net, labels=labels)))
        backward(self.net, work, gradient)
        return J, gradient.g


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_and_the_gradient_of_every_parameter_are_pytorchs(kind, hidden, backend):
    pair = Pair(kind, hidden, backend)
    J, g = pair.our_loss_and_gradient()
    theirs = pair.their_loss()
    theirs.backward()
    assert_allclose(J, theirs.item(), **TOLERANCE)
    assert_allclose(g, pair.gradient, **TOLERANCE)


def test_the_comparison_sees_another_loss():
    pair = Pair("numbers")
    J, g = pair.our_loss_and_gradient()
    theirs = torch.nn.functional.mse_loss(pair.model(pair.rows), pair.Y)  # its mean is over the outputs, too
    theirs.backward()
    with pytest.raises(AssertionError):
        assert_allclose(J, theirs.item(), **TOLERANCE)
    with pytest.raises(AssertionError):
        assert_allclose(g, pair.gradient, **TOLERANCE)


RULES = {
    "sgd": (dx.SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (dx.Momentum(0.05, mu=0.8), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8)),
    "nesterov": (dx.Nesterov(0.05, mu=0.8), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True)),
    "rmsprop": (dx.RMSProp(0.01, rho=0.95), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.95, eps=1e-8)),
    "adam": (dx.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam, other betas": (
        dx.Adam(0.02, beta1=0.7, beta2=0.95, eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.7, 0.95), eps=1e-3),
    ),
}


def decaying(pair):
    """PyTorch decays every parameter that it is given; on the weights only is spelt as two groups."""
    biases = [layer.bias for layer in pair.layers]
    groups = [{"params": pair.weights(), "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.01)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("kind", ["labels", "probabilities", "two classes", "numbers"])
@pytest.mark.parametrize("name", [*RULES, "adamw"])
def test_ten_steps_of_every_rule_are_pytorchs(name, kind, backend):
    pair = Pair(kind, "gelu", backend)
    ours = dx.AdamW(0.01, weight_decay=0.1) if name == "adamw" else RULES[name][0]
    optimizer = decaying(pair) if name == "adamw" else RULES[name][1](pair.model.parameters())
    start = pair.theta
    run_both(pair, ours, optimizer)
    assert np.linalg.norm(pair.theta - start) > 0.05


def run_both(pair, ours, optimizer, *, l2=0.0, clip_norm=None, steps=10):
    step = dx.TrainingStep(pair.net, ours, M, l2=l2, clip_norm=clip_norm)
    for _ in range(steps):
        optimizer.zero_grad()
        theirs = pair.their_loss(l2)
        theirs.backward()
        if clip_norm is not None:
            torch_clip(pair.model.parameters(), clip_norm)
        optimizer.step()
        assert_allclose(float(step(pair.X, pair.y)), theirs.item(), **TOLERANCE)
        assert_allclose(pair.net.theta, pair.theta, **TOLERANCE)


def torch_clip(parameters, limit):
    """`clip_grad_norm_` as it is, but for the 1e-6 that PyTorch adds to the norm: g limit / (||g|| + 1e-6).

    deepxp divides by the norm itself, so PyTorch's result is multiplied by (||g|| + 1e-6) / ||g|| where it clipped.
    """
    parameters = list(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    if norm + 1e-6 > limit:
        for p in parameters:
            p.grad *= (norm + 1e-6) / max(norm, limit)


@pytest.mark.parametrize("kind", ["labels", "two classes", "numbers"])
def test_l2_on_the_weights_is_pytorchs_gradient_of_the_penalty(kind):
    pair = Pair(kind, "silu")
    run_both(pair, dx.SGD(0.05), torch.optim.SGD(pair.model.parameters(), lr=0.05), l2=0.3)


@pytest.mark.parametrize("kind", ["labels", "two classes", "numbers"])
def test_l2_is_pytorchs_weight_decay_on_the_weights(kind):
    """For plain descent the penalty and `weight_decay` are the same thing, but for the J that is reported."""
    pair = Pair(kind, "elu")
    biases = [layer.bias for layer in pair.layers]
    optimizer = torch.optim.SGD([{"params": pair.weights(), "weight_decay": 0.3}, {"params": biases}], lr=0.05)
    step = dx.TrainingStep(pair.net, dx.SGD(0.05), M, l2=0.3)
    for _ in range(10):
        optimizer.zero_grad()
        pair.their_loss().backward()
        optimizer.step()
        step(pair.X, pair.y)
        assert_allclose(pair.net.theta, pair.theta, **TOLERANCE)


@pytest.mark.parametrize("limit", [0.05, 100.0])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_clipping_by_the_global_norm_is_pytorchs(kind, limit):
    pair = Pair(kind, "relu")
    run_both(pair, dx.Adam(0.01), torch.optim.Adam(pair.model.parameters(), lr=0.01), clip_norm=limit, l2=0.01)


def test_the_1e_6_that_pytorch_adds_to_the_norm_is_the_only_difference_in_clipping():
    pair = Pair("numbers", "relu")
    _, g = pair.our_loss_and_gradient()
    pair.their_loss().backward()
    torch.nn.utils.clip_grad_norm_(pair.model.parameters(), 0.5)
    norm = np.linalg.norm(g)
    assert_allclose(pair.gradient, g * 0.5 / (norm + 1e-6), **TOLERANCE)
    with pytest.raises(AssertionError):
        assert_allclose(pair.gradient, g * 0.5 / norm, **TOLERANCE)
