"""Weights by the names of PyTorch and Keras: what leaves comes back, and what does not fit is said in a sentence."""

from contextlib import suppress

import numpy as np
import pytest

import deepxp as dx
from deepxp import safetensors
from deepxp.data import Scaler
from deepxp.errors import ConfigError, DataError, ModelFileError, ShapeError
from deepxp.exchange import from_keras, from_state_dict, keras_weights, state_dict

HOW = ("tanh", "softmax-cross-entropy")


def network(sizes=(4, 6, 5, 3), **more):
    net = dx.Network(sizes, "tanh", backend="cpu", seed=1, **more)
    net.theta[...] += 0.1 * np.random.default_rng(5).standard_normal(net.theta.shape)  # biases that are not 0
    return net


def arrive(named, read=from_state_dict, how=HOW, **more):
    return read(named, *how, backend="cpu", **more)


def columns(m=7, n=4):
    return np.random.default_rng(0).standard_normal((n, m))


def square(names, kind="weight"):
    """Layers of 3 units that differ, so that their order matters and no shape tells it."""
    random = np.random.default_rng(2)
    return {
        f"{name}.{kind}" if kind == "weight" else f"{name}/{kind}": random.standard_normal((3, 3)) for name in names
    }


def order(net, named):
    """The names in `named` in the order in which `net` has their weights."""
    return [next(name for name, W in named.items() if W.shape == V.shape and (W == V).all()) for V in net.W[1:]]


# there and back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("write", "read"), [(state_dict, from_state_dict), (keras_weights, from_keras)])
@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 5, 3), (3,) * 14])
def test_what_leaves_comes_back_to_the_bit(write, read, sizes, dtype):
    net = network(sizes, dtype=dtype)
    back = arrive(write(net), read)
    assert (back.sizes, back.dtype) == (net.sizes, dtype)
    np.testing.assert_array_equal(back.theta, net.theta)


def test_the_names_and_shapes_are_those_of_nn_sequential():
    net = network()
    state = state_dict(net)
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    np.testing.assert_array_equal(state["2.weight"], net.W[2])
    np.testing.assert_array_equal(state["2.bias"], net.b[2][:, 0])
    assert list(state_dict(net, layers=("fc1", "fc2", "out")))[::2] == ["fc1.weight", "fc2.weight", "out.weight"]


def test_the_names_and_shapes_are_those_of_keras():
    net = network()
    weights = keras_weights(net)
    assert list(weights) == [
        f"{name}/{kind}" for name in ("dense", "dense_1", "dense_2") for kind in ("kernel", "bias")
    ]
    np.testing.assert_array_equal(weights["dense_1/kernel"], net.W[2].T)
    assert list(keras_weights(net, layers="abc"))[::2] == ["a/kernel", "b/kernel", "c/kernel"]


def test_what_leaves_is_no_view_of_theta():
    net = network()
    before = net.theta.copy()
    for array in (*state_dict(net).values(), *keras_weights(net).values()):
        array += 1.0
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize(("write", "read"), [(state_dict, from_state_dict), (keras_weights, from_keras)])
def test_the_scaler_leaves_as_a_part_of_the_first_layer(write, read):
    rows = columns().T * [1e-3, 1.0, 50.0, 7.0] + [5.0, -1.0, 100.0, 0.0]
    net = network(scaler=Scaler.fit(rows), dtype="float64")
    plain = arrive(write(net), read)
    assert plain.scaler is None
    np.testing.assert_allclose(plain.predict_proba(rows.T), net.predict_proba(rows.T), rtol=1e-10)


@pytest.mark.parametrize(("write", "read"), [(state_dict, from_state_dict), (keras_weights, from_keras)])
def test_the_unit_of_the_targets_leaves_as_a_part_of_the_last_layer(write, read):
    unit = Scaler("standard", np.array([2e5, -3.0]), np.array([1e-4, 2.0]))
    net = network((4, 6, 2), loss="squared-error", target_scaler=unit, scaler=Scaler.fit(columns().T), dtype="float64")
    plain = arrive(write(net), read, ("tanh", "squared-error"))
    assert plain.target_scaler is None
    np.testing.assert_allclose(plain.predict(columns()), net.predict(columns()), rtol=1e-12)


def test_names_must_be_one_for_each_layer():
    for names in (("a", "b"), ("a", "b", "b"), ("a", "b", "c", "d")):
        for write in (state_dict, keras_weights):
            with pytest.raises(ConfigError, match="a name for each of the 3 layers, got a, b"):
                write(network(), layers=names)


# what arrives


