import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

import deepxp.data
from deepxp.data import digits, encode_targets

FOLDER = Path(deepxp.data.__file__).parent
SCRIPT = Path(__file__).parents[1] / "scripts" / "make_digits.py"


def test_1797_images_of_64_pixels():
    dataset = digits()
    assert dataset.name == "digits"
    assert dataset.X.shape == (1797, 64) and dataset.X.dtype == np.uint8
    assert (dataset.X.min(), dataset.X.max()) == (0, 16)
    assert dataset.where(0) == "digits, row 1"


def test_as_many_of_each_digit_as_were_published():
    classes, counts = np.unique(digits().y, return_counts=True)
    np.testing.assert_array_equal(classes, np.arange(10))
    np.testing.assert_array_equal(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_the_labels_are_ten_classes():
    assert encode_targets(digits().y).classes == tuple("0123456789")


def test_it_is_the_data_that_scikit_learn_has():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    X, y = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(digits().X, X)
    np.testing.assert_array_equal(digits().y, y)


def test_it_is_small_and_says_where_it_comes_from():
    assert (FOLDER / "digits.npz").stat().st_size < 60_000
    text = (FOLDER / "DIGITS.md").read_text(encoding="utf-8")
    for word in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "scikit-learn"):
        assert word in text


def test_the_archive_records_no_date():
    with zipfile.ZipFile(FOLDER / "digits.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_script_makes_it_again(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if not SCRIPT.exists():
        pytest.skip("the script is not part of the installed package")
    spec = importlib.util.spec_from_file_location("make_digits", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name in ("once.npz", "again.npz"):
        monkeypatch.setattr(script, "PATH", tmp_path / name)
        script.main()
    assert (tmp_path / "once.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    with np.load(tmp_path / "once.npz") as made:
        np.testing.assert_array_equal(made["X"], digits().X)
        np.testing.assert_array_equal(made["y"], digits().y)
    assert "once.npz: " in capsys.readouterr().out
