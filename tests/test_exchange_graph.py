"""The graph of a prediction, node by node: computed with NumPy, it is what the network says."""

from types import SimpleNamespace

import numpy as np
import pytest

import deepxp as dx
from deepxp.data import Scaler
from deepxp.errors import ConfigError
from deepxp.exchange.graph import CALLS, REDUCTIONS, Graph, Tensor, Value
from deepxp.exchange.model import prediction
from deepxp.ops.activations import ACTIVATIONS, Activation, softmax, softmax_backward
from deepxp.ops.losses import LOSSES, POISSON

OPERATORS = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "ArgMax": lambda x, axis, keepdims: np.argmax(x, axis=axis),
    "Cast": lambda x, to: x.astype(to),
    "ConstantOfShape": lambda shape, value: np.full(shape, value[0]),
    "Div": np.divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Gather": lambda x, i, axis: np.take(x, i, axis=axis),
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Log": np.log,
    "MatMul": np.matmul,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": np.power,
    "ReduceMax": lambda x, axes, keepdims: np.max(x, axis=tuple(axes), keepdims=bool(keepdims)),
    "ReduceMean": lambda x, axes, keepdims: np.mean(x, axis=tuple(axes), keepdims=bool(keepdims)),
    "ReduceMin": lambda x, axes, keepdims: np.min(x, axis=tuple(axes), keepdims=bool(keepdims)),
    "ReduceSum": lambda x, axes, keepdims: np.sum(x, axis=tuple(axes), keepdims=bool(keepdims)),
    "Shape": np.shape,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "Where": np.where,
}


def computed(tensor, X, rows):
    """What a graph says of rows; every result has the precision and rank that the graph says it has."""
    graph, values = tensor.graph, {X.value: rows}
    values |= dict(graph.constants)
    with np.errstate(all="ignore"):
        for op, parts, result, attributes in graph.nodes:
            values[result] = found = np.asarray(OPERATORS[op](*(values[part] for part in parts), **attributes))
            if op != "Shape":
                assert (found.dtype, found.ndim) == (result.dtype, result.ndim), op
    return values[tensor.value]


def said(net, rows):
    graph = Graph(net.dtype)
    X = Tensor(graph, Value(rows.dtype, 2, "X"))
    return computed(prediction(net, graph, X), X, rows)


def of(definition, Z):
    """A definition of one array on the graph, for columns Z."""
    graph = Graph(Z.dtype.name)
    X = Tensor(graph, Value(Z.dtype, 2, "X"))
    return computed(definition(graph, X), X, Z.T).T


def network(hidden="tanh", loss="softmax-cross-entropy", sizes=(4, 6, 5, 3), **more):
    return dx.Network(sizes, hidden, loss, backend="cpu", seed=1, **({"dtype": "float64"} | more))


def table(m=7, n=4):
    return np.random.default_rng(0).standard_normal((m, n))


@pytest.mark.parametrize("loss", [*LOSSES, POISSON], ids=[*LOSSES, "poisson"])
@pytest.mark.parametrize("g", ACTIVATIONS)
def test_the_graph_computes_what_the_network_says(g, loss):
    scaler = Scaler.fit(5.0 * table() + 3.0)
    net = network(g, loss, scaler=scaler)
    rows = 5.0 * table(m=9) + 3.0
    np.testing.assert_allclose(said(net, rows), net.predict_proba(rows.T).T, rtol=1e-12, atol=1e-15)


def test_a_prediction_drops_nothing():
    net = network(dropout=0.5)
    np.testing.assert_allclose(said(net, table()), net.predict_proba(table().T).T, rtol=1e-12, atol=1e-15)


def test_a_graph_in_single_precision_has_nothing_in_double_precision():
    net = network("gelu", dtype="float32", scaler=Scaler.fit(table()))
    graph = Graph("float32")
    prediction(net, graph, Tensor(graph, Value("float32", 2, "X")))
    kinds = {value.dtype for value, _ in graph.constants} | {result.dtype for _, _, result, _ in graph.nodes}
    assert kinds - {np.dtype("int64")} == {np.dtype("float32")}


def test_rows_in_double_precision_are_scaled_before_they_are_narrowed():
    seconds = 1_790_000_000.0 + 10.0 * np.arange(64.0)[:, None]
    net = network(sizes=(1, 3, 2), dtype="float32", scaler=Scaler.fit(seconds))
    exact = net.to(dtype="float64").predict_proba(seconds.T).T
    np.testing.assert_allclose(said(net, seconds), exact, atol=1e-6)
    assert np.abs(said(net, seconds.astype(np.float32)) - exact).max() > 1e-2


def test_no_transpose_is_written_and_the_weights_stand_on_the_right_of_their_products():
    net, graph = network("relu", "squared-error"), Graph("float64")
    prediction(net, graph, Tensor(graph, Value("float64", 2, "X")))
    assert [op for op, *_ in graph.nodes] == ["MatMul", "Add", "Max", "MatMul", "Add", "Max", "MatMul", "Add"]
    stored = {value.name: array for value, array in graph.constants}
    for l in (1, 2, 3):
        np.testing.assert_array_equal(stored[f"W{l}.T"], net.W[l].T)
    assert [parts[1].name for op, parts, *_ in graph.nodes if op == "MatMul"] == ["W1.T", "W2.T", "W3.T"]


