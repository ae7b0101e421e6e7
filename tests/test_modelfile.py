import ast
import importlib.util
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp import safetensors
from deepxp.data import Scaler
from deepxp.data.scaling import KINDS

PACKAGE = Path(importlib.util.find_spec("deepxp").submodule_search_locations[0])


def network(sizes=(4, 6, 3), hidden="relu", loss="softmax-cross-entropy", **options):
    return dx.Network(sizes, hidden, loss, **{"backend": "cpu", "seed": 2} | options)


def table(m=9, n=4):
    return np.random.default_rng(0).standard_normal((m, n))


def swish(xp, Z):
    return Z / (1.0 + xp.exp(-Z))


def swish_backward(xp, dA, Z):
    s = 1.0 / (1.0 + xp.exp(-Z))
    return dA * (s + Z * s * (1.0 - s))


SCALER = Scaler("standard", np.arange(1.0, 5.0), np.array([0.5, 1.0, 2.0, 1 / 3]))
UNIT = Scaler("standard", np.array([2e5, -3.0]), np.array([1e-4, 2.0]))


# there and back

NETS = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "one layer": {"sizes": (4, 3)},
    "two classes": {"sizes": (4, 6, 1), "loss": "sigmoid-cross-entropy", "classes": ("no", "yes")},
    "numbers": {"sizes": (4, 5, 2), "loss": "squared-error"},
    "activations": {"sizes": (4, 5, 6, 7, 3), "hidden": ("gelu", "tanh", "leaky_relu")},
    "dropout": {"sizes": (4, 5, 6, 3), "dropout": (0.5, 0.1)},
    "scaler": {"scaler": SCALER},
    "numbers in their unit": {"sizes": (4, 5, 2), "loss": "squared-error", "scaler": SCALER, "target_scaler": UNIT},
    "classes": {"classes": ("zéro", "one", "")},
    "a large seed": {"seed": 2**64 - 1},
    "everything": {"dtype": "float64", "scaler": SCALER, "dropout": 0.25, "classes": ("a", "b", "c"), "seed": 9},
}


@pytest.mark.parametrize("name", NETS)
def test_a_network_comes_back_as_it_was(name, tmp_path):
    net = network(**NETS[name])
    net.epochs = 17
    net.save(tmp_path / "m.safetensors")
    back = dx.load(tmp_path / "m.safetensors", backend="cpu")
    for field in ("sizes", "g", "loss", "dtype", "seed", "dropout", "classes", "epochs", "keep"):
        assert getattr(back, field) == getattr(net, field)
    assert_array_equal(back.theta, net.theta)
    assert back.theta.dtype == net.theta.dtype
    for ours, theirs in ((net.scaler, back.scaler), (net.target_scaler, back.target_scaler)):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert theirs.kind == ours.kind
            assert_array_equal(theirs.shift, ours.shift)
            assert_array_equal(theirs.factor, ours.factor)
    assert back.predict_proba(table().T).tobytes() == net.predict_proba(table().T).tobytes()


def test_what_is_loaded_trains_on_as_what_was_saved_would(tmp_path):
    nets, y = [network(dropout=0.5)], np.arange(9) % 3
    dx.train(nets[0], table().T, y, epochs=2, batch_size=4)
    nets[0].save(tmp_path / "m")
    nets.append(dx.load(tmp_path / "m", "cpu"))
    for net in nets:
        dx.train(net, table().T, y, epochs=2, batch_size=4)
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes()
    assert nets[1].epochs == 4


def test_an_activation_of_ones_own_is_asked_for_by_name(tmp_path):
    own = dx.Activation("swish", swish, swish_backward)
    net = network((4, 5, 6, 3), ("relu", own))
    net.save(tmp_path / "m")
    with pytest.raises(dx.ConfigError, match=r"'swish' of the user's own; pass it: deepxp\.load\(path, activations="):
        dx.load(tmp_path / "m", "cpu")
    back = dx.load(tmp_path / "m", "cpu", activations=[own])
    assert back.g == net.g
    assert_array_equal(back.predict_proba(table().T), net.predict_proba(table().T))


