import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cupy_double import install

import deepxp
from deepxp.cli import check, main
from deepxp.devices import Device


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    scaler = deepxp.data.Scaler.fit(np.arange(12.0).reshape(4, 3))
    deepxp.Network((3, 5, 2), "tanh", scaler=scaler, classes=("no", "yes"), backend="cpu").save(path)
    return str(path)


def test_info(capsys):
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for line in (f"deepxp      {deepxp.__version__}, of ", f"numpy       {np.__version__}\n", "cpu         usable: "):
        assert line in out
    for name in ("python", "system", "memory", "blas", "kernels", "optional", "environment"):
        assert f"\n{name:<12}" in out


def test_info_is_all_that_a_bug_report_asks_for(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= {
        *("deepxp", "commit", "place", "python", "implementation", "system", "cpu", "cores", "free_memory"),
        *("numpy", "blas", "blas_threads", "kernels", "kernel_threads", "numba", "numba_problem", "numba_cache"),
        *("cupy", "environment", "optional", "devices"),
    }


def test_info_names_reason_and_fix_of_a_device(capsys, monkeypatch):
    unusable = Device("gpu", False, "a GPU", "It is out.", "Buy one")
    monkeypatch.setattr("deepxp.cli.info.devices", lambda: (Device("cpu", True, "a CPU"), unusable))
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "gpu         not usable: a GPU\n            It is out.\n            to fix it: Buy one\n" in out
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["devices"][1]["reason"] == "It is out."


def test_info_says_what_the_environment_sets(capsys, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "there")
    monkeypatch.setenv("SECRET", "whisper")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "OPENBLAS_NUM_THREADS=3" in out and "NUMBA_CACHE_DIR=there" in out and "whisper" not in out


def test_info_says_that_numba_is_there_and_not_used(capsys, monkeypatch):
    monkeypatch.setattr("deepxp.machine.numba_problem", lambda: "it is for another NumPy")
    monkeypatch.setattr("deepxp.machine.engine", lambda: ("numpy", 1))
    monkeypatch.setattr("deepxp.machine.commit", lambda: "0123456789ab+")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "            Numba is installed but not used: it is for another NumPy\n" in out
    assert "numba cache" not in out
    assert ", of commit 0123456789ab and changes, in " in out


def test_info_of_a_model(capsys, model):
    assert main(["info", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["model"]
    assert found["sizes"] == [3, 5, 2]
    assert found["hidden"] == ["tanh"]
    assert found["parameters"] == 5 * 4 + 2 * 6
    assert found["classes"] == ["no", "yes"]
    assert found["scaler"] == "standard"
    assert found["sha256"] == hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert main(["info", model]) == 0
    assert "parameters  32\n" in capsys.readouterr().out


def test_info_of_what_is_no_model(capsys, tmp_path):
    (tmp_path / "x").write_text("no model")
    assert main(["info", str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err.startswith("deepxp: error: ")


@pytest.fixture
def cpu_only(monkeypatch):
    gpu = Device("gpu", False, "", "It is out.", "Buy one")
    monkeypatch.setattr("deepxp.cli.check.devices", lambda: (Device("cpu", True, ""), gpu))


@pytest.mark.usefixtures("cpu_only")
def test_check_of_the_network_that_train_would_start_from(capsys):
    assert main(["check", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "64-256-128-10, relu, softmax-cross-entropy, float32: 50,826 parameters" in out
    assert "the gradient is right" in out
    assert "only the cpu is usable here" in out
    assert "It is out." in out


@pytest.mark.usefixtures("cpu_only")
@pytest.mark.parametrize(
    "options", [["--hidden", "none"], ["--hidden", "5", "--activation", "gelu", "--dropout", "0.2"]]
)
def test_check_of_other_shapes(capsys, options):
    assert main(["check", "--device", "cpu", *options]) == 0
    assert capsys.readouterr().out.count(" ok ") == (4 if "5" in options else 2)


@pytest.mark.usefixtures("cpu_only")
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [((3, 4, 2), "softmax-cross-entropy"), ((3, 1), "sigmoid-cross-entropy"), ((3, 2), "squared-error")],
)
def test_check_of_a_model_on_random_numbers(capsys, tmp_path, sizes, loss):
    deepxp.Network(sizes, loss=loss, backend="cpu").save(tmp_path / "model")
    assert main(["check", str(tmp_path / "model"), "--device", "cpu"]) == 0
    assert "16 samples of random numbers" in capsys.readouterr().out


@pytest.mark.usefixtures("cpu_only")
def test_check_of_a_model_on_data(capsys, model, tmp_path):
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).random((40, 3)), y=np.array(["no", "yes"] * 20))
    assert main(["check", model, "--data", str(tmp_path / "data.npz"), "--device", "cpu"]) == 0
    assert "data.npz" in capsys.readouterr().out


@pytest.mark.usefixtures("cpu_only")
def test_check_finds_a_wrong_gradient(capsys, monkeypatch):
    right = check.gradcheck

    def wrong(net, X, y):
        found = right(net, X, y)
        return replace(found, blocks=(replace(found.blocks[0], error=0.1), *found.blocks[1:]))

    monkeypatch.setattr("deepxp.cli.check.gradcheck", wrong)
    assert main(["check", "--hidden", "4", "--device", "cpu"]) == 1
    assert "THE GRADIENT IS WRONG" in capsys.readouterr().out


def test_check_compares_the_devices(capsys, monkeypatch):
    install(monkeypatch)
    assert main(["check", "--hidden", "6"]) == 0
    out = capsys.readouterr().out
    assert "device      gpu:0: a usable GPU" in out
    assert "cpu and gpu:0 agree" in out
    for quantity in ("Z[1]", "A[2]", "dA[1]", "dZ[2]", "dW[1]", "db[2]"):
        assert f"\n{quantity}" in out


def test_check_finds_devices_that_differ(capsys, monkeypatch):
    from deepxp.agreement import compare

    def differing(net, other, X, y):
        found = compare(net, other, X, y)
        wrong = [replace(d, other_error=1.0) if (d.quantity, d.layer) == ("dZ", 2) else d for d in found.differences]
        return replace(found, differences=tuple(wrong))

    install(monkeypatch)
    monkeypatch.setattr("deepxp.agreement.compare", differing)
    assert main(["check", "--hidden", "6", "--device", "cpu"]) == 1
    assert "CPU AND GPU:0 DIFFER, first in dZ of layer 2" in capsys.readouterr().out


# data


SALES = "day,city,open,price,qty\n" + "".join(
    f"2024-{i // 28 + 1:02}-{i % 28 + 1:02},{'Oslo' if i % 3 else 'Rome'},{'yes' if i % 2 else 'no'},{i / 4},{i % 4}\n"
    for i in range(60)
)


def test_a_table_is_described_with_the_line_that_trains_on_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sales.csv").write_text(SALES.replace(",0.25,", ",,"))
    assert main(["info", "sales.csv"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "file      sales.csv",
        "table     a header, 60 rows, 5 columns",
        "day       text, 60 values such as 2024-01-01, 2024-01-02, 2024-01-03",
        "city      text, 2 values such as Rome, Oslo",
        "open      yes or no",
        "price     numbers from 0 to 14.75, 59 values; 1 empty cell",
        "qty       whole numbers from 0 to 3, 4 values; the target, 4 classes to predict",
        "first     fill in the empty cells of price, or remove their rows; a feature needs a value",
        "to train  deepxp train sales.csv --ignore day --categories city",
    ]
    Path("sales.csv").write_text(SALES)
    assert main([*out[-1].split()[3:], "--epochs", "1", "--hidden", "4", "--device", "cpu", "-q"]) == 0
    assert main(["info", "sales.csv", "--target", "city", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [column["kind"] for column in found["columns"]] == ["text", "text", "yes or no", "numbers", "whole numbers"]
    assert (found["rows"], found["header"], found["columns"][1]["target"]) == (60, True, "2 classes to predict")
    assert found["train"] == "deepxp train sales.csv --target city --ignore day"


def test_a_table_without_a_header_goes_by_numbers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.tsv").write_text(SALES.partition("\n")[2].replace(",", "\t"))
    assert main(["info", "rows.tsv"]) == 0
    said = capsys.readouterr().out
    assert "no header, 60 rows, 5 columns" in said
    line = said.splitlines()[-1]
    assert line == "to train  deepxp train rows.tsv --no-header --ignore 1 --categories 2"
    assert main([*line.split()[3:], "--epochs", "1", "--hidden", "4", "--device", "cpu", "-q"]) == 0


def test_a_header_without_rows_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("head.csv").write_text("a,b,species\n")
    assert main(["info", "head.csv"]) == main(["train", "head.csv"]) == 1
    assert capsys.readouterr().err == "deepxp: error: head.csv: has no rows after the header\n" * 2


def test_a_header_of_numbers_is_not_taken_for_a_sample(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pd.csv").write_text("0,1,t\n" + "".join(f"{i},{i / 3},{i % 2}\n" for i in range(40)))
    assert main(["info", "pd.csv"]) == main(["train", "pd.csv"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert first == (
        "deepxp: error: pd.csv:1:3: no other row has the target 't': a header or a sample? "
        "say --header if this row is the header, --no-header if it is a sample"
    )
    assert main(["info", "pd.csv", "--header"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "to train  deepxp train pd.csv --header"
    assert main([*line.split()[3:], "--epochs", "1", "--hidden", "4", "--device", "cpu", "-q"]) == 0


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([f"{i},{i % 7},{i * i}" for i in range(60)], "a.csv --loss squared-error"),
        ([f"{i};{('x', 'y', 'NA')[i % 3]};{i % 2}" for i in range(60)], "a.csv --delimiter ';' --categories word"),
        ([f"{i}\t{'x' if i % 2 else 'y'}\t{i % 2}" for i in range(60)], "a.csv --delimiter tab --categories word"),
    ],
)
def test_the_line_that_trains_works(capsys, tmp_path, monkeypatch, rows, line):
    monkeypatch.chdir(tmp_path)
    mark = next(mark for mark in ",;\t" if mark in rows[0])
    Path("a.csv").write_text("\n".join([mark.join(("number", "word", "target")), *rows]) + "\n")
    assert main(["info", "a.csv"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"to train  deepxp train {line}" and "first" not in "".join(out)
    assert main([*shlex.split(out[-1])[3:], "--epochs", "1", "--hidden", "4", "--device", "cpu", "-q"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,NA,0\n2,3,1\n4,5,1\n", "fill in the empty cells of b, or remove"),
        ("a,b,c\n1,2,0\n2,3,\n4,5,1\n", "row 2: the target is missing"),
        ("a,b,c\n1,2,u\n2,3,v\n4,5,w\n", "choose another column (column 'c', or name another with --target)"),
        ("a,c\nx,0\ny,1\n" + "".join(f"z{i},1\n" for i in range(60)), "there is no other feature"),
    ],
)
def test_what_has_to_be_done_before_training_is_said(capsys, tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text(text)
    assert main(["info", "a.csv"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-2].startswith("first") and said in out[-2]
    assert main([*shlex.split(out[-1])[3:], "--epochs", "1", "--device", "cpu", "-q"]) == 1


def test_arrays_are_described_and_what_is_nothing_known_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(
        "a.npz", x_train=np.eye(4, dtype=np.uint8), y_train=np.arange(4) % 2, x_test=np.eye(4), y_test=[0, 1, 0, 1]
    )
    assert main(["info", "a.npz"]) == 0
    out = capsys.readouterr().out
    assert "type       uint8" in out and "test rows  4" in out and "targets    2 classes to predict" in out
    Path("a.foo").write_text("what is it?")
    assert main(["info", "a.foo"]) == 1
    assert "a.foo: is neither a model nor of a known format; known are .npz, .npy, .csv" in capsys.readouterr().err
    assert main(["info", "gone.csv"]) == 1
    assert "gone.csv: no such file" in capsys.readouterr().err
    assert main(["info", "gone.safetensors"]) == 1