def test_the_precision_is_that_of_the_weights():
    state = state_dict(network())
    assert arrive(state).dtype == "float32"
    assert arrive({name: values.astype(np.float16) for name, values in state.items()}).dtype == "float32"
    assert arrive(state | {"4.bias": np.zeros(3)}).dtype == "float64"
    assert arrive(state | {"4.bias": np.zeros(3)}, dtype="float32").dtype == "float32"


def test_a_layer_without_a_bias_has_one_of_zeros():
    state = state_dict(network())
    del state["2.bias"]
    np.testing.assert_array_equal(arrive(state).b[2], np.zeros((5, 1)))


def test_what_weights_do_not_say_is_given_to_the_network():
    scaler = Scaler.fit(columns().T)
    net = arrive(state_dict(network()), how=(["relu", "gelu"], "sigmoid-cross-entropy"), scaler=scaler, classes="abc")
    assert [g.name for g in net.g[1:]] == ["relu", "gelu", "sigmoid"]
    assert (net.scaler, net.classes) == (scaler, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "2", "4", "10"], ["0", "2", "4", "10"]),
        (["0", "10", "2", "4"], ["0", "2", "4", "10"]),  # as a file has sorted them
        (["fc2", "fc1"], ["fc2", "fc1"]),  # not sorted, so the order of a state dict
        (["out", "in"], ["out", "in"]),
        (["blocks.1.lin.0", "blocks.1.lin.1", "blocks.10.lin.0", "blocks.2.lin.0"],
         ["blocks.1.lin.0", "blocks.1.lin.1", "blocks.2.lin.0", "blocks.10.lin.0"]),
        (["dense", "dense_1", "dense_10", "dense_2"], ["dense", "dense_1", "dense_2", "dense_10"]),
    ],
)  # fmt: skip
def test_layers_come_in_the_order_of_the_names_and_sorted_ones_in_that_of_their_numbers(names, expected):
    named = square(names)
    assert order(arrive(named), named) == [f"{name}.weight" for name in expected]


def test_sorted_names_without_numbers_need_to_be_told_their_order_unless_the_sizes_tell_it():
    named = square(["hidden", "in", "out"])
    with pytest.raises(ConfigError, match=r"hidden, in, out are in the order of the alphabet.*layers=\('hidden', 'in'"):
        arrive(named)
    told = ["in", "hidden", "out"]
    assert order(arrive(named, layers=told), named) == [f"{name}.weight" for name in told]
    autoencoder = {"decoder.weight": np.ones((4, 3)), "encoder.weight": np.ones((3, 4))}  # 3-4-3, or 4-3-4?
    same = {f"{name}.weight": np.ones(shape) for name, shape in (("a", (3, 4)), ("b", (3, 3)), ("c", (3, 3)))}
    for unclear in (autoencoder, same):
        with pytest.raises(ConfigError, match="say which is first"):
            arrive(unclear)
    sizes = {"first.weight": np.ones((4, 3)), "second.weight": np.ones((5, 4))}
    assert arrive(sizes).sizes == (3, 4, 5)


def test_layers_that_are_named_must_be_those_that_are_there():
    with pytest.raises(ConfigError, match="layers must name each of a, b once, got a, c"):
        arrive(square("ab"), layers=("a", "c"))


BIAS = np.zeros(3)
NORM = {"0.weight": np.ones((3, 3)), "1.weight": np.ones(3), "1.bias": BIAS}


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({}, DataError, "there are no weights; their names are such as '0.weight'"),
        ({"1.running_mean": BIAS}, DataError, "'1.running_mean' is neither a weight, a kernel nor a bias"),
        (NORM, ShapeError, r"'1\.weight' has shape \(3,\); a weight has a row for each unit"),
        ({"0.weight": np.ones((8, 3, 3, 3))}, ShapeError, r"\(8, 3, 3, 3\).*there are only dense layers here"),
        ({"0.weight": np.ones((0, 3))}, ShapeError, r"has shape \(0, 3\)"),
        ({"0.weight": np.ones((3, 3)), "0.bias": np.ones((3, 1))}, ShapeError, r"'0\.bias' has shape \(3, 1\); a bias"),
        ({"0.bias": BIAS}, DataError, "the layer '0' has a bias and no weight"),
        ({"0.weight": np.ones((3, 3)), "0.kernel": np.ones((3, 3))}, DataError, "'0.kernel' is a second weight"),
        ({"0.weight": np.ones((3, 3), "i1")}, DataError, r"is of dtype int8; pass it as float32"),
        ({"0.weight": np.ones((3, 3), "c8")}, DataError, r"is of dtype complex64"),
        ({"0.weight": np.ones((5, 3)), "0.bias": BIAS}, ShapeError, "5 units and a bias of 3; its weight may be"),
        ({"0.weight": np.ones((5, 4)), "0.bias": BIAS}, ShapeError, "5 units and a bias of 3$"),
        ({"0.weight": np.ones((5, 4)), "2.weight": np.ones((3, 6))}, ShapeError,
         "the layer '2' takes 6 inputs, and '0' before it has 5 units; pass their order"),
    ],
)  # fmt: skip
def test_what_is_no_network_of_dense_layers_is_said_in_a_sentence(named, error, message):
    with pytest.raises(error, match=message):
        arrive(named)