def test_equal_networks_make_equal_files(tmp_path):
    for name in "ab":
        network(scaler=SCALER).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_replaces_a_file_whole_or_not_at_all(tmp_path):
    network().save(tmp_path / "m")
    network(seed=3).save(tmp_path / "m")
    assert_array_equal(dx.load(tmp_path / "m", "cpu").theta, network(seed=3).theta)
    assert os.listdir(tmp_path) == ["m"]
    with pytest.raises(dx.ModelFileError, match=r"nowhere.*create the folder first"):
        network().save(tmp_path / "nowhere" / "m")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(dx.ModelFileError, match="folder"):
        network().save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
    assert stat.S_ISDIR((tmp_path / "folder").stat().st_mode)


# what is in it


def test_the_reference_reader_opens_it(tmp_path):
    reference = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    net = network((4, 5, 6, 3), scaler=SCALER)
    net.save(tmp_path / "m.safetensors")
    tensors = reference.load_file(tmp_path / "m.safetensors")
    assert set(tensors) == {"W1", "W2", "W3", "b1", "b2", "b3", "scaler.shift", "scaler.factor"}
    for l in (1, 2, 3):
        assert_array_equal(tensors[f"W{l}"], net.W[l])
        assert_array_equal(tensors[f"b{l}"], net.b[l])
        assert tensors[f"W{l}"].shape == (net.sizes[l], net.sizes[l - 1])
    assert_array_equal(tensors["scaler.shift"], SCALER.shift)


def test_the_description_is_one_json_text(tmp_path):
    network(dropout=0.5, classes=("a", "b", "c")).save(tmp_path / "m")
    described = json.loads(safetensors.read(tmp_path / "m")[1]["deepxp"])
    assert described["format"] == 1
    assert described["sizes"] == [4, 6, 3]
    assert (described["hidden"], described["loss"]) == (["relu"], "softmax-cross-entropy")
    assert (described["dropout"], described["classes"], described["scaler"]) == ([0.5], ["a", "b", "c"], None)
    assert "target_scaler" not in described  # what older versions read stays as it was


def test_a_file_with_a_scaler_of_targets_is_of_format_2(tmp_path):
    network(sizes=(4, 5, 2), loss="squared-error", target_scaler=UNIT).save(tmp_path / "m")
    tensors, metadata = safetensors.read(tmp_path / "m")
    described = json.loads(metadata["deepxp"])
    assert (described["format"], described["target_scaler"]) == (2, "standard")
    assert_array_equal(tensors["target.shift"], UNIT.shift)
    assert_array_equal(tensors["target.factor"], UNIT.factor)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "auto"])
def test_targets_scaled_in_any_way_come_back(tmp_path, kind):
    scaler = Scaler.fit(np.arange(8, dtype=np.uint8).reshape(4, 2), kind)
    net = network(sizes=(4, 5, 2), loss="squared-error", target_scaler=scaler)
    net.save(tmp_path / "m")
    back = dx.load(tmp_path / "m", "cpu")
    assert back.target_scaler.kind == kind
    assert_array_equal(back.predict(table().T), net.predict(table().T))


