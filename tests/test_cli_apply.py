import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import deepxp
from deepxp.cli import main
from deepxp.cli.confusion import as_text

NAMES = ("ant", "bee, the", "cat")
SHORT = ("--epochs", "10", "--batch-size", "16", "--device", "cpu", "-q")


def blobs(classes=3, m=90, n=4):
    random = np.random.default_rng(7)
    y = np.arange(m) % classes
    return random.standard_normal((m, n)) + 4 * random.standard_normal((classes, n))[y], y


def table(path, X, labels=None):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{j}" for j in range(X.shape[1])), *(["kind"] if labels is not None else [])])
        writer.writerows(X.tolist() if labels is None else [[*x, k] for x, k in zip(X.tolist(), labels, strict=True)])


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with data and a model of each kind."""
    folder = tmp_path_factory.mktemp("apply")
    X, y = blobs()
    named = np.array(NAMES)[y]
    table(folder / "named.csv", X, named)
    table(folder / "bare.csv", X)
    table(folder / "new.csv", X[:4], ["ant", "dog", "cat", "ant"])
    np.savez(folder / "wide.npz", X=np.hstack([X, X]), y=named)
    np.savez(folder / "two.npz", X=X, y=(y > 0).astype(int))
    np.savez(folder / "numbers.npz", X=X, y=X @ [1.0, 2.0, -1.0, 0.5])
    np.savez(folder / "labels.npz", X=X, y=(X[:, :2] > 0).astype(int))
    np.savez(folder / "parts.npz", x_train=X[:60], y_train=y[:60], x_test=X[60:], y_test=y[60:])
    for name in ("named.csv", "two.npz", "numbers.npz", "labels.npz"):
        assert main(["train", str(folder / name), *SHORT, "--out", str(folder / name.split(".")[0])]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(runs, monkeypatch):
    monkeypatch.chdir(runs)


def run(capsys, *argv):
    code = main([*argv])
    out, err = capsys.readouterr()
    assert code == 0
    assert all(line.endswith(("is taken for the target and left out", "not as good")) for line in err.splitlines())
    return out


def fails(capsys, *argv):
    code = main([*argv])
    out, err = capsys.readouterr()
    assert code > 0
    assert out == ""
    assert err.startswith("deepxp: error: ") and err.count("\n") == 1
    return err


def model(name):
    return f"{name}/model.safetensors"


def test_evaluate(capsys):
    out = run(capsys, "evaluate", model("named"), "named.csv", "--device", "cpu")
    assert "named.csv: 90 samples" in out
    assert "accuracy" in out
    matrix = out[out.index("true ") :].splitlines()
    assert matrix[1].split("  ")[-1].strip() == "cat"
    assert matrix[3].startswith("bee, the ")


def test_evaluate_as_json_is_what_the_library_says(capsys):
    assert main(["evaluate", model("named"), "named.csv", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    X, y = blobs()
    net = deepxp.load(model("named"), "cpu")
    assert result["metrics"] == deepxp.evaluate(net, X.T, y)
    assert result["samples"] == 90
    assert result["classes"] == list(NAMES)
    assert np.array(result["confusion_matrix"]).sum(axis=1).tolist() == [30, 30, 30]


def test_evaluate_repeats_the_metrics_of_train_on_the_digits(capsys):
    assert main(["train", "--hidden", "16", "--seed", "5", "--device", "cpu", "--json", "--out", "again"]) == 0
    trained = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["evaluate", trained["model"], "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["samples"] == 359
    assert result["metrics"] == pytest.approx(trained["test"], rel=1e-6)


def test_classes_are_matched_by_name_not_by_order(capsys):
    X, y = blobs()
    only = y != 0  # "ant" does not occur: sorted, "bee, the" would be class 0
    table("some.csv", X[only], np.array(NAMES)[y[only]])
    assert main(["evaluate", model("named"), "some.csv", "--json"]) == 0
    matrix = np.array(json.loads(capsys.readouterr().out.splitlines()[-1])["confusion_matrix"])
    assert matrix.sum(axis=1).tolist() == [0, 30, 30]
    assert np.trace(matrix) > 50


def test_a_label_that_was_not_seen_in_training(capsys):
    err = fails(capsys, "evaluate", model("named"), "new.csv")
    assert "new.csv:3" in err
    assert "'dog' is not a class of this model; those are ant, bee, the, cat" in err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_features_that_do_not_match(capsys, command):
    err = fails(capsys, command, model("named"), "wide.npz")
    assert "has 8 features per row, but 4 are expected by named/model.safetensors" in err


def test_a_model_of_a_split_that_was_not_stratified_is_evaluated_on_its_own_part(capsys):
    assert main(["train", "--hidden", "16", "--device", "cpu", "-q", "--epochs", "1", "--out", "strata"]) == 0
    net, digits = deepxp.load(model("strata"), "cpu"), deepxp.data.digits()
    assert net.notes["split"] == "stratified"
    net.save("old.safetensors", notes={key: value for key, value in net.notes.items() if key != "split"})
    rows = deepxp.rng.split(0, 1797)[:359]
    found = json.loads(both(capsys, "evaluate", "old.safetensors", "--json").out)["metrics"]
    assert found == deepxp.evaluate(net, digits.X[np.sort(rows)].T, digits.y[np.sort(rows)])
    assert found != json.loads(both(capsys, "evaluate", model("strata"), "--json").out)["metrics"]


def test_without_data_only_a_model_of_the_digits_is_evaluated(capsys):
    said = "was not trained on the digits by deepxp train; give DATA"
    assert said in fails(capsys, "evaluate", model("named"))
    deepxp.Network((64, 10), backend="cpu").save("other.safetensors")
    assert said in fails(capsys, "evaluate", "other.safetensors")
    few = ("train", "--hidden", "none", "--epochs", "1", "--device", "cpu", "-q")
    assert main([*few, "--test", "0.5", "--out", "half"]) == 0
    assert "digits: 898 samples" in run(capsys, "evaluate", model("half"))
    assert main([*few, "--test", "0", "--out", "all"]) == 0
    assert "was trained on all of the digits; give DATA" in fails(capsys, "evaluate", model("all"))


def write(path, header, *columns):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*([header] if header else []), *zip(*columns, strict=True)])


def both(capsys, *argv):
    assert main([*argv]) == 0
    return capsys.readouterr()


def test_the_model_knows_its_columns():
    notes = dict(deepxp.load(model("named"), "cpu").notes)
    del notes["fingerprint"]
    assert notes == {
        "trained_by": "deepxp train",
        "features": ["x0", "x1", "x2", "x3"],
        "target": "kind",
    }


def test_columns_are_found_by_name_in_any_order_beside_others(capsys):
    X, y = blobs()
    wanted, _ = both(capsys, "predict", model("named"), "bare.csv")
    names, ids = np.array(NAMES)[y], [f"row {i}" for i in range(len(X))]
    write("mixed.csv", ["id", "x2", "kind", "x0", "x3", "x1"], ids, X[:, 2], names, X[:, 0], X[:, 3], X[:, 1])
    out, err = both(capsys, "predict", model("named"), "mixed.csv")
    assert out == wanted
    assert err.splitlines() == [
        "deepxp: note: mixed.csv: columns that the model does not know are ignored: id",
        "deepxp: note: mixed.csv: column 'kind' is taken for the target and left out",
    ]
    out, err = both(capsys, "evaluate", model("named"), "mixed.csv", "--json")
    right, _ = both(capsys, "evaluate", model("named"), "named.csv", "--json")
    assert json.loads(out)["metrics"] == json.loads(right)["metrics"]
    assert "are ignored: id" in err
    write("turned.csv", ["x3", "x2", "x1", "x0"], *X.T[::-1])
    assert both(capsys, "predict", model("named"), "turned.csv") == (wanted, "")


def test_a_cell_that_is_no_number_is_found_in_a_table_whose_columns_were_chosen(capsys):
    write("hole.csv", ["id", "x3", "x2", "x1", "x0"], "ab", [1, 2], [1, 2], [1, "?"], [1, 2])
    assert "hole.csv:3:4: '?' in column 'x1' is text where a number belongs\n" in fails(
        capsys, "predict", model("named"), "hole.csv"
    )


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_missing_column_is_refused_with_both_lists(capsys, command):
    X, y = blobs()
    write("other.csv", ["x0", "x1", "x2", "width", "kind"], *X.T, np.array(NAMES)[y])
    err = fails(capsys, command, model("named"), "other.csv")
    assert "the model needs the columns x0, x1, x2, x3; this table has x0, x1, x2, width, kind; missing: x3" in err


def test_without_a_header_position_decides(capsys):
    X, y = blobs()
    wanted, _ = both(capsys, "predict", model("named"), "bare.csv")
    write("plain.csv", None, *X.T)
    assert both(capsys, "predict", model("named"), "plain.csv") == (wanted, "")
    write("plain.csv", None, *X.T, np.array(NAMES)[y])
    out, err = both(capsys, "predict", model("named"), "plain.csv")
    assert (out, err) == (wanted, "deepxp: note: plain.csv: column 5 is taken for the target and left out\n")


def test_the_target_of_the_model_is_the_target(capsys):
    X, y = blobs()
    write("first.csv", ["kind", "a", "b", "c", "d"], y, *X.T)
    assert main(["train", "first.csv", "--target", "kind", *SHORT, "--out", "first"]) == 0
    out, _ = both(capsys, "evaluate", model("first"), "first.csv", "--json")
    assert json.loads(out)["metrics"]["accuracy"] > 0.8
    write("plain.csv", None, y, *X.T)
    assert main(["train", "plain.csv", "--target", "1", *SHORT, "--out", "plain"]) == 0
    assert json.loads(both(capsys, "evaluate", model("plain"), "plain.csv", "--json").out)["metrics"]["accuracy"] > 0.8
    np.savez("named.npz", X=X, y=np.zeros(len(X)), kind=y)
    assert main(["train", "named.npz", "--target", "kind", *SHORT, "--out", "npz"]) == 0
    assert json.loads(both(capsys, "evaluate", model("npz"), "named.npz", "--json").out)["metrics"]["accuracy"] > 0.8


def test_the_data_that_a_model_was_trained_on_are_known_again(capsys):
    out, err = both(capsys, "evaluate", model("named"), "named.csv", "--json")
    assert json.loads(out)["trained_on"] is True
    assert err.startswith("deepxp: note: the model was trained on named.csv: it has seen these samples")
    X, y = blobs()
    write("shuffled.csv", ["kind", "x3", "x2", "x1", "x0"], np.array(NAMES)[y], *X.T[::-1])
    assert json.loads(both(capsys, "evaluate", model("named"), "shuffled.csv", "--json").out)["trained_on"] is True
    X[45, 2] += 1e-3
    write("other.csv", ["x0", "x1", "x2", "x3", "kind"], *X.T, np.array(NAMES)[y])
    out, err = both(capsys, "evaluate", model("named"), "other.csv", "--json")
    assert (json.loads(out)["trained_on"], err) == (False, err) and "has seen" not in err


def test_the_folder_of_a_run_stands_for_its_model(capsys):
    for command in (("evaluate", "named", "named.csv"), ("predict", "named", "new.csv"), ("check", "named")):
        assert main([*command]) == main([command[0], f"{command[1]}/model.safetensors", *command[2:]]) == 0
    assert main(["info", "named"]) == 0
    assert "file        named/model.safetensors" in capsys.readouterr().out
    Path("empty").mkdir()
    assert "empty is a folder without model.safetensors" in fails(capsys, "predict", "empty", "new.csv")
    Path("empty/config.toml").touch()
    assert "go on with: deepxp train --resume --out empty" in fails(capsys, "predict", "empty", "new.csv")


def test_a_model_file_holds_no_paths(capsys):
    X, y = blobs()
    np.save("X.npy", X)
    np.save("y.npy", y)
    assert main(["train", "X.npy", "--target", "y.npy", *SHORT, "--out", "npy"]) == 0
    notes = dict(deepxp.load(model("npy"), "cpu").notes)
    assert notes.pop("fingerprint").startswith("90x4-")
    assert notes == {"trained_by": "deepxp train"}
    assert "accuracy" in run(capsys, "evaluate", model("npy"), "X.npy", "--labels", "y.npy")


def test_notes_that_say_nonsense_are_left_out(capsys):
    net = deepxp.load(model("named"), "cpu")
    net.save("odd.safetensors", notes={"features": [1, None], "target": [True]})
    assert run(capsys, "predict", "odd.safetensors", "named.csv") == run(capsys, "predict", model("named"), "named.csv")


def test_evaluate_needs_targets(capsys):
    assert "bare.csv: has no column 'kind'" in fails(capsys, "evaluate", model("named"), "bare.csv")
    X, _ = blobs()
    np.savez("bare.npz", X=X)
    assert "bare.npz: has no targets" in fails(capsys, "evaluate", model("named"), "bare.npz")


def test_a_model_reads_categories_as_it_learned_them(capsys):
    random = np.random.default_rng(0)
    cities, x = random.choice(["Oslo", "Rome, Texas", "Bergen"], 120), random.standard_normal(120)
    days = [f"2024-01-{day:02}" for day in np.arange(120) % 28 + 1]
    open_, kind = random.choice(["true", "false"], 120), np.where(cities == "Bergen", "far", "near")
    write("sales.csv", ["day", "city", "open", "x", "kind"], days, cities, open_, x, kind)
    err = fails(capsys, "train", "sales.csv", "--out", "sales")
    assert "'2024-01-01' in column 'day' is text" in err and "--ignore day, " in err and "--categories day" in err
    assert "unless --target names another" in err
    wanted = ["--ignore", "day", "--categories", "city"]
    assert main(["train", "sales.csv", *wanted, *SHORT, "--lr", "0.02", "--out", "sales"]) == 0
    out, err = both(capsys, "evaluate", model("sales"), "sales.csv", "--json")
    assert json.loads(out)["metrics"]["accuracy"] > 0.95
    assert "columns that the model does not know are ignored: day" in err
    write("unsold.csv", ["x", "city", "open"], [0, 0], ["Bergen", "Oslo"], ["true", "false"])
    assert run(capsys, "predict", model("sales"), "unsold.csv") == "far\nnear\n"
    assert run(capsys, "train", "--config", "sales/config.toml", "-q", "--out", "resold") == ""
    assert deepxp.load(model("resold"), "cpu").notes == deepxp.load(model("sales"), "cpu").notes
    write("unsold.csv", ["x", "city", "open"], [0], ["Paris"], ["true"])
    assert "unsold.csv:2:2: 'Paris' in column 'city' is a category that the model has not seen" in fails(
        capsys, "predict", model("sales"), "unsold.csv"
    )
    net = deepxp.load(model("sales"), "cpu")
    for words in (["Oslo"], [["Oslo"] * 3, None, None], [["Oslo", 1, "x"], None, None], [None, None]):
        net.save("odd.safetensors", notes=net.notes | {"categories": words})
        assert "unsold.csv:2:2" in fails(capsys, "predict", "odd.safetensors", "unsold.csv")


def test_columns_of_one_name_are_no_columns_to_choose_from(capsys):
    x, city, k = np.arange(40.0), np.array(["Oslo", "Rome"] * 20), np.arange(40) // 20
    write("twice.csv", ["x", "x", "city", "k"], x, -x, city, k)
    for wanted in (["--categories", "city"], ["--ignore", "city"], ["--ignore", "2", "--categories", "city"]):
        err = fails(capsys, "train", "twice.csv", *wanted, *SHORT, "--out", "twice")
        assert "several columns have the same name; give each a name of its own" in err
        assert not Path("twice").exists()
    write("twice.csv", ["x", "y", "x"], x, -x, k)  # the target has the name of a feature
    assert main(["train", "twice.csv", *SHORT, "--out", "twice"]) == 0
    said = run(capsys, "predict", model("twice"), "twice.csv")
    assert said.count("\n") == 40
    write("twice.csv", ["x", "y"], x, -x)
    assert run(capsys, "predict", model("twice"), "twice.csv") == said


def test_the_test_part_of_a_file(capsys):
    err = fails(capsys, "evaluate", model("named"), "parts.npz")
    assert "test part, row 1: 0 is not a class of this model" in err
    assert run(capsys, "predict", model("named"), "parts.npz").count("\n") == 30


def test_predict_with_and_without_the_target_column(capsys):
    with_target = run(capsys, "predict", model("named"), "named.csv", "--device", "cpu")
    assert run(capsys, "predict", model("named"), "bare.csv") == with_target
    said = [row[0] for row in csv.reader(io.StringIO(with_target))]
    X, _ = blobs()
    net = deepxp.load(model("named"), "cpu")
    assert said == [NAMES[k] for k in net.predict(X.T)]


def test_predict_ignores_labels_that_are_not_known(capsys):
    assert run(capsys, "predict", model("named"), "new.csv").count("\n") == 4


def test_predict_to_a_file(capsys):
    out = run(capsys, "predict", model("named"), "bare.csv", "--proba")
    assert (
        run(capsys, "predict", model("named"), "bare.csv", "--proba", "--out", "said.csv")
        == "file        said.csv, 90 rows\n"
    )
    assert Path("said.csv").read_text(encoding="utf-8") == out
    assert "cannot be written" in fails(capsys, "predict", model("named"), "bare.csv", "--out", "nowhere/said.csv")


def test_predictions_replace_no_file_unless_forced_and_never_one_that_is_read(capsys):
    Path("old.csv").write_text("kept", encoding="utf-8")
    said = fails(capsys, "predict", model("named"), "bare.csv", "--out", "old.csv")
    assert "old.csv exists already; choose another file, or --force to replace it" in said
    assert Path("old.csv").read_text(encoding="utf-8") == "kept"
    run(capsys, "predict", model("named"), "bare.csv", "--out", "old.csv", "--force")
    assert Path("old.csv").read_text(encoding="utf-8") == run(capsys, "predict", model("named"), "bare.csv")
    Path("link.csv").symlink_to("bare.csv")
    for name in ("bare.csv", "./named/../bare.csv", "link.csv", model("named")):
        before = Path(name).read_bytes()
        for force in ((), ("--force",)):
            said = fails(capsys, "predict", model("named"), "bare.csv", "--out", name, *force)
            assert "is read itself; choose another file" in said
        assert Path(name).read_bytes() == before
    assert "--force is of --out" in fails(capsys, "predict", model("named"), "bare.csv", "--force")


def test_probabilities(capsys):
    rows = list(csv.reader(io.StringIO(run(capsys, "predict", model("named"), "bare.csv", "--proba"))))
    assert rows[0] == ["prediction", *NAMES]
    probabilities = np.array([row[1:] for row in rows[1:]], dtype=float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [row[0] for row in rows[1:]] == [NAMES[k] for k in probabilities.argmax(axis=1)]


def test_probabilities_of_two_classes(capsys):
    rows = list(csv.reader(io.StringIO(run(capsys, "predict", model("two"), "two.npz", "--proba"))))
    assert rows[0] == ["prediction", "0", "1"]
    for said, no, yes in rows[1:]:
        assert float(no) + float(yes) == pytest.approx(1, rel=1e-5)
        assert said == ("1" if float(yes) >= 0.5 else "0")


def test_several_labels_at_once(capsys):
    rows = list(csv.reader(io.StringIO(run(capsys, "predict", model("labels"), "labels.npz", "--proba"))))
    assert rows[0] == ["prediction 0", "prediction 1", "0", "1"]
    assert len(rows) == 91
    out = run(capsys, "evaluate", model("labels"), "labels.npz")
    assert "accuracy" in out
    assert "predicted" not in out


def test_numbers(capsys):
    said = run(capsys, "predict", model("numbers"), "numbers.npz").split()
    X, _ = blobs()
    net = deepxp.load(model("numbers"), "cpu")
    np.testing.assert_array_equal(np.array(said, dtype=np.float32), net.predict(X.T))
    assert "r2" in run(capsys, "evaluate", model("numbers"), "numbers.npz")
    assert "they have no probabilities" in fails(capsys, "predict", model("numbers"), "numbers.npz", "--proba")


def test_predict_as_json(capsys):
    result = json.loads(run(capsys, "predict", model("named"), "new.csv", "--json", "--proba"))
    assert len(result["predictions"]) == len(result["probabilities"]) == result["samples"] == 4
    assert set(result["predictions"]) <= set(NAMES)
    numbers = json.loads(run(capsys, "predict", model("numbers"), "numbers.npz", "--json"))
    assert all(isinstance(value, float) for value in numbers["predictions"])
    assert main(["predict", model("named"), "new.csv", "--json", "--out", "x.csv"]) == 0
    out, err = capsys.readouterr()
    assert "x.csv, 4 rows" in err
    written = json.loads(out)
    assert written["out"] == "x.csv"
    assert "predictions" not in written


def test_a_file_that_is_no_model(capsys):
    assert "named.csv is not a model; MODEL comes first" in fails(capsys, "evaluate", "named.csv", model("named"))
    assert "two.npz is not a model; MODEL comes first" in fails(capsys, "predict", "two.npz", model("named"))
    assert "nowhere" in fails(capsys, "predict", "nowhere", "named.csv")


def test_the_confusion_matrix_in_columns():
    lines = list(as_text(np.array([[5, 0], [12, 100]]), ("a", "a very long name")))
    assert lines == [
        "true           predicted",
        "                a  a very long…",
        "a               5             .",
        "a very long…   12           100",
    ]


def test_of_many_classes_the_most_frequent_confusions():
    matrix = np.diag(np.full(50, 9))
    matrix[3, 7], matrix[8, 1] = 4, 6
    lines = list(as_text(matrix, tuple(f"k{i}" for i in range(50))))
    assert [line.split() for line in lines[1:]] == [["6", "k8", "as", "k1"], ["4", "k3", "as", "k7"]]
