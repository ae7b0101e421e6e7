"""`deepxp plot`, and what `deepxp train` leaves to be seen: --html, --tensorboard, --keep-epochs, result.json."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import deepxp
from deepxp.cli import main
from deepxp.runs import page
from deepxp.runs.run import read

SMALL = ("--hidden", "8", "--device", "cpu", "-q")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def moons(m=120):
    """Two half-circles, as a table of x, y and moon."""
    rng = np.random.default_rng(0)
    t, k = np.pi * rng.random(m), np.arange(m) % 2
    X = np.stack([(1 - 2 * k) * np.cos(t) + k, (1 - 2 * k) * np.sin(t) + k / 2], axis=1)
    rows = [f"{x:.4f},{y:.4f},{'upper' if c == 0 else 'lower'}" for (x, y), c in zip(X, k, strict=True)]
    Path("moons.csv").write_text("\n".join(["x,y,moon", *rows]) + "\n")
    return "moons.csv"


def run(*argv):
    assert main(["train", *argv, *SMALL]) == 0


def plot(capsys, *argv, code=0):
    capsys.readouterr()
    assert main(["plot", *argv]) == code
    out, err = capsys.readouterr()
    return err if code else out


@pytest.fixture
def plots():
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    from deepxp.plots import decision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, "GRID", 30)
        yield


# result.json


def test_the_result_is_what_the_run_said(capsys):
    assert main(["train", "--epochs", "2", "--out", "a", *SMALL, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = read(Path("a"))
    assert found.result.metrics == said["test"]
    assert found.result.command == "deepxp train --epochs 2 --out a --hidden 8 --device cpu -q --json"
    assert found.result.parts == {"train": 1294, "validation": 144, "test": 359}
    assert (found.result.part, found.result.best_epoch, found.result.stopped_early) == ("test", 2, False)
    assert main(["evaluate", "a/model.safetensors", "--json", "--device", "cpu"]) == 0
    evaluated = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.result.matrix().tolist() == evaluated["confusion_matrix"]
    assert found.settings["hidden"] == [8]


def test_without_a_test_part_it_is_of_the_validation_part():
    run("--epochs", "2", "--test", "0", "--out", "a")
    found = read(Path("a"))
    last = found.history.records[-1]
    assert found.result.part == "validation"
    assert found.result.metrics["accuracy"] == last["validation_accuracy"]
    matrix = found.result.matrix()
    assert np.trace(matrix) / matrix.sum() == pytest.approx(last["validation_accuracy"])


def test_with_neither_there_is_no_matrix():
    run("--epochs", "1", "--test", "0", "--validation", "0", "--out", "a")
    found = read(Path("a")).result
    assert (found.part, found.metrics, found.confusion) == (None, {}, None)


# --html


def test_the_page_of_a_run_is_that_of_its_folder(capsys):
    run("--epochs", "2", "--out", "a", "--html", "a.html")
    text = Path("a.html").read_text(encoding="utf-8")
    assert text == page.html(read(Path("a")))
    assert "359 test samples are right" in text
    plot(capsys, "a", "--html", "again.html")
    assert Path("again.html").read_text(encoding="utf-8") == text


def test_a_page_that_cannot_be_is_an_error_before_training(capsys):
    Path("folder").mkdir()
    for name in ("folder", "none/a.html"):
        assert main(["train", "--html", name, *SMALL]) == 2
        assert "name a file" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_page_does_not_need_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("deepxp.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(deepxp, "plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run("--epochs", "1", "--out", "a", "--html", "a.html")
    assert "<svg" in Path("a.html").read_text(encoding="utf-8")


# --tensorboard


def test_tensorboard_is_written_into_the_run_or_elsewhere():
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    from test_tensorboard import scalars

    run("--epochs", "2", "--out", "a", "--tensorboard")
    run("--epochs", "2", "--out", "b", "--tensorboard", "logs")
    for logs in (Path("a/tensorboard"), Path("logs/b")):
        assert scalars(logs)["loss/training"] == pytest.approx(dict(enumerate(read(Path("a")).history.loss, 1)))
    run("--epochs", "1", "--out", "a", "--tensorboard", "--force")
    assert set(scalars(Path("a/tensorboard"))["loss/training"]) == {1}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_goes_on_has_all_of_its_epochs():
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    from test_cli_resume import train as stoppable
    from test_tensorboard import scalars

    options = ("--epochs", "4", "--out", "a", *SMALL)
    assert stoppable(*options, "--keep-epochs", "1", stop=1) == 130
    assert stoppable("--resume", *options, stop=2) == 130
    assert main(["train", "--resume", *options, "--tensorboard", "--keep-epochs", "4"]) == 0
    assert set(scalars(Path("a/tensorboard"))["loss/training"]) == {1, 2, 3, 4}
    assert sorted(int(path.stem[-6:]) for path in Path("a/epochs").iterdir()) == [0, 1, 2, 4]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_is_refused_stays_as_it_is(capsys, monkeypatch):
    from test_cli_resume import train as stoppable

    from deepxp.cli import views

    options = ("--epochs", "4", "--out", "a", *SMALL)
    assert stoppable(moons(), *options, stop=1) == 130
    before = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    Path("moons.csv").write_text(Path("moons.csv").read_text().replace(",upper", ",lower", 1))
    monkeypatch.setattr(views, "import_board", lambda: lambda logs: pytest.fail("TensorBoard's folder was opened"))
    assert main(["train", "--resume", *options, "--tensorboard", "--keep-epochs", "1"]) == 2
    assert "checkpoint" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()} == before


def test_without_tensorboardx_the_run_does_not_begin(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.delitem(sys.modules, "deepxp.tensorboard", raising=False)
    assert main(["train", "--tensorboard", *SMALL]) == 2
    assert "python -m pip install tensorboardX" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_data_after_tensorboard_are_not_a_folder(capsys):
    assert main(["train", "--tensorboard", moons(), *SMALL]) == 2
    assert "name it first: deepxp train moons.csv --tensorboard" in capsys.readouterr().err


# --keep-epochs


def test_the_weights_of_every_second_epoch_are_kept_from_the_first_on():
    run(moons(), "--epochs", "5", "--keep-epochs", "2", "--out", "a")
    found = sorted(path.name for path in Path("a/epochs").iterdir())
    assert found == [f"epoch-{k:06d}.safetensors" for k in (0, 2, 4, 5)]
    nets = [deepxp.load(Path("a/epochs") / name, "cpu") for name in found]
    drawn = deepxp.Network(nets[0].sizes, loss=nets[0].loss, backend="cpu")
    np.testing.assert_array_equal(nets[0].theta, drawn.theta)
    np.testing.assert_array_equal(nets[-1].theta, deepxp.load("a/model.safetensors", "cpu").theta)
    lengths = read(Path("a")).history["norm_W1"]
    for net, epoch in zip(nets[1:], (2, 4, 5), strict=True):
        assert np.linalg.norm(net.W[1]) == pytest.approx(lengths[epoch - 1], rel=1e-6)
    run(moons(), "--epochs", "1", "--out", "a", "--force")
    assert not list(Path("a/epochs").iterdir())


def test_the_last_epoch_of_a_run_that_stops_early_is_kept_as_it_was():
    options = (moons(), "--epochs", "40", "--validation", "0.2", "--lr", "1", "--patience", "3")
    run(*options, "--keep-epochs", "1", "--out", "every")
    run(*options, "--keep-epochs", "100", "--out", "last")
    last = len(read(Path("last")).history)
    assert last < 40 and read(Path("last")).result.best_epoch == last - 3
    assert [path.name for path in sorted(Path("last/epochs").iterdir())] == [
        f"epoch-{k:06d}.safetensors" for k in (0, last)
    ]
    name = f"epochs/epoch-{last:06d}.safetensors"
    assert Path("last", name).read_bytes() == Path("every", name).read_bytes()


def test_what_cannot_be_kept_is_a_warning_and_the_run_goes_on(capsys, monkeypatch):
    from deepxp.cli import views

    monkeypatch.setattr(views, "EPOCHS", "config.toml/x")
    run(moons(), "--epochs", "3", "--keep-epochs", "1", "--out", "a")
    err = capsys.readouterr().err
    assert err.count("the weights of an epoch could not be written") == 1
    assert Path("a/model.safetensors").exists()


# deepxp plot


def test_the_pictures_of_a_run(capsys, plots):
    run("--epochs", "2", "--out", "a")
    out = plot(capsys, "a")
    for name in ("curves", "norms", "confusion"):
        assert f"a/{name}.png, a/{name}.svg" in out
        assert Path(f"a/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in Path(f"a/{name}.svg").read_text(encoding="utf-8")


def test_a_run_that_begins_anew_has_no_picture_of_the_one_before():
    run(moons(), "--epochs", "1", "--out", "a")
    before = {path.name for path in Path("a").iterdir()}
    names = {f"{name}.{kind}" for name in ("norms", "confusion", "boundary") for kind in ("png", "svg", "pdf")}
    for name in {"curves.svg", "curves.pdf", "boundary.gif", "mine.png"} | names:
        Path("a", name).write_bytes(b"")
    run(moons(), "--epochs", "1", "--out", "a", "--force")
    assert {path.name for path in Path("a").iterdir()} == before | {"mine.png"}


def test_several_runs_are_compared(capsys, plots, monkeypatch):
    from deepxp import plots as drawn

    run("--epochs", "2", "--out", "runs/a")
    run("--epochs", "2", "--out", "runs/b", "--lr", "0.01")
    seen = {}
    monkeypatch.setattr(drawn, "learning_curves", lambda runs, f=drawn.learning_curves: seen.update(runs) or f(runs))
    out = plot(capsys, "runs/a", "runs/b", "--out", "pictures/both", "--format", "svg")
    assert out == "curves      pictures/both/curves.svg\n"
    assert list(seen) == ["a", "b"]
    assert seen["b"].loss == read(Path("runs/b")).history.loss
    assert "named twice" in plot(capsys, "runs/a", "runs/../runs/a", code=2)
    assert "of one run" in plot(capsys, "runs/a", "runs/b", "--boundary", code=2)


def test_the_boundary_and_how_it_came_about(capsys, plots):
    from PIL import Image

    run(moons(), "--epochs", "3", "--keep-epochs", "1", "--out", "a")
    Path("a/epochs/epoch-000002 (copy).safetensors").write_bytes(b"")
    out = plot(capsys, "a", "--boundary", "--format", "png")
    assert "boundary    a/boundary.png" in out and "animation   a/boundary.gif" in out
    with Image.open("a/boundary.gif") as gif:
        assert gif.n_frames >= 3  # frames that are alike are one
    run(moons(), "--epochs", "1", "--out", "b")
    assert "train with --keep-epochs 1" in plot(capsys, "b", "--boundary", "--format", "png")


def test_the_boundary_is_drawn_through_the_samples_of_the_run(capsys, plots, monkeypatch):
    from deepxp import plots as drawn

    seen = []
    monkeypatch.setattr(drawn, "boundary", lambda *a, f=drawn.boundary, **k: seen.append((a, k)) or f(*a, **k))
    run(moons(), "--epochs", "1", "--out", "a")
    plot(capsys, "a", "--boundary", "--format", "png")
    (net, X, y), named = seen[0]
    assert X.shape == (2, 86) and set(np.unique(y)) == {0, 1}
    assert named["features"] == ("x", "y") and "training samples; test accuracy" in named["title"]
    plot(capsys, "a", "--boundary", "--format", "png", "--data", "moons.csv")
    (net, X, y), named = seen[1]
    assert X.shape == (2, 120) and net.classes == ("lower", "upper")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_the_boundary_does_not_obey_the_config_of_a_stranger(capsys, plots):
    run(moons(), "--epochs", "1", "--out", "a")
    config, text = Path("a/config.toml"), Path("a/config.toml").read_text()
    data = f'data = "{Path("moons.csv").absolute()}"'
    os.mkfifo("pipe.csv")
    for name in ("pipe.csv", "/dev/zero", "a"):
        for changed in (text.replace(data, f'data = "{name}"'), f'{text}labels = "{name}"\n'):
            config.write_text(changed)
            err = plot(capsys, "a", "--boundary", code=1)
            assert f"cannot be read again: {name}: is a folder or a device, not a file; give them with --data" in err
    config.write_text(f"{text}limit-bytes = 1\n")
    assert "boundary.png" in plot(capsys, "a", "--boundary", "--format", "png")
    config.write_text(f"{text}limit-bytes = 99999999\n")
    assert "more than" in plot(capsys, "a", "--boundary", "--limit-bytes", "2000", code=1)


def test_the_matrix_of_other_data(capsys, plots, monkeypatch):
    from deepxp import plots as drawn

    seen = []
    monkeypatch.setattr(drawn, "confusion_matrix", lambda C, f=drawn.confusion_matrix, **k: seen.append(C) or f(C, **k))
    run(moons(), "--epochs", "1", "--out", "a")
    plot(capsys, "a", "--data", "moons.csv", "--format", "png")
    assert seen[0].sum(axis=1).tolist() == [60, 60]


def test_what_cannot_be_drawn_is_said(capsys, plots):
    rng = np.random.default_rng(0)
    np.savez("numbers.npz", X=rng.standard_normal((60, 3)), y=rng.standard_normal(60))
    run("numbers.npz", "--epochs", "1", "--out", "a")
    assert "confusion   none: it predicts numbers" in plot(capsys, "a", "--format", "png")
    assert "two features; the model in a has 3" in plot(capsys, "a", "--boundary", code=2)
    assert "there is no such folder" in plot(capsys, "none", code=1)
    assert "must be png, svg or pdf" in plot(capsys, "a", "--format", "gif", code=2)
    records = [json.loads(line) for line in Path("a/metrics.jsonl").read_text().splitlines()]
    Path("old").mkdir()
    old = [{name: x for name, x in record.items() if not name.startswith("norm_")} for record in records]
    Path("old/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in old))
    out = plot(capsys, "old", "--format", "png")
    assert "norms       none: this history has no norms" in out
    assert "confusion   none: old is a folder without model.safetensors" in out
    Path("a/result.json").unlink()
    assert "confusion   none: the run has no result.json; give samples with --data" in plot(capsys, "a")
    Path("a/model.safetensors").rename("a/kept")
    assert "confusion   none: the run in a is not finished; go on with: deepxp train --resume" in plot(capsys, "a")
    Path("a/kept").rename("a/last-good.safetensors")
    said = "the run in a met NaN or infinity; its model from before is a/last-good.safetensors"
    assert f"confusion   none: {said}" in plot(capsys, "a")
    assert said in plot(capsys, "a", "--data", "numbers.npz", code=2)
    assert "old is a folder without model.safetensors" in plot(capsys, "old", "--boundary", code=2)


def test_without_matplotlib_the_error_says_how_to_get_it(capsys, monkeypatch):
    run("--epochs", "1", "--out", "a")
    for name in [name for name in sys.modules if name.startswith("deepxp.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr(deepxp, "plots", raising=False)
    assert "python -m pip install matplotlib" in plot(capsys, "a", code=2)
