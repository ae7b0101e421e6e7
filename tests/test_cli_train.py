import csv
import importlib
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import deepxp
from deepxp.cli import main
from deepxp.cli.wording import as_flags

SMALL = ("--hidden", "8", "--epochs", "2", "--device", "cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_blas_thread():
    """Threads that wait for each other make these small products slow wherever tests share the machine."""
    try:
        from threadpoolctl import threadpool_limits  # scikit-learn brings it
    except ImportError:
        yield
    else:
        with threadpool_limits(1):
            yield


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(capsys, *argv):
    """The JSON object of a run that has to succeed."""
    code = main(["train", *argv, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def fails(capsys, *argv):
    """Exit code and the one line on stderr of a run that has to fail, and says nothing on stdout."""
    code = main(["train", *argv, "-q"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("deepxp: error: ") and err.count("\n") == 1
    return code, err


def table(path, X, y, header=True):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow([*(f"x{j}" for j in range(X.shape[1])), "kind"])
        writer.writerows([*row, label] for row, label in zip(X.tolist(), y, strict=True))
    return str(path)


def blobs(classes, m=120, n=4):
    random = np.random.default_rng(7)
    y = np.arange(m) % classes
    return random.standard_normal((m, n)) + 4 * random.standard_normal((classes, n))[y], y


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_reach_97_percent(capsys, seed):
    result = train(capsys, "--seed", str(seed), "--device", "cpu")
    assert result["test"]["accuracy"] >= 0.97
    assert result["epochs"] == 30
    assert result["device"] == "cpu"


def test_what_a_run_says(capsys):
    assert main(["train", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "device      cpu, as asked for" in out
    assert "digits: 1,797 samples, 64 features, 10 classes" in out
    assert "1,294 to train; 144 to validate; 359 to test" in out
    assert "64-8-10, relu, softmax-cross-entropy, float32" in out
    assert "float32: 610 parameters" in out
    assert "2 epochs of 21 steps with 64 samples, adam, lr 0.002 (cosine)" in out
    assert "\repoch" not in out
    epochs = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert "test        accuracy" in out
    assert "model       runs/digits-1/model.safetensors" in out


def test_memory_is_named_before_training(capsys):
    main(["train", *SMALL])
    net = deepxp.Network((64, 8, 10), backend="cpu")
    need = deepxp.footprint.memory_need(net, deepxp.Adam(), 64)
    data = 1294 * (64 + 4)  # pixels in a byte, labels in four
    said = f"memory      {(need + data) / 1000:.3g} kB: {need / 1000:.3g} kB for the network and a batch, "
    assert said in capsys.readouterr().out


def test_auto_says_why_the_cpu(capsys, monkeypatch):
    from deepxp.devices import Device

    monkeypatch.setattr("deepxp.cli.train.backend_of", lambda name, precision: deepxp.backend("cpu"))
    monkeypatch.setattr(
        "deepxp.cli.train.devices", lambda: (Device("cpu", True, ""), Device("gpu", False, "", "It is out.", "Buy one"))
    )
    assert main(["train", "--hidden", "4", "--epochs", "1"]) == 0
    assert "device      cpu: no usable GPU (It is out)" in capsys.readouterr().out
    resolved = tomllib.loads(Path("runs/digits-1/config.toml").read_text("utf-8"))
    assert (resolved["device"], resolved["loss"], resolved["scale"]) == ("cpu", "softmax-cross-entropy", "range")
    assert (resolved["lr"], resolved["batch-size"]) == (0.002, 64)


def test_a_gpu_that_is_not_usable_is_an_error_with_its_fix(capsys, monkeypatch):
    from deepxp.devices import UnusableDeviceError

    def unusable(index):
        raise UnusableDeviceError("It is out.", "buy one")

    monkeypatch.setattr(importlib.import_module("deepxp.backend"), "cupy_for", unusable)
    code, err = fails(capsys, "--device", "gpu")
    assert code == 1
    assert "It is out. To fix it: buy one" in err


def test_json_is_the_last_line_of_stdout_and_the_rest_goes_to_stderr(capsys):
    assert main(["train", *SMALL, "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    result = json.loads(out)
    assert set(result) == {"device", "epochs", "seconds", "test", "model"}
    assert set(result["test"]) == {"loss", "accuracy", "f1"}
    assert "epoch 2/2" in err


def test_quiet_says_nothing(capsys):
    assert main(["train", *SMALL, "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_files_of_a_run(capsys, tmp_path):
    result = train(capsys, *SMALL, "--out", "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.safetensors", "metrics.jsonl", "config.toml"}
    assert result["model"] == "run/model.safetensors"
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert {"loss", "lr", "seconds", "validation_loss", "validation_accuracy"} <= set(records[0])
    net = deepxp.load("run/model.safetensors", "cpu")
    assert net.sizes == (64, 8, 10)
    assert net.classes == tuple("0123456789")
    assert net.scaler.kind == "range"


def test_runs_are_numbered(capsys):
    assert [train(capsys, *SMALL)["model"] for _ in range(2)] == [
        "runs/digits-1/model.safetensors",
        "runs/digits-2/model.safetensors",
    ]


def test_a_model_is_replaced_only_by_force(capsys, tmp_path):
    train(capsys, *SMALL, "--out", "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    code, err = fails(capsys, *SMALL, "--out", "run", "--seed", "1")
    assert code == 1
    assert "--force" in err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    train(capsys, *SMALL, "--out", "run", "--seed", "1", "--force")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_folder_that_cannot_be_made_is_known_before_training(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("deepxp.training.train", lambda *a, **k: pytest.fail("it trained"))
    code, err = fails(capsys, *SMALL, "--out", "file/run")
    assert code == 1
    assert "file/run: cannot be made" in err


def test_the_config_of_a_run_repeats_it_to_the_same_bits(capsys, tmp_path):
    options = ["--dropout", "0.2", "--l2", "1e-4", "--seed", "3", "--optimizer", "momentum", "--momentum", "0.8"]
    train(capsys, *SMALL, *options, "--batch-size", "50", "--out", "first")
    train(capsys, "--config", "first/config.toml", "--out", "second")
    first, second = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("first", "second"))
    assert first == second
    train(capsys, "--config", "first/config.toml", "--out", "third", "--seed", "4")
    assert (tmp_path / "third" / "model.safetensors").read_bytes() != first


def test_small_data_get_small_batches(capsys):
    X, y = blobs(3)
    np.savez("small.npz", X=X, y=y)
    assert main(["train", "small.npz", *SMALL]) == 0
    assert "2 epochs of 11 steps with 8 samples" in capsys.readouterr().out
    assert main(["train", "small.npz", *SMALL, "--batch-size", "64"]) == 0
    assert "2 epochs of 2 steps with 64 samples" in capsys.readouterr().out


def test_the_target_is_named(capsys, tmp_path):
    X, y = blobs(3)
    for targets, header, said in (
        (np.array(["ant", "bee", "cat"])[y], True, "3 classes of kind"),
        (np.array(["ant", "bee", "cat"])[y], False, f"3 classes of column {X.shape[1] + 1}"),
        (X[:, 0] / 3, True, "1 number to predict: kind"),
    ):
        assert main(["train", table(tmp_path / "t.csv", X, targets, header), *SMALL]) == 0
        assert f"features, {said}\n" in capsys.readouterr().out


def test_two_classes_by_name(capsys, tmp_path):
    X, y = blobs(2)
    data = table(tmp_path / "two.csv", X, np.array(["no", "yes"])[y])
    result = train(capsys, data, *SMALL, "--epochs", "20", "--target", "kind")
    net = deepxp.load(result["model"], "cpu")
    assert (net.loss.name, net.sizes[-1], net.classes) == ("sigmoid-cross-entropy", 1, ("no", "yes"))
    assert result["test"]["accuracy"] > 0.9
    assert result["model"] == "runs/two-1/model.safetensors"
    softmax = train(capsys, data, *SMALL, "--loss", "softmax-cross-entropy")
    assert deepxp.load(softmax["model"], "cpu").sizes[-1] == 2


@pytest.mark.parametrize("hidden", ["none", ""])
def test_no_hidden_layer(capsys, hidden):
    result = train(capsys, "--hidden", hidden, "--device", "cpu")
    assert deepxp.load(result["model"], "cpu").sizes == (64, 10)
    assert result["test"]["accuracy"] > 0.8


def test_numbers(capsys, tmp_path):
    X = np.random.default_rng(0).standard_normal((200, 3))
    np.savez("numbers.npz", X=X, y=X @ [1.0, -2.0, 0.5] + 0.25)
    result = train(capsys, "numbers.npz", "--epochs", "40", "--batch-size", "16", "--device", "cpu")
    assert set(result["test"]) == {"loss", "r2", "mae", "rmse"}
    assert result["test"]["r2"] > 0.9


def test_whole_numbers_as_numbers(capsys):
    result = train(capsys, *SMALL, "--loss", "squared-error")
    assert "r2" in result["test"]
    assert deepxp.load(result["model"], "cpu").classes is None


def test_several_labels_at_once(capsys):
    X, _ = blobs(3)
    np.savez("labels.npz", X=X, y=(X[:, :2] > 0).astype(int))
    result = train(capsys, "labels.npz", *SMALL, "--epochs", "20")
    net = deepxp.load(result["model"], "cpu")
    assert (net.loss.name, net.sizes[-1]) == ("sigmoid-cross-entropy", 2)
    assert result["test"]["accuracy"] > 0.5


def test_a_test_part_of_its_own(capsys):
    X, y = blobs(3)
    np.savez("parts.npz", x_train=X, y_train=y, x_test=X[:7], y_test=y[:7])
    assert main(["train", "parts.npz", *SMALL]) == 0
    assert "108 to train; 12 to validate; 7 to test" in capsys.readouterr().out
    np.savez("parts.npz", x_train=X, y_train=y, x_test=X[:7], y_test=np.array([0, 1, 2, 3, 0, 0, 0]))
    code, err = fails(capsys, "parts.npz", *SMALL)
    assert code == 1
    assert "test part, row 4: 3 is not a class of this model" in err


def test_no_part_is_held_out_where_none_is_asked_for(capsys):
    assert main(["train", *SMALL, "--test", "0", "--validation", "0", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["test"] is None
    assert "parts       1,797 to train\n" in err


def test_the_scaler_knows_the_training_part_only(capsys):
    X, y = blobs(3)
    np.savez("all.npz", X=X, y=y)
    result = train(capsys, "all.npz", *SMALL, "--scale", "minmax")
    table, order = deepxp.data.Dataset(X, y, "all"), deepxp.rng.split(0, len(X))
    part = deepxp.data.split(table, order=order, test=0.2, validation=0.08, labels=y).train
    np.testing.assert_array_equal(deepxp.load(result["model"], "cpu").scaler.shift, part.X.min(axis=0))


def test_classes_keep_their_shares_in_every_part_and_it_says_so(capsys):
    X, y = blobs(3)
    np.savez("rare.npz", X=X, y=np.where(np.arange(len(X)) % 10, 0, 1))
    assert main(["train", "rare.npz", *SMALL]) == 0
    assert "to test; of every class in its share" in capsys.readouterr().out
    np.savez("own.npz", x_train=X, y_train=y, x_test=X, y_test=y)
    assert main(["train", "own.npz", *SMALL, "--validation", "0"]) == 0
    assert "in its share" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def plainly():
    """theta of a training without the option that is looked at, by the options before it."""
    return {}


@pytest.mark.parametrize(
    ("before", "option"),
    [
        ("", "--l2 0.1"),
        ("", "--clip-norm 0.01"),
        ("", "--dropout 0.3"),
        ("", "--activation tanh"),
        ("", "--scale standard"),
        ("", "--schedule constant"),
        ("", "--schedule step"),
        ("", "--warmup 0"),
        ("", "--batch-size 32"),
        ("", "--lr 0.003"),
        ("", "--optimizer rmsprop"),
        ("", "--dtype float64"),
        ("", "--seed 1"),
        ("", "--class-weight balanced"),
        ("--optimizer momentum", "--momentum 0.5"),
        ("--optimizer adamw", "--weight-decay 0.5"),
    ],
)
def test_every_option_is_passed_on(capsys, plainly, before, option):
    def theta(*options):
        return deepxp.load(train(capsys, *SMALL, *before.split(), *options)["model"], "cpu").theta

    if before not in plainly:
        plainly[before] = theta()
    one, two = plainly[before], theta(*option.split())
    assert np.abs(one - two).max() > 1e-5 or one.dtype != two.dtype


def test_early_stopping_keeps_the_best_weights(capsys):
    options = ["--hidden", "64", "--lr", "0.05", "--schedule", "constant", "--device", "cpu"]
    result = train(capsys, *options, "--epochs", "200", "--patience", "2")
    assert result["epochs"] < 200
    records = [json.loads(line) for line in Path("runs/digits-1/metrics.jsonl").read_text("utf-8").splitlines()]
    losses = [record["validation_loss"] for record in records]
    assert len(losses) == np.argmin(losses) + 1 + 2
    net, digits = deepxp.load(result["model"], "cpu"), deepxp.data.digits()
    order = deepxp.rng.split(0, 1797)
    held = deepxp.data.split(digits, order=order, test=0.2, validation=0.08, labels=digits.y).validation
    found = deepxp.evaluate(net, held.X.T, held.y)
    np.testing.assert_allclose(found["loss"], min(losses), rtol=1e-5)


def test_balanced_classes_change_the_weights(capsys, tmp_path):
    X, y = blobs(2)
    np.savez("rare.npz", X=X[:80], y=np.where(np.arange(80) < 70, 0, y[:80]))
    plain, balanced = (
        deepxp.load(train(capsys, "rare.npz", *SMALL, *options)["model"], "cpu").theta
        for options in ([], ["--class-weight", "balanced"])
    )
    assert np.abs(plain - balanced).max() > 1e-4


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--loss", "sigmoid-cross-entropy"], 2, "10 classes; softmax-cross-entropy does"),
        (["--momentum", "0.9"], 2, "--momentum is of --optimizer momentum and nesterov, and has no effect on adam"),
        (["--optimizer", "sgd", "--weight-decay", "0.1"], 2, "--weight-decay is of --optimizer adamw"),
        (["--patience", "3", "--validation", "0"], 2, "--patience watches the validation loss"),
        (["--device", "tpu"], 2, "device 'tpu' does not exist"),
        (["--hiden", "3"], 2, "unknown option --hiden; did you mean --hidden?"),
        (["--epochs", "0"], 2, "--epochs must be a whole number, 1 or more, got '0'"),
        (["--lr", "nan"], 2, "--lr must be a positive number, got 'nan'"),
        (["--hidden", "3,x"], 2, "--hidden must be sizes such as 256,128, or none, got '3,x'"),
        (["--activation", "swish"], 2, "--activation must be one of identity, relu"),
        (["nowhere.csv"], 1, "nowhere.csv: no such file"),
        (["--hidden", "1000000,1000000"], 1, "take narrower layers"),
    ],
)
def test_what_does_not_fit(capsys, tmp_path, options, code, message):
    found, err = fails(capsys, *options)
    assert message in err
    assert found == code
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_keeps_the_metrics(capsys, monkeypatch):
    step = deepxp.TrainingStep.run
    monkeypatch.setattr(
        deepxp.TrainingStep, "run", lambda self, *a, **k: step(self, *a, **k) * (np.nan if self.t > 25 else 1)
    )
    code, err = fails(capsys, *SMALL, "--out", "run")
    assert code == 1
    assert "training met nan" in err or "training met a loss that is not finite" in err
    assert "of epoch 2" in err
    assert json.loads(Path("run/metrics.jsonl").read_text("utf-8"))["epoch"] == 1


def test_metrics_are_json_even_where_they_are_not_numbers(capsys, monkeypatch):
    monkeypatch.setattr("deepxp.evaluation.Evaluation.run", lambda self, net: {"loss": np.inf, "accuracy": np.nan})
    result = train(capsys, *SMALL, "--out", "run")
    assert result["test"] == {"loss": None, "accuracy": None}
    for line in Path("run/metrics.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line, parse_constant=pytest.fail)
        assert record["validation_loss"] is None


def test_a_feature_that_is_not_finite_is_named(capsys):
    X, y = blobs(2)
    X[13, 2] = np.nan
    np.savez("hole.npz", X=X, y=y)
    code, err = fails(capsys, "hole.npz", *SMALL)
    assert code == 1
    assert "hole.npz, row 14, feature 3: nan is not a finite number" in err


def test_curves(drawn, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    train(capsys, *SMALL, "--out", "run")
    picture = (tmp_path / "run" / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000


def test_without_matplotlib_a_line_says_how_to_get_it(drawn, capsys, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("deepxp.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(deepxp, "plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", *SMALL, "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "python -m pip install matplotlib" in out
    assert err == ""
    assert not (tmp_path / "run" / "curves.png").exists()


@pytest.mark.parametrize(
    ("y", "noted"),
    [
        (np.linspace(1e5, 3e5, 60), "(mean 2e+05, deviation 5.871e+04) are learned in their own unit"),
        (np.linspace(-500, 500, 60) + 0.5, "leave out --scale-target none"),
        (np.linspace(0, 9, 60), None),
        (np.arange(60) % 2 * 1000, None),
    ],
)
def test_targets_far_from_unit_scale_are_warned_of(capsys, y, noted):
    np.savez("far.npz", X=np.random.default_rng(0).standard_normal((60, 3)), y=y)
    more = ("--scale-target", "none", "--test", "0", "--validation", "0")
    assert main(["train", "far.npz", *SMALL, *more]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note ")]
    assert len(notes) == (noted is not None)
    assert noted is None or noted in notes[0]


def test_numbers_are_learned_whatever_their_unit(capsys):
    X = np.random.default_rng(0).standard_normal((400, 3))
    np.savez("far.npz", X=X, y=2e5 + 5e3 * X @ [1.0, -2.0, 0.5] + 100 * X[:, 0] ** 2)
    assert main(["train", "far.npz", "--hidden", "none", "--device", "cpu", "--lr", "0.05", "--out", "far"]) == 0
    said = capsys.readouterr().out
    assert "targets     mean and deviation are " in said and "half of the squared error in that unit" in said
    assert "note" not in said
    assert main(["evaluate", "far/model.safetensors", "far.npz", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["metrics"]["r2"] > 0.99 and 1 < said["metrics"]["rmse"] < 1000 and said["metrics"]["loss"] < 0.01
    assert main(["check", "far/model.safetensors"]) == 0
    assert main(["info", "far/model.safetensors"]) == 0
    assert "targets     standard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "options", "noted"),
    [
        (np.arange(244) % 61, (), True),
        (np.arange(244) % 20, (), False),
        (np.arange(244) % 61, ("--loss", "softmax-cross-entropy"), False),
        (np.array([f"k{i % 61}" for i in range(244)]), (), False),
    ],
)
def test_many_whole_numbers_taken_as_classes_are_noted(capsys, labels, options, noted):
    np.savez("ages.npz", X=np.random.default_rng(0).standard_normal((244, 3)), y=labels)
    assert main(["train", "ages.npz", *SMALL, *options]) == 0
    said = "61 whole numbers are taken as classes; --loss squared-error predicts them as numbers"
    assert (said in capsys.readouterr().out) == noted


def test_the_config_of_a_run_repeats_it_from_anywhere(capsys, tmp_path, monkeypatch):
    X, y = blobs(3)
    np.savez("small.npz", X=X, y=y)
    train(capsys, "small.npz", *SMALL, "--out", "run")
    assert tomllib.loads(Path("run/config.toml").read_text("utf-8"))["data"] == str(tmp_path / "small.npz")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(capsys, "--config", "../run/config.toml", "--out", "again")
    first, second = (Path(run, "model.safetensors").read_bytes() for run in ("../run", "again"))
    assert first == second
    train(capsys, *SMALL, "--out", "digits")
    assert "data" not in tomllib.loads(Path("digits/config.toml").read_text("utf-8"))


@pytest.mark.parametrize("data", [[], ["some.csv"]])
def test_sizes_with_a_space_between_them(capsys, data):
    assert fails(capsys, *data, "--hidden", "256", "128") == (2, "deepxp: error: --hidden: sizes are written 256,128\n")


def test_a_delimiter_is_advised_as_a_flag(capsys):
    Path("semi.csv").write_text("a;b\n1;2\n", encoding="utf-8")
    _, err = fails(capsys, "semi.csv")
    assert "--delimiter ';'" in err and "delimiter=" not in err
    Path("mixed.csv").write_text("a,2,y\n1,2,3\n", encoding="utf-8")
    _, err = fails(capsys, "mixed.csv")
    assert "say --header if it is the header, --no-header if it is a sample" in err


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("try clip_norm=1.0 or a smaller lr", "try --clip-norm 1 or a smaller lr"),
        ("smaller (lr=0.001, clip_norm=0.5).", "smaller (--lr 0.001, --clip-norm 0.5)."),
        ("x.csv: target='y' cannot be", "x.csv: --target y cannot be"),
        ("leave it out with ignore='my id'", "leave it out with --ignore 'my id'"),
        ("if '\\t' separates the cells, give delimiter='\\t'", "if '\\t' separates the cells, give --delimiter tab"),
        ("any table with delimiter=", "any table with --delimiter"),
        ("loss='sigmoid-cross-entropy'", "--loss sigmoid-cross-entropy"),
        (
            "class_weight needs one label for each sample; weigh the samples with sample_weight",
            "--class-weight needs one label for each sample",
        ),
        ("needs 9 MiB; raise limit_bytes", "needs 9 MiB; raise --limit-bytes"),
        ("runs/lr=0.1/x.csv: no such file", "runs/lr=0.1/x.csv: no such file"),
        ("lr=0.1.csv: no such file", "lr=0.1.csv: no such file"),
    ],
)
def test_errors_speak_of_flags(message, said):
    assert as_flags(message) == said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian"], "'trian' is no command; did you mean train?"),
        (["predikt", "m", "x.csv"], "'predikt' is no command; did you mean predict?"),
        (["frobnicate"], "'frobnicate' is no command; there are train, evaluate, predict, "),
        (["train", "--epoch", "3"], "unknown option --epoch; did you mean --epochs?"),
        (["predict", "m", "x.csv", "--prob"], "unknown option --prob; did you mean --proba?"),
    ],
)
def test_a_slip_of_the_pen_is_told(capsys, argv, said):
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def overflowing(monkeypatch, epoch):
    """Training whose weights are infinite in that epoch, counted from 0."""
    run = deepxp.training.TrainingStep.run

    def spoiled(step, *arguments, **options):
        if step.epoch == epoch:
            step.net.theta[...] = np.inf
        return run(step, *arguments, **options)

    monkeypatch.setattr(deepxp.training.TrainingStep, "run", spoiled)


def test_nan_leaves_the_model_of_the_last_good_epoch(capsys, monkeypatch):
    train(capsys, "--schedule", "constant", *SMALL, "--out", "good")
    overflowing(monkeypatch, 2)
    code, err = fails(capsys, "--schedule", "constant", *SMALL, "--epochs", "4", "--out", "run")
    assert code == 1
    assert err.endswith(". The model of epoch 2, the last good one, is run/last-good.safetensors\n")
    assert "before this epoch" not in err
    assert Path("run/last-good.safetensors").read_bytes() == Path("good/model.safetensors").read_bytes()
    assert not Path("run/model.safetensors").exists()


def test_nan_in_the_first_epoch_leaves_the_model_from_before_it(capsys, monkeypatch):
    overflowing(monkeypatch, 0)
    code, err = fails(capsys, *SMALL, "--out", "run")
    assert code == 1
    assert "training met " in err and "The network has" not in err and "good one" not in err
    assert err.endswith(". The model from before training is run/last-good.safetensors\n")
    model = deepxp.load("run/last-good.safetensors", "cpu")
    assert model.epochs == 0 and np.isfinite(model.theta).all()
    assert not Path("run/model.safetensors").exists()


@pytest.mark.parametrize("full", [("run",), ("run", "here")])
def test_a_model_that_does_not_fit_its_folder_is_written_elsewhere(capsys, monkeypatch, tmp_path, full):
    train(capsys, *SMALL, "--out", "good")
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir(), elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("deepxp.cli.folder.gettempdir", lambda: str(elsewhere))
    save = deepxp.Network.save

    def saving(net, path, **options):
        if Path(path).absolute().parent.name in full:
            raise deepxp.ModelFileError(f"cannot write '{path}': No space left on device")
        save(net, path, **options)

    monkeypatch.setattr(deepxp.Network, "save", saving)
    (here / "run-model-1.safetensors").write_text("of somebody else")
    (elsewhere / "run-model-1.safetensors").write_text("of somebody else")
    code, err = fails(capsys, *SMALL, "--out", "run")
    path = (here if full == ("run",) else elsewhere) / "run-model-2.safetensors"
    assert code == 1
    assert f"run/model.safetensors': No space left on device; the model is in {path} instead\n" in err
    assert path.read_bytes() == (tmp_path / "good/model.safetensors").read_bytes()
    assert (here / "run-model-1.safetensors").read_text() == "of somebody else"
