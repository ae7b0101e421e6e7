from types import SimpleNamespace

import numpy as np
import pytest

import deepxp as dx
from deepxp.agreement import compare, trace
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops import dense

SIZES = (6, 9, 8, 7, 3)
REFERENCE = Backend("reference", np)


def network(hidden="relu", loss="softmax-cross-entropy", **options):
    return dx.Network(SIZES, hidden, loss, **{"backend": Backend("numpy", np, numpy_kernels), "seed": 3} | options)


def table(m=16):
    return np.random.default_rng(0).standard_normal((m, 6))


def broken(**kernels):
    """The definitions, some of them replaced."""
    return Backend("broken", np, SimpleNamespace(**kernels))


def order(L=4):
    """(quantity, layer) as a step computes them."""
    forward = [(quantity, l) for l in range(1, L + 1) for quantity in ("Z", "A")]
    backward = [(quantity, l) for l in range(L, 0, -1) for quantity in ("dA", "dZ", "dW", "db")]
    return forward + [each for each in backward if each != ("dA", L)]


@pytest.mark.parametrize("hidden", ["relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softmax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_and_definitions_agree(hidden, dtype):
    agreement = compare(network(hidden, dtype=dtype), REFERENCE, table().T, np.arange(16) % 3)
    assert agreement.passed, str(agreement)
    assert agreement.first is None
    assert [(d.quantity, d.layer) for d in agreement.differences] == order()
    assert (agreement.device, agreement.other) == ("numpy", "reference")


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"loss": "squared-error"}, {"loss": "sigmoid-cross-entropy"}])
def test_dropout_and_other_losses_agree(options):
    Y = np.eye(3)[:, np.arange(16) % 3]
    agreement = compare(network(**options), REFERENCE, table().T, Y)
    assert agreement.passed, str(agreement)


def test_a_network_agrees_with_itself_to_the_last_bit():
    agreement = compare(network(), network().backend, table().T, np.arange(16) % 3)
    assert all(d.error == d.other_error for d in agreement.differences)
    assert any(d.error > 0 for d in agreement.differences)


def test_the_network_is_not_touched():
    net = network(dropout=0.5)
    before = net.theta.tobytes()
    compare(net, REFERENCE, table().T, np.arange(16) % 3)
    assert (net.theta.tobytes(), net.epochs) == (before, 0)


# one planted mistake: its first layer and quantity are named


def nth(op, spoil, k):
    """The op, whose k-th call of a step is spoiled after it has run."""
    calls = []

    def kernel(xp, *arguments):
        op(xp, *arguments)
        calls.append(arguments)
        if len(calls) == k:
            spoil(*arguments)

    return kernel


def spoil_forward(W, b, A_prev, g, Z, A):
    A[0, 0] += 0.01


def spoil_linear(W, b, A_prev, g, Z, A):
    Z[...] = W @ A_prev


def spoil_activation(g, dA, kept, dZ, db):
    dZ[0, 0] *= 1.01


def spoil_bias(g, dA, kept, dZ, db):
    db[...] = db * dZ.shape[1]  # 1/m forgotten


def spoil_weights(dZ, A_prev, dW):
    dW[0, 0] = -dW[0, 0]


def spoil_inputs(W, dZ, dA_prev):
    dA_prev[-1] *= 0.999


PLANTED = [
    *((dense.dense_forward, spoil_forward, l, ("A", l)) for l in (1, 2, 3)),
    *((dense.dense_forward, spoil_linear, l, ("Z", l)) for l in (1, 2, 3, 4)),
    *((dense.activation_backward, spoil_activation, 5 - l, ("dZ", l)) for l in (4, 3, 2, 1)),
    *((dense.activation_backward, spoil_bias, 5 - l, ("db", l)) for l in (4, 3, 2, 1)),
    *((dense.weight_gradient, spoil_weights, 5 - l, ("dW", l)) for l in (4, 3, 2, 1)),
    *((dense.input_gradient, spoil_inputs, 4 - l, ("dA", l)) for l in (3, 2, 1)),
]


@pytest.mark.parametrize(("op", "spoil", "k", "named"), PLANTED, ids=lambda x: getattr(x, "__name__", str(x)))
def test_one_wrong_op_is_found_where_it_went_wrong_first(op, spoil, k, named):
    net = network("tanh", dtype="float64")
    for l in range(1, 5):
        net.b[l][...] = 0.3
    agreement = compare(net, broken(**{op.__name__: nth(op, spoil, k)}), table().T, np.arange(16) % 3)
    assert not agreement.passed
    assert (agreement.first.quantity, agreement.first.layer) == named
    (line,) = [line for line in str(agreement).splitlines() if line.startswith(f"{named[0]}[{named[1]}] ")]
    assert line.endswith("DIFFERS")
    assert "DIFFERS" not in str(agreement)[: str(agreement).index(line)]


def test_nan_is_no_agreement():
    agreement = compare(
        network("tanh"),
        broken(weight_gradient=nth(dense.weight_gradient, lambda dZ, A_prev, dW: dW.fill(np.nan), 3)),
        table().T,
        np.arange(16) % 3,
    )
    assert (agreement.first.quantity, agreement.first.layer) == ("dW", 2)


def test_half_precision_is_no_agreement():
    def dense_forward(xp, W, b, A_prev, g, Z, A):
        Z[...] = (W.astype(np.float16) @ A_prev.astype(np.float16)).astype(Z.dtype) + b
        A[...] = g.forward(xp, Z)

    agreement = compare(network(), broken(dense_forward=dense_forward), table().T, np.arange(16) % 3)
    assert (agreement.first.quantity, agreement.first.layer) == ("Z", 1)


def test_a_trace_holds_every_quantity_of_every_layer():
    found = trace(network("silu", dropout=0.5), table().T, np.arange(16) % 3)
    assert set(found) == {*order(), ("A", 0), ("dA", 4)}
    for l, n in enumerate(SIZES):
        assert found["A", l].shape == (n, 16)
        if l:
            assert found["Z", l].shape == found["dZ", l].shape == (n, 16)
            assert found["dW", l].shape == (n, SIZES[l - 1])
            assert found["db", l].shape == (n, 1)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float64)}


def test_data_are_checked():
    with pytest.raises(dx.ShapeError, match=r"pass X\.T"):
        compare(network(), REFERENCE, table(), np.arange(16) % 3)
