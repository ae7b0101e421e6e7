import numpy as np
import pytest

from deepxp.data import Dataset
from deepxp.data.places import at_lines, by_row, chosen, in_file
from deepxp.errors import DataError, ShapeError


def test_arrays_are_kept_as_they_are():
    X, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.array(["a", "b", "a"])
    dataset = Dataset(X, y, "toy")
    assert dataset.X is X and dataset.y is y


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones(3), None, r"toy: X has shape \(3,\); it must be a table \(m, n\), a sample per row"),
        (np.ones((0, 3)), None, "toy: has no rows"),
        (np.ones((3, 0)), None, "toy: has no feature columns"),
        (np.ones((3, 2)), np.ones(4), r"toy: 3 rows but targets of shape \(4,\)"),
        (np.ones((3, 2)), np.array(1.0), r"toy: 3 rows but targets of shape \(\)"),
    ],
)
def test_what_is_no_table_of_samples_is_refused(X, y, message):
    with pytest.raises(DataError, match=message):
        Dataset(X, y, "toy")


def test_samples_in_columns_are_told_to_transpose():
    with pytest.raises(ShapeError, match=r"X is \(4, 60\) and there are 60 targets; rows are samples, so pass X\.T"):
        Dataset(np.ones((4, 60)), np.ones(60), "toy")


def test_a_test_part_of_another_width_is_refused():
    with pytest.raises(ShapeError, match="the test part has 5 features per row, the rest 2"):
        Dataset(np.ones((3, 2)), np.ones(3), "toy", X_test=np.ones((3, 5)), y_test=np.ones(3))


def test_a_test_part_needs_its_own_targets():
    with pytest.raises(ShapeError, match=r"toy, test part: 3 rows but targets of shape \(4,\)"):
        Dataset(np.ones((3, 2)), np.ones(3), "toy", X_test=np.ones((3, 2)), y_test=np.ones(4))


def test_places_count_from_one():
    assert by_row(0) == "row 1"
    assert in_file("mnist.npz")(0) == "mnist.npz, row 1"
    assert at_lines("iris.csv", [2, 3, 7])(2) == "iris.csv:7"
    assert at_lines("iris.csv", [2, 3, 7], column=5)(2) == "iris.csv:7:5"


def test_a_chosen_row_keeps_its_place():
    assert chosen(in_file("a.npy"), np.array([7, 3]))(1) == "a.npy, row 4"


def test_repr_is_of_the_data():
    text = repr(Dataset(np.ones((2, 1)), None, "d"))
    assert "where" not in text and "function" not in text
