"""examples/: each script runs, in a small setting, and says what it should; each is short and explains itself."""

import re
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import deepxp
from deepxp.data import Scaler

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = ["any_array", "digits", "gpu", "mnist", "moons", "regression"]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the examples are not beside these tests")


def run(monkeypatch, capsys, name, *arguments):
    """What a script prints in its small setting; it may end with sys.exit(text), which comes last."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", deepxp.HealthWarning)
        try:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            return capsys.readouterr().out + str(end)
    return capsys.readouterr().out


def number(pattern, said):
    """The one number that a pattern finds."""
    found = re.search(pattern, said)
    assert found, said
    return float(found[1])


def test_there_are_six_and_each_is_tested_here():
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_how_it_is_run(name):
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    assert len(source.splitlines()) <= 60
    assert f"python examples/{name}.py" in source.partition('"""')[2].partition('"""')[0]


def test_moons_are_told_apart_and_the_boundary_is_drawn(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs Matplotlib")
    said = run(monkeypatch, capsys, "moons", "--out", str(tmp_path / "moons.png"))
    assert number(r"test accuracy ([\d.]+)%", said) > 95
    assert (tmp_path / "moons.png").read_bytes().startswith(b"\x89PNG")


def test_moons_without_matplotlib_say_how_to_get_the_picture(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install matplotlib" in run(monkeypatch, capsys, "moons")


def test_digits_are_learned_and_the_model_is_written(monkeypatch, capsys, tmp_path):
    path = tmp_path / "digits.safetensors"
    said = run(monkeypatch, capsys, "digits", "--save", str(path))
    assert number(r"test accuracy ([\d.]+)%", said) > 90
    assert 0 < number(r"the most frequent mistake: \d taken for \d, (\d+) times", said) < 15
    assert deepxp.load(path, backend="cpu").scaler.kind == "range"


def test_mnist_is_read_from_a_file(monkeypatch, capsys, tmp_path):
    random = np.random.default_rng(0)
    labels = random.integers(10, size=660)
    images = (random.random((660, 28, 28)) * 60).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):  # a bright bar stands for a digit
        image[2 * label + 2 : 2 * label + 6] += 190
    np.savez(
        tmp_path / "mnist.npz", x_train=images[:600], y_train=labels[:600], x_test=images[600:], y_test=labels[600:]
    )
    fit, rows = Scaler.fit, []
    monkeypatch.setattr(Scaler, "fit", lambda X: (rows.append(len(X)), fit(X))[1])
    said = run(monkeypatch, capsys, "mnist", str(tmp_path / "mnist.npz"), "--device", "cpu")
    assert rows == [540]  # those that are trained on
    assert "784-32-10" in said
    assert number(r"test accuracy ([\d.]+)%", said) > 30


def test_mnist_says_what_file_it_wants(monkeypatch, capsys, tmp_path):
    assert "python examples/mnist.py mnist.npz" in run(monkeypatch, capsys, "mnist")
    assert "it should hold x_train" in run(monkeypatch, capsys, "mnist", str(tmp_path / "mnist.npz"))
    np.savez(tmp_path / "part.npz", X=np.zeros((4, 3)), y=np.arange(4) % 2)
    assert "has no x_test" in run(monkeypatch, capsys, "mnist", str(tmp_path / "part.npz"))


def test_the_regression_beats_the_mean(monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="the table comes with scikit-learn")
    said = run(monkeypatch, capsys, "regression")
    assert number(r"off by (\d+) on average", said) < number(r"(\d+) where the mean is predicted", said)
    assert number(r"R\^2 (-?[\d.]+)", said) > 0.3


def test_the_regression_says_where_its_table_comes_from(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install scikit-learn" in run(monkeypatch, capsys, "regression")


def test_a_function_of_any_array_computes_what_numpy_does(monkeypatch, capsys):
    said = run(monkeypatch, capsys, "any_array", "--device", "cpu")
    assert "numpy.ndarray (64, 64) on cpu" in said
    assert number(r"in float64: (\S+)", said) < 1e-5


def test_a_question_gets_a_mixture_of_what_is_like_it():
    attention = runpy.run_path(str(FOLDER / "any_array.py"))["attention"]
    Q, K, V = (np.random.default_rng(seed).standard_normal((4, 3)) for seed in range(3))
    for j in range(3):
        likeness = [np.exp(K[:, k] @ Q[:, j] / 2) for k in range(3)]
        mixed = sum(share * V[:, k] for k, share in enumerate(likeness)) / sum(likeness)
        np.testing.assert_allclose(attention(Q, K, V)[:, j], mixed, rtol=1e-12)


def test_a_function_of_any_array_runs_on_the_arrays_of_a_gpu(monkeypatch, capsys, gpu):
    said = run(monkeypatch, capsys, "any_array", "--device", "gpu")
    assert f"(64, 64) on {gpu.name}" in said and "numpy.ndarray" not in said
    assert number(r"in float64: (\S+)", said) < 1e-5


def test_the_device_is_a_flag(monkeypatch, capsys):
    said = run(monkeypatch, capsys, "gpu", "--device", "cpu")
    assert "64-64-64-10" in said and "on cpu" in said
    assert number(r"([\d.]+) ms a step", said) > 0


def test_the_same_program_on_a_gpu(monkeypatch, capsys, gpu):
    assert f"on {gpu.name}" in run(monkeypatch, capsys, "gpu", "--device", "gpu")


def test_a_device_that_there_is_not_is_an_error_with_its_reason(monkeypatch, capsys):
    assert "precision 'tf32' is an arithmetic of GPUs" in run(
        monkeypatch, capsys, "gpu", "--device", "cpu", "--precision", "tf32"
    )