def names_called(tree):
    """Every name and attribute that a module mentions, and every module that it imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"allow_pickle={ast.unparse(node.value)}"


RUNS_CODE = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "eval",
    "exec",
    "allow_pickle=True",
}


def test_no_data_is_ever_run():
    for path in PACKAGE.rglob("*.py"):
        found = RUNS_CODE & set(names_called(ast.parse(path.read_text(encoding="utf-8"))))
        assert not found, f"{path.name}: {found}"


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "eval('1')", "def f():\n    exec(x)", "load(x, allow_pickle=True)"],
)
def test_the_check_for_running_data_sees_it(source):
    assert RUNS_CODE & set(names_called(ast.parse(source)))


# files that are not whole, or not ours


def rewrite(path, change=lambda described: described, drop=(), **tensors):
    """The file at `path` with its description and its tensors changed, and valid checksums."""
    old, metadata = safetensors.read(path)
    described = change(json.loads(metadata["deepxp"]))
    tensors = {name: array for name, array in (old | tensors).items() if name not in drop}
    safetensors.write(path, tensors, {"deepxp": described if isinstance(described, str) else json.dumps(described)})


def saved(tmp_path, **options):
    network(**options).save(tmp_path / "m")
    return tmp_path / "m"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(dx.ModelFileError, match=r"nothing.*No such file"):
        dx.load(tmp_path / "nothing", "cpu")


def test_a_file_of_another_program(tmp_path):
    safetensors.write(tmp_path / "m", {"weight": np.ones(3)}, {"format": "pt"})
    with pytest.raises(dx.ModelFileError, match=r"m: not a deepxp model: a safetensors file of another program"):
        dx.load(tmp_path / "m", "cpu")


def test_the_reference_writer_makes_a_file_of_another_program(tmp_path):
    reference = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    reference.save_file({"W1": np.ones((3, 4), np.float32)}, tmp_path / "m")
    with pytest.raises(dx.ModelFileError, match="not a deepxp model"):
        dx.load(tmp_path / "m", "cpu")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04\x95", b"x" * 100, b"{}"])
def test_a_file_of_another_kind(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(dx.ModelFileError, match="cannot read"):
        dx.load(tmp_path / "m", "cpu")


@pytest.mark.parametrize("number", [3, 10**9])
def test_a_newer_format(tmp_path, number):
    path = saved(tmp_path)
    rewrite(path, lambda described: described | {"format": number})
    with pytest.raises(dx.ModelFileError, match=rf"m: model format {number}, this deepxp reads up to 2; update deepxp"):
        dx.load(path, "cpu")


@pytest.mark.parametrize("size", [0, 7, 8, 100, 500, 900])
def test_a_file_cut_short(tmp_path, size):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(dx.ModelFileError, match="m"):
        dx.load(path, "cpu")


def test_a_flipped_bit_anywhere(tmp_path):
    path = saved(tmp_path, scaler=SCALER)
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 7):
        damaged = whole.copy()
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        with pytest.raises(dx.ModelFileError):
            dx.load(path, "cpu")


def test_tensors_that_do_not_fit_the_sizes(tmp_path):
    for change in (
        {"W1": np.ones((6, 5), np.float32)},
        {"W1": np.ones((4, 6), np.float32)},
        {"b2": np.ones(3, np.float32)},
        {"b2": np.ones((3, 1), np.float64)},
    ):
        path = saved(tmp_path)
        rewrite(path, **change)
        with pytest.raises(dx.ModelFileError, match=f"tensor {min(change)} is .* the sizes need float32"):
            dx.load(path, "cpu")


def test_tensors_too_many_and_too_few(tmp_path):
    for change in ({"W3": np.ones((2, 3), np.float32)}, {"drop": ("b1",)}):
        path = saved(tmp_path)
        rewrite(path, **change)
        with pytest.raises(dx.ModelFileError, match="its sizes need 4 tensors, it has"):
            dx.load(path, "cpu")


WRONG = {
    "sizes": [
        None,
        4,
        "4-6-3",
        [],
        [4],
        [4, 0, 3],
        [4, -6, 3],
        [4, 6.0, 3],
        ["4", "6", "3"],
        [True, 6, 3],
        [4, 2**40, 3],
    ],
    "hidden": [None, "relu", [], ["relu", "relu"], [None], [3], [["relu"]], {"relu": 1}],
    "loss": [None, 3, [], {}, ["squared-error"], True],
    "dtype": [None, 32, "float16", "object", [], {}, ""],
    "seed": [None, -1, 2**64, 1.5, "0", [], True],
    "dropout": [None, 0.5, [], [0.5, 0.5], ["0.5"], [None], [True], {}, [[0.5]]],
    "epochs": [None, -1, 1.5, "3", [], 2**70, True],
    "classes": ["abc", 3, [1, 2, 3], [None, None, None], {}, [["a"], ["b"], ["c"]]],
    "scaler": ["", 3, [], {}, True, "standard"],
    "target_scaler": ["", 3, [], {}, True, "minmax", "standard"],
    "version": [None, 1, []],
    "notes": [None, "", []],
    "format": [None, "1", 1.5, 0, -1, [], {}, True],
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_another_type(tmp_path, field):
    for value in WRONG[field]:
        path = saved(tmp_path, dropout=0.5)
        rewrite(path, lambda described: described | {field: value})  # noqa: B023 - called at once
        with pytest.raises(dx.ModelFileError, match="m: "):
            dx.load(path, "cpu")


@pytest.mark.parametrize("field", [field for field in WRONG if field not in ("version", "notes", "target_scaler")])
def test_a_field_that_is_missing(tmp_path, field):
    path = saved(tmp_path)
    rewrite(path, lambda described: {key: value for key, value in described.items() if key != field})
    with pytest.raises(dx.ModelFileError, match=f"does not describe a deepxp network: .*{field}"):
        dx.load(path, "cpu")


@pytest.mark.parametrize("text", ["", "5", "null", '"relu"', "[]", "[1, 2]", "{", "{}", "[" * 10_000, "NaN"])
def test_a_description_that_is_no_object(tmp_path, text):
    path = saved(tmp_path)
    rewrite(path, lambda described: text)
    with pytest.raises(dx.ModelFileError, match="does not describe a deepxp network"):
        dx.load(path, "cpu")


def test_names_and_numbers_are_the_networks_business(tmp_path):
    for field, value, message in (
        ("loss", "hinge", "unknown loss 'hinge'"),
        ("hidden", ["swash"], "'swash' of the user's own"),
        ("dropout", [1.0], "0 <= rate < 1"),
        ("dropout", [float("nan")], "0 <= rate < 1"),
        ("classes", ["a"], "names of 3 classes"),
    ):
        path = saved(tmp_path)
        rewrite(path, lambda described: described | {field: value})  # noqa: B023 - called at once
        with pytest.raises(dx.ConfigError, match=message):
            dx.load(path, "cpu")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["relu", "float32"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(changes=st.dictionaries(st.sampled_from([*WRONG, "extra"]), JSON, min_size=1, max_size=3))
def test_whatever_the_description_says_only_two_errors_are_raised(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    with mock.patch("os.fsync"):  # a hundred files need not survive a power cut
        network(dropout=0.5).save(path)
        rewrite(path, lambda described: described | changes)
        with suppress(dx.ModelFileError, dx.ConfigError):
            net = dx.load(path, "cpu")
            net.predict(table().T)
            net.save(path)


@settings(derandomize=True, max_examples=40, deadline=None, database=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_every_network_comes_back(tmp_path_factory, sizes, seed, data):
    names = st.sampled_from(["relu", "tanh", "gelu", "softmax", "identity"])
    layers = len(sizes) - 2
    net = network(
        sizes,
        data.draw(st.lists(names, min_size=layers, max_size=layers)),
        data.draw(st.sampled_from(["squared-error", "sigmoid-cross-entropy"])),
        dtype=data.draw(st.sampled_from(["float32", "float64"])),
        dropout=data.draw(st.lists(st.floats(0, 0.999), min_size=layers, max_size=layers)),
        seed=seed,
    )
    path = tmp_path_factory.getbasetemp() / "any"
    with mock.patch("os.fsync"):
        net.save(path)
    back = dx.load(path, "cpu")
    assert (back.sizes, back.g, back.dropout, back.seed, back.dtype) == (
        net.sizes, net.g, net.dropout, net.seed, net.dtype,
    )  # fmt: skip
    assert back.theta.tobytes() == net.theta.tobytes()
