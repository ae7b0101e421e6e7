import numpy as np
import pytest

from deepxp.data import load
from deepxp.errors import DataError, ShapeError


@pytest.fixture
def labelled(tmp_path):
    np.save(tmp_path / "X.npy", np.ones((3, 2)))

    def read(text, name="y.txt", **options):
        (tmp_path / name).write_text(text)
        return load(tmp_path / "X.npy", labels=tmp_path / name, **options)

    return read


def test_numbers_one_per_line(labelled):
    y = labelled("3\n1\n4\n").y
    np.testing.assert_array_equal(y, [3, 1, 4])
    assert y.dtype == np.int64


@pytest.mark.parametrize("name", ["y.txt", "y.csv", "labels"])
def test_names_one_per_line_whatever_the_file_is_called(labelled, name):
    np.testing.assert_array_equal(labelled("cat\n a dog \ncat", name).y, ["cat", "a dog", "cat"])


def test_lines_are_counted_in_the_file(labelled):
    assert labelled("# header\n\n3\n1\n\n4\n").where_y(2).endswith("y.txt:6")


def test_a_word_above_numbers_is_a_header(labelled):
    dataset = labelled("digit\n3\n1\n4\n")
    np.testing.assert_array_equal(dataset.y, [3, 1, 4])
    assert dataset.where_y(0).endswith("y.txt:2")


def test_a_header_above_words_must_be_claimed(labelled):
    np.testing.assert_array_equal(labelled("animal\ncat\ndog\ncat\n", header="yes").y, ["cat", "dog", "cat"])
    with pytest.raises(ShapeError, match=r"3 rows but targets of shape \(4,\)"):
        labelled("animal\ncat\ndog\ncat\n")


def test_a_table_with_labels_beside_it_has_features_only(tmp_path):
    (tmp_path / "X.csv").write_text("1,2\n3,4\n")
    (tmp_path / "y.txt").write_text("a\nb\n")
    dataset = load(tmp_path / "X.csv", labels=tmp_path / "y.txt")
    np.testing.assert_array_equal(dataset.X, [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(dataset.y, ["a", "b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# none\n", r"y\.txt: has no targets"),
        ("", r"y\.txt: is empty"),
        ("1\n?\n2\n", r"y\.txt:2: the target '\?' stands among numbers"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labelled, text, message):
    with pytest.raises(DataError, match=message):
        labelled(text)


def test_a_table_is_no_label_file(labelled):
    with pytest.raises(DataError, match=r"y\.npz: targets are read from \.npy, from idx or from text"):
        labelled("1\n", "y.npz")


def test_labels_that_are_not_there(tmp_path):
    np.save(tmp_path / "X.npy", np.ones((3, 2)))
    for name in ("y.npy", "y.txt", "y.idx"):
        with pytest.raises(DataError, match=rf"{name}: no such file"):
            load(tmp_path / "X.npy", labels=tmp_path / name)
