"""`deepxp export`: a file that is whole, never in the place of another by accident, and a figure of how close it is."""

import json
import sys

import numpy as np
import pytest

import deepxp as dx
from deepxp import safetensors
from deepxp.cli import main
from deepxp.data import Scaler
from deepxp.exchange import from_state_dict, keras_weights, state_dict


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The path of a model, in the working folder; its class and feature names would steer a terminal."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).standard_normal((50, 4)) * [1.0, 2.0, 3.0, 4.0] + 1.0
    net = dx.Network((4, 5, 3), "tanh", backend="cpu", scaler=Scaler.fit(rows), classes=("ant", "bee", "\x1b[2Jcat"))
    net.save("model.safetensors", notes={"features": ["a", "b", "c", "\x1b[2Jd"]})
    return tmp_path / "model.safetensors"


def failure(capsys, *argv):
    """The exit code and the one line of error."""
    code = main(["export", "model.safetensors", *argv])
    out, err = capsys.readouterr()
    assert not out and err.startswith("deepxp: error: ") and err.count("\n") == 1
    return code, err


@pytest.mark.parametrize(("flag", "weights"), [("--torch", state_dict), ("--keras", keras_weights)])
def test_weights_are_written_by_name_and_the_scaler_is_in_the_first_layer(model, capsys, flag, weights):
    assert main(["export", "model.safetensors", flag, "w.safetensors"]) == 0
    out = capsys.readouterr().out
    first, second = ("0", "2") if flag == "--torch" else ("dense", "dense_1")
    assert f"{first}{'.weight' if flag == '--torch' else '/kernel'}, {first}" in out and f"{second}" in out
    assert "the scaler in the first" in out and "e-0" in out
    net = dx.load(model, "cpu")
    tensors, metadata = safetensors.read("w.safetensors")
    assert metadata.get("format") == ("pt" if flag == "--torch" else None)  # what readers for PyTorch ask for
    assert tensors.keys() == weights(net).keys()
    for name, values in weights(net).items():
        np.testing.assert_array_equal(tensors[name], values)
    X = np.random.default_rng(1).standard_normal((4, 6))
    arrived = from_state_dict(tensors, "tanh", "softmax-cross-entropy", backend="cpu")
    np.testing.assert_allclose(arrived.predict_proba(X), net.predict_proba(X), atol=1e-6)


def test_the_result_is_one_json_object(model, capsys):
    assert main(["export", "model.safetensors", "--torch", "w.safetensors", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["model"], result["file"]) == ("model.safetensors", "w.safetensors")
    assert result["weights"] == "0.weight, 0.bias, 2.weight, 2.bias, the scaler in the first"
    assert 0.0 < result["difference"] < 1e-6 and "difference" in err


def test_a_file_that_is_there_is_left_alone_unless_forced(model, capsys):
    before = model.read_bytes()
    (model.parent / "w.safetensors").write_text("other")
    for flag in ("--torch", "--keras", "--onnx"):
        code, err = failure(capsys, flag, "w.safetensors")
        assert code == 1 and "exists already; choose another file, or --force to replace it" in err
        for force in ((), ("--force",)):
            code, err = failure(capsys, flag, "model.safetensors", *force)
            assert code == 2 and "model.safetensors is read itself; choose another file" in err
    assert model.read_bytes() == before
    assert (model.parent / "w.safetensors").read_text() == "other"
    assert main(["export", "model.safetensors", "--torch", "w.safetensors", "--force"]) == 0
    assert safetensors.read("w.safetensors")[0]


def test_the_folder_of_a_run_stands_for_its_model(model, capsys):
    (model.parent / "runs").mkdir()
    model.rename(model.parent / "runs" / "model.safetensors")
    assert main(["export", "runs", "--torch", "w.safetensors"]) == 0
    assert "runs/model.safetensors" in capsys.readouterr().out
    with pytest.raises(dx.ModelFileError, match=r"^runs: the folder of a run, whose model is runs/model.safetensors"):
        dx.load("runs")
    assert main(["export", "runs", "--torch", "runs/model.safetensors", "--force"]) == 2
    (model.parent / "empty").mkdir()
    assert main(["export", "empty", "--torch", "other.safetensors"]) == 2
    assert "empty is a folder without model.safetensors" in capsys.readouterr().err


def test_a_link_to_nowhere_is_no_free_place(model, capsys):
    (model.parent / "link.safetensors").symlink_to("nowhere")
    assert failure(capsys, "--torch", "link.safetensors")[0] == 1
    assert not (model.parent / "nowhere").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "one of the arguments --onnx --torch --keras is required"),
        (("--onnx", "a", "--torch", "b"), "not allowed with argument"),
        (("--torch", "w.pt"), "w.pt: weights are written to a .safetensors file; read it with safetensors.torch"),
        (("--torch", "w.safetensors", "--check"), "--check is of --onnx"),
        (("--keras", "w.safetensors", "--rows", "float64"), "--rows is of --onnx"),
        (("--onnx", "m.onnx", "--rows", "float16"), "invalid choice: 'float16'"),
        (("--onyx", "m.onnx"), "--onnx"),
    ],
)
def test_a_wrong_call_is_said_before_anything_is_read(model, capsys, argv, message):
    model.unlink()
    code, err = failure(capsys, *argv)
    assert code == 2 and message in err
    assert not list(model.parent.iterdir())