def test_what_a_definition_computed_bears_the_name_of_its_array():
    graph = Graph("float64")
    A = prediction(network("tanh"), graph, Tensor(graph, Value("float64", 2, "X")))
    assert A.value.name == "A3"
    assert {"Z1", "A1", "Z2", "A2", "Z3", "A3"} <= {result.name for _, _, result, _ in graph.nodes}


# the functions that ONNX has no operator for


def test_expm1_loses_nothing_near_zero_and_is_right_far_from_it():
    x = np.concatenate([-(10.0 ** np.arange(-18, 3)), 10.0 ** np.arange(-18, 2), [0.0, 0.999, 1.0, 1.001]])[None, :]
    np.testing.assert_allclose(of(lambda xp, Z: xp.expm1(Z), x), np.expm1(x), rtol=4e-16)
    ends = np.array([[np.inf, -np.inf, np.nan, 800.0]])
    np.testing.assert_array_equal(of(lambda xp, Z: xp.expm1(Z), ends), [[np.inf, -1.0, np.nan, np.inf]])


def test_log1p_loses_nothing_near_zero_and_is_right_far_from_it():
    x = np.concatenate([-(10.0 ** np.arange(-18, 0)), 10.0 ** np.arange(-18, 19), [0.0, -0.999]])[None, :]
    np.testing.assert_allclose(of(lambda xp, Z: xp.log1p(Z), x), np.log1p(x), rtol=4e-16)
    ends = np.array([[np.inf, -1.0, np.nan, -2.0, 1e308]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(of(lambda xp, Z: xp.log1p(Z), ends), np.log1p(ends))


# as NumPy means it


@pytest.mark.parametrize(
    "definition",
    [
        lambda xp, Z: Z / xp.sum(xp.abs(Z), axis=0),  # (n, m) beside (m,)
        lambda xp, Z: Z - xp.mean(Z, axis=1, keepdims=True),
        lambda xp, Z: Z - xp.min(Z, axis=-1, keepdims=True),
        lambda xp, Z: Z * xp.sum(Z),
        lambda xp, Z: xp.max(Z, axis=0) - Z,
        lambda xp, Z: (Z > 0.0) * Z,
        lambda xp, Z: (Z > 0.0) * 2.0 + (Z > 1.0),
        lambda xp, Z: xp.where((Z > 0.0) & ~(Z >= 1.0), Z, -Z),
        lambda xp, Z: xp.where((Z < -1.0) | (Z != Z), 1.0, 0.0),
        lambda xp, Z: xp.where(Z <= 0.0, 2.0, Z),
        lambda xp, Z: abs(Z) ** 1.5 + 2.0 ** xp.sign(Z),
        lambda xp, Z: np.float64(2.0) * Z - np.float64(1.0) / Z,
        lambda xp, Z: xp.maximum(xp.sqrt(xp.abs(Z)), xp.log(xp.abs(Z))),
        lambda xp, Z: Z[1, :] + xp.ones_like(Z) - xp.zeros_like(Z),
    ],
)
def test_arrays_of_different_rank_and_kind_meet_as_in_numpy(definition):
    Z = table(5, 5).T  # square: a vector that is laid along the wrong side gives no error
    np.testing.assert_allclose(of(definition, Z), definition(np, Z), rtol=1e-14)


def test_every_function_that_an_activation_of_a_users_own_may_call_has_an_operator():
    from deepxp.gradcheck import VOCABULARY

    assert {*VOCABULARY} - {*CALLS, *REDUCTIONS} == {"expm1", "log1p", "where"}


def test_a_softmax_in_a_hidden_layer_is_over_the_units():
    net = network(Activation("softmax2", softmax, softmax_backward, elementwise=False))
    np.testing.assert_allclose(said(net, table()), net.predict_proba(table().T).T, rtol=1e-12)


def test_the_decision_for_one_output_is_a_vector():
    graph = Graph("float64")
    A = Tensor(graph, Value("float64", 2, "A"))
    backend = SimpleNamespace(owns=lambda x: True, xp=graph)
    net = SimpleNamespace(backend=backend, loss=LOSSES["sigmoid-cross-entropy"], sizes=(4, 1))
    decided = dx.Network.decide(net, A)
    np.testing.assert_array_equal(computed(decided, A, np.array([[0.4], [0.5], [0.6]])), [0, 1, 1])


# what no graph can do is said


@pytest.mark.parametrize(
    ("definition", "error", "message"),
    [
        (lambda xp, Z: xp.erf(Z), ConfigError, r"calls xp\.erf, and ONNX gets no operator for it; known are abs, argm"),
        (lambda xp, Z: Z if Z > 0.0 else -Z, TypeError, "a definition has no `if`"),
        (lambda xp, Z: Z[0, 1:], TypeError, r"takes a unit of all samples, x\[i, :\]"),
        (lambda xp, Z: Z % 2.0, TypeError, "unsupported operand"),
    ],
)
def test_what_a_graph_cannot_hold_is_an_error(definition, error, message):
    with pytest.raises(error, match=message):
        of(definition, table().T)


def test_the_interpreter_of_this_file_is_not_blind():
    net = network()
    graph = Graph("float64")
    X = Tensor(graph, Value("float64", 2, "X"))
    A = prediction(net, graph, X)
    graph.constants = [(v, a + 1e-3 if v.name == "b2.T" else a) for v, a in graph.constants]
    assert np.abs(computed(A, X, table()) - net.predict_proba(table().T).T).max() > 1e-5
