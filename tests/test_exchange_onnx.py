"""A network as an ONNX graph: valid, in a low opset, and in onnxruntime what the network says, to 1e-6."""

import json
import math
import sys

import numpy as np
import pytest

import deepxp as dx
from deepxp.data import Scaler
from deepxp.exchange import difference, model, to_onnx
from deepxp.exchange.compare import allowed, apart, drawn
from deepxp.ops.activations import ACTIVATIONS, Activation
from deepxp.ops.losses import LOSSES, POISSON


def network(hidden="relu", loss="softmax-cross-entropy", sizes=(4, 6, 5, 3), **more):
    return dx.Network(sizes, hidden, loss, backend="cpu", seed=1, **more)


def table(m=40, n=4):
    return np.random.default_rng(0).standard_normal((m, n))


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="onnx, of the extra onnx, is not installed")


@pytest.fixture
def runtime(onnx):
    return pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra onnx, is not installed")


def run(runtime, graph, X):
    """The outputs by name."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([end.name for end in session.get_outputs()], session.run(None, {"X": X}), strict=True))


# it is what the network says


@pytest.mark.interop
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("loss", [*LOSSES, POISSON], ids=[*LOSSES, "poisson"])
@pytest.mark.parametrize("g", ACTIVATIONS)
def test_every_activation_and_link_is_what_it_is_here(runtime, g, loss, dtype, most):
    scaler = Scaler.fit(table() * [1e-3, 1.0, 50.0, 7.0] + [5.0, -1.0, 100.0, 0.0])
    net = network(g, loss, dtype=dtype, scaler=scaler)
    graph = to_onnx(net)
    assert difference(net, graph) < most
    assert difference(net, graph, drawn(net)[:1]) < most  # one sample


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["standard", "minmax", "range", "none"])
def test_rows_come_as_they_are_in_the_table_however_far_from_each_other(runtime, kind):
    rows = (table() * [1e-20, 1e15, 1.0, 0.0] + [0.0, 1e15, 1e4, 7.0]).astype(np.float32)  # the last is constant
    net = network(scaler=Scaler.fit(rows, kind))
    assert difference(net, to_onnx(net), rows) < 1e-6


@pytest.mark.interop
def test_rows_in_double_precision_keep_the_seconds_since_1970_apart(runtime):
    seconds = 1_790_000_000.0 + 10.0 * np.arange(64.0)[:, None]
    net = network(sizes=(1, 3, 2), scaler=Scaler.fit(seconds))
    graph = to_onnx(net, rows="float64")
    assert difference(net, graph, seconds) < 1e-6
    said = run(runtime, graph, seconds)["probabilities"]
    assert said.dtype == np.float32
    assert apart(said, net.to(dtype="float64").predict_proba(seconds.T).T) < 1e-6
    assert difference(net.to(dtype="float64"), to_onnx(net), seconds) > 1e-2  # in float32 they are not


@pytest.mark.interop
def test_numbers_leave_in_the_unit_of_the_targets(runtime):
    unit = Scaler("standard", np.array([2e5, -3.0]), np.array([1e-4, 2.0]))
    net = network("tanh", "squared-error", sizes=(4, 6, 2), scaler=Scaler.fit(table()), target_scaler=unit)
    assert difference(net, to_onnx(net), table()) < 1e-6


def test_a_network_in_double_precision_may_take_rows_in_single_precision(runtime):
    net = network(dtype="float64", scaler=Scaler.fit(table()))
    assert difference(net, to_onnx(net, rows="float32")) < 1e-13


@pytest.mark.interop
def test_an_activation_of_a_users_own_leaves_with_the_network(runtime):
    def softplus(xp, Z):
        return xp.maximum(Z, 0.0) + xp.log1p(xp.exp(-xp.abs(Z)))

    def softplus_backward(xp, dA, Z):
        return dA * 0.5 * (1.0 + xp.tanh(0.5 * Z))

    net = network(dx.Activation("softplus", softplus, softplus_backward))
    assert difference(net, to_onnx(net)) < 1e-6


@pytest.mark.interop
@pytest.mark.parametrize("loss", LOSSES)
def test_a_number_that_is_none_is_told_as_here(runtime, loss):
    rows = table().astype(np.float32)
    for row, value in enumerate((np.nan, np.inf, -np.inf, 3e38)):
        rows[row, 1] = value
    for g in ACTIVATIONS:
        net = network(g, loss)
        assert difference(net, to_onnx(net), rows[:4]) < 1e-6


@pytest.mark.interop
def test_onnx_itself_computes_the_same(onnx):
    from onnx.reference import ReferenceEvaluator

    net = network("elu", scaler=Scaler.fit(table()))
    X = table().astype(np.float32)
    probabilities, labels = ReferenceEvaluator(to_onnx(net)).run(None, {"X": X})
    assert apart(probabilities, net.predict_proba(X.T).T) < 1e-6
    np.testing.assert_array_equal(labels, net.predict(X.T))


# what is in the file


@pytest.mark.interop
@pytest.mark.parametrize("g", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_graph_is_valid_and_its_opset_the_lowest_that_has_its_operators(onnx, g, loss):
    graph = to_onnx(network(g, loss, scaler=Scaler.fit(table())))
    onnx.checker.check_model(graph, full_check=True)
    (opset,) = graph.opset_import
    newest = max(onnx.defs.get_schema(node.op_type, opset.version).since_version for node in graph.graph.node)
    assert (opset.domain, opset.version, newest) == ("", 13, 13)
    assert graph.ir_version == 7  # that of the onnx that brought opset 13
    assert len({node.name for node in graph.graph.node}) == len(graph.graph.node)


CLASSES = {"probabilities": (("m", 3), "float32"), "labels": (("m",), "int64")}
ENDS = {
    "softmax-cross-entropy": ((4, 3), CLASSES),
    "several labels": ((4, 3), CLASSES | {"labels": (("m", 3), "int64")}),
    "two classes": ((4, 1), {"probabilities": (("m", 1), "float32"), "labels": (("m",), "int64")}),
    "squared-error": ((4, 1), {"values": (("m", 1), "float32")}),
}


@pytest.mark.interop
@pytest.mark.parametrize("what", ENDS)
def test_the_ends_are_named_plainly_and_any_number_of_rows_goes_through(runtime, onnx, what):
    sizes, expected = ENDS[what]
    net = network("relu", what if what in LOSSES else "sigmoid-cross-entropy", sizes)
    graph = to_onnx(net)

    def end(value):
        kind = value.type.tensor_type
        shape = tuple(each.dim_param or each.dim_value for each in kind.shape.dim)
        return value.name, (shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name)

    assert list(map(end, graph.graph.input)) == [("X", (("m", 4), "float32"))]
    assert dict(map(end, graph.graph.output)) == expected
    for m in (1, 2, 300):
        X = table(m).astype(np.float32)
        said = run(runtime, graph, X)
        first, *labels = said.values()
        assert apart(first, net.predict_proba(X.T).T) < 1e-6
        for values in labels:
            np.testing.assert_array_equal(values, net.predict(X.T).T)


@pytest.mark.interop
def test_the_metadata_say_what_the_columns_and_classes_are(onnx):
    net = network(classes=("ant", "bee, the", "čmelák"))
    net.notes = {"features": ["a", "b", "c", "d"]}
    graph = to_onnx(net)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(metadata["classes"]) == ["ant", "bee, the", "čmelák"]
    assert json.loads(metadata["features"]) == ["a", "b", "c", "d"]
    assert (metadata["deepxp"], metadata["loss"]) == (dx.__version__, "softmax-cross-entropy")
    assert (graph.producer_name, graph.producer_version) == ("deepxp", dx.__version__)
    net.notes = {"features": ["a"]}
    assert {entry.key for entry in to_onnx(network()).metadata_props} == {"deepxp", "loss"}
    assert "features" not in {entry.key for entry in to_onnx(net).metadata_props}


@pytest.mark.interop
def test_of_categories_each_word_is_a_column_by_name(onnx, tmp_path):
    rows = [f"{x},{city},{y},{x % 2}" for x, city, y in zip(range(6), ["Rome", "Bern"] * 3, range(6), strict=True)]
    (tmp_path / "a.csv").write_text("x,city,y,k\n" + "\n".join(rows) + "\n")
    table = dx.data.load(tmp_path / "a.csv", categories="city")
    net = network()
    for features, categories, said in (
        (list(table.columns.features), list(table.columns.categories), list(table.features)),
        (["x", "city", "y"], [None, ["Bern", "Rome"], None], ["x", "city=Bern", "city=Rome", "y"]),
        ([0, 1, 2, 3], None, None),
        ([1, 2, 3], [None, ["Bern", "Rome"], None], None),
        (["x", "city", "y"], [None, ["Bern", "Rome"]], None),
        (["x", "city", "y"], [None, ["Bern"], None], None),
        (["x", "city", "y"], 3, None),
    ):
        net.notes = {"features": features, "categories": categories}
        metadata = {entry.key: entry.value for entry in to_onnx(net).metadata_props}
        assert json.loads(metadata.get("features", "null")) == said


@pytest.mark.interop
def test_equal_networks_give_equal_files(onnx):
    assert to_onnx(network("gelu")).SerializeToString() == to_onnx(network("gelu")).SerializeToString()


# the comparison can fail


@pytest.mark.interop
def test_another_weight_and_another_label_are_seen(runtime, onnx):
    net = network()
    graph = to_onnx(net)
    other = next(each for each in graph.graph.initializer if each.name == "W2.T")
    other.CopyFrom(onnx.numpy_helper.from_array(net.W[2].T + np.float32(0.01), "W2.T"))
    assert difference(net, graph) > 1e-4
    graph = to_onnx(net)
    node = next(each for each in graph.graph.node if each.op_type == "ArgMax")
    node.op_type = "ArgMin"
    assert difference(net, graph) == math.inf


def test_apart_is_relative_above_one_and_infinite_where_only_one_is_nan():
    a, p = np.array([0.5, 110.0]), np.array([0.25, 100.0])
    assert apart(a, p) == 0.25
    assert apart(a[1:], p[1:]) == 0.1
    assert apart(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])) == 0.0
    for one, other in ((np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, 1.0)):
        assert apart(np.array([one]), np.array([other])) == math.inf
    assert apart(np.empty((0, 3)), np.empty((0, 3))) == 0.0


def test_what_is_allowed_is_1e_6_and_more_only_where_single_precision_is_not_that_exact():
    assert allowed(network(dtype="float64")) == 1e-6
    assert allowed(network()) == pytest.approx(1e-6, rel=1.0)
    wide = network("silu", "squared-error", (300, 300, 300, 1))
    exact = wide.to(dtype="float64").predict_proba(drawn(wide).T)
    assert 1e-5 > allowed(wide) == 4.0 * apart(wide.predict_proba(drawn(wide).T), exact) > 1e-6


def test_rows_are_drawn_from_where_the_scaler_says():
    rows = drawn(network(scaler=Scaler.fit(table(2000) * [1.0, 1e3, 1e-3, 1.0] + [0.0, 1e6, 0.0, 5.0])))
    np.testing.assert_allclose(rows.mean(axis=0), [0.0, 1e6, 0.0, 5.0], atol=300)
    np.testing.assert_allclose(rows.std(axis=0), [1.0, 1e3, 1e-3, 1.0], rtol=0.2)


# what cannot leave


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_packages_what_to_install_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(dx.ConfigError, match=f"takes {name}: python -m pip install onnx onnxruntime"):
        to_onnx(network()) if name == "onnx" else difference(network(), None)


@pytest.mark.interop
def test_more_than_a_file_holds_and_an_unknown_precision_are_refused(onnx, monkeypatch):
    with pytest.raises(dx.ConfigError, match="rows must be one of float32, float64, got 'float16'"):
        to_onnx(network(), rows="float16")
    monkeypatch.setattr(model, "MOST_BYTES", 100)
    with pytest.raises(dx.ConfigError, match="less than 2 GiB, and the parameters have 332 bytes"):
        to_onnx(network())


@pytest.mark.interop
@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda xp, Z: xp.erf(Z), r"calls xp\.erf"),
        (lambda xp, Z: Z / Z.shape[0], "'odd'.* does what no ONNX graph can: .*'shape'"),
        (lambda xp, Z: xp.where((Z > 0.0) & Z, Z, 0.0), "'odd'.* is no valid ONNX graph"),
    ],
)
def test_an_activation_that_no_graph_can_hold_is_named(onnx, forward, message):
    with pytest.raises(dx.ConfigError, match=message):
        to_onnx(network(Activation("odd", forward, lambda xp, dA, A: dA, elementwise=False)))