def test_a_scaler_that_single_precision_does_not_hold_is_refused(model, capsys):
    seconds = 1_790_000_000.0 + 10.0 * np.arange(64.0)[:, None]
    net = dx.Network((1, 5, 2), "tanh", backend="cpu", scaler=Scaler.fit(seconds))
    net.save(model)
    code, err = failure(capsys, "--torch", "w.safetensors")
    assert code == 1 and "float32 does not hold its shifts; train on smaller numbers or with --dtype float64" in err
    assert [path.name for path in model.parent.iterdir()] == ["model.safetensors"]
    net.to(dtype="float64").save(model)
    assert main(["export", "model.safetensors", "--torch", "w.safetensors"]) == 0


def test_without_the_packages_the_extra_is_named(model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, err = failure(capsys, "--onnx", "m.onnx")
    assert code == 2 and "writing ONNX takes onnx: python -m pip install onnx onnxruntime" in err
    assert not (model.parent / "m.onnx").exists()


# with onnx


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra onnx, is not installed")
    return pytest.importorskip("onnx", reason="onnx, of the extra onnx, is not installed")


@pytest.mark.interop
def test_a_graph_is_written_checked_and_described(model, capsys, onnx):
    assert main(["export", "model.safetensors", "--onnx", "m.onnx", "--check"]) == 0
    out, err = capsys.readouterr()
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert not err and "\x1b" not in out
    assert lines["opset"] == "13"
    assert lines["input"] == "X (m, 4) float32"
    assert lines["output"] == "probabilities (m, 3) float32, labels (m,) int64"
    assert float(lines["difference"].split()[0]) < 1e-6 and "on 256 samples in onnxruntime" in out
    onnx.checker.check_model("m.onnx", full_check=True)
    assert sorted(path.name for path in model.parent.iterdir()) == ["m.onnx", "model.safetensors"]


@pytest.mark.interop
def test_the_difference_is_in_the_json_only_where_it_was_looked_at(model, capsys, onnx):
    assert main(["export", "model.safetensors", "--onnx", "m.onnx", "--rows", "float64", "--check", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["difference"] < 1e-6 <= result["allowed"] and result["input"] == "X (m, 4) float64"
    assert main(["export", "model.safetensors", "--onnx", "m.onnx", "--force", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "difference" not in json.loads(out) and "not looked at; --check runs it in onnxruntime" in err


@pytest.mark.interop
def test_a_graph_that_says_other_things_is_not_written(model, capsys, onnx, monkeypatch):
    from deepxp.ops import batches

    monkeypatch.setattr("deepxp.exchange.model.batches", type("", (), {"scale": lambda *arrays: None}))
    assert batches.scale  # the network's own is as it was
    code, err = failure(capsys, "--onnx", "m.onnx", "--check")
    assert code == 1 and "onnxruntime differs from the network by " in err and "nothing was written" in err
    assert not (model.parent / "m.onnx").exists()


@pytest.mark.interop
def test_without_onnxruntime_a_graph_is_written_and_a_check_asks_for_it(model, capsys, onnx, monkeypatch):
    monkeypatch.setattr("deepxp.cli.export.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "model.safetensors", "--onnx", "m.onnx"]) == 0
    assert "--check needs onnxruntime: python -m pip install onnx onnxruntime" in capsys.readouterr().out
    code, err = failure(capsys, "--onnx", "other.onnx", "--check")
    assert code == 2 and "running ONNX takes onnxruntime" in err
    assert not (model.parent / "other.onnx").exists()


@pytest.mark.interop
def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(model, capsys, onnx):
    code, err = failure(capsys, "--onnx", "nowhere/m.onnx")
    assert code == 1 and "nowhere/m.onnx: cannot be written: No such file or directory" in err
    assert [path.name for path in model.parent.iterdir()] == ["model.safetensors"]