def test_wrong_names_of_activations_and_links_are_the_networks_own_errors():
    with pytest.raises(ConfigError, match="unknown activation 'mish'"):
        arrive(state_dict(network()), how=("mish", "softmax-cross-entropy"))


# Keras: a list, names, or something that has layers


class Dense:
    """What is asked of a Keras layer."""

    def __init__(self, name, *arrays):
        self.name, self.arrays = name, arrays

    def get_weights(self):
        return list(self.arrays)


class Model(Dense):
    def __init__(self, name, *layers):
        super().__init__(name)
        self.layers = layers


def test_a_list_of_weights_is_kernels_with_or_without_their_biases():
    net = network()
    arrays = list(keras_weights(net).values())
    np.testing.assert_array_equal(arrive(arrays, from_keras).theta, net.theta)
    bare = arrive([arrays[0], arrays[2], arrays[4], arrays[5]], from_keras)
    np.testing.assert_array_equal(bare.W[2], net.W[2])
    np.testing.assert_array_equal(bare.b[2], 0.0)
    for wrong in ([BIAS], [np.ones((3, 3)), BIAS, BIAS, BIAS]):
        with pytest.raises(DataError, match=r"array \d of the weights has shape \(3,\); a kernel .* come in turn"):
            arrive(wrong, from_keras)


def test_a_model_gives_its_layers_in_their_order_and_those_of_models_among_them():
    named = square(["z", "a", "m"], "kernel")
    z, a, m = named.values()
    model = Model("model", Dense("z", z), Dense("dropout"), Model("part", Dense("a", a, BIAS), Dense("m", m)))
    net = arrive(model, from_keras)
    for l, kernel in enumerate((z, a, m), 1):
        np.testing.assert_array_equal(net.W[l], kernel.T)


def test_a_model_with_another_layer_is_refused_by_its_name():
    norm = Dense("normal", *[BIAS] * 4)
    with pytest.raises(DataError, match="the layer 'normal' has 4 arrays: it is not dense"):
        arrive(Model("model", Dense("dense", np.ones((3, 3)), BIAS), norm), from_keras)
    with pytest.raises(ShapeError, match=r"'normal/kernel' has shape \(3,\)"):
        arrive(Model("model", Dense("normal", BIAS, BIAS)), from_keras)


def test_keras_names_as_its_files_and_paths_have_them():
    net = network()
    old = {f"{name}:0": values for name, values in keras_weights(net).items()}
    paths = {f"sequential_1/{name}": values for name, values in keras_weights(net).items()}
    for named in (old, paths):
        np.testing.assert_array_equal(arrive(named, from_keras).theta, net.theta)


# files


def test_the_plain_package_reads_a_model_file_and_what_is_read_is_the_weights(tmp_path):
    reader = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    net = network(scaler=Scaler.fit(columns().T))
    net.save(tmp_path / "model.safetensors")
    tensors = reader.load_file(tmp_path / "model.safetensors")
    assert set(tensors) == {"W1", "b1", "W2", "b2", "W3", "b3", "scaler.shift", "scaler.factor"}
    np.testing.assert_array_equal(tensors["W2"], net.W[2])


def test_a_file_of_another_program_arrives_in_the_right_order_and_load_says_how(tmp_path):
    writer = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    net, path = network((3,) * 8), tmp_path / "other.safetensors"
    writer.save_file(state_dict(net), path)
    tensors, _ = safetensors.read(path)
    assert list(tensors)[:4] == ["0.bias", "0.weight", "10.bias", "10.weight"]  # as the format's own package sorts them
    np.testing.assert_array_equal(arrive(tensors).theta, net.theta)
    with pytest.raises(ModelFileError, match=r"deepxp\.exchange\.from_state_dict makes a network of"):
        dx.load(path)


@pytest.mark.parametrize("name", ["9" * 5000 + ".weight", "." * 300 + "weight", "weight", "/bias", "\x1b[2J", ""])
def test_names_from_a_file_of_a_stranger_are_only_names(name):
    with suppress(ConfigError, DataError):
        assert arrive({"0.weight": np.ones((3, 3)), name: np.ones((3, 3))}).L == 2
