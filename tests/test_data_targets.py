import numpy as np
import pytest

from deepxp.data import encode_targets
from deepxp.errors import ConfigError, DataError, ShapeError


def assert_classes(targets, y, classes):
    assert targets.kind == "classes"
    assert targets.classes == classes
    assert targets.outputs == len(classes)
    assert targets.y.dtype == np.int32
    np.testing.assert_array_equal(targets.y, y)


@pytest.mark.parametrize(
    ("y", "encoded", "classes"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        ([10, 9, 9, 100], [1, 0, 0, 2], ("9", "10", "100")),  # as numbers: as text, "10" would come first
        ([1.0, 3.0, 1.0], [0, 1, 0], ("1", "3")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        (np.array([b"no", b"yes"]), [0, 1], ("no", "yes")),
        (np.array(["x", "y"], object), [0, 1], ("x", "y")),
        (np.array([[5], [6], [5]], np.uint8), [0, 1, 0], ("5", "6")),
    ],
)
def test_labels_become_indices(y, encoded, classes):
    assert_classes(encode_targets(np.asarray(y)), encoded, classes)


def test_one_hot_rows_become_indices():
    assert_classes(encode_targets(np.eye(3)[[2, 0, 1, 2]]), [2, 0, 1, 2], ("0", "1", "2"))


def test_given_classes_fix_the_order_also_of_those_that_are_absent():
    assert_classes(encode_targets(np.array(["b", "b"]), classes=("c", "b", "a")), [1, 1], ("c", "b", "a"))


def test_given_classes_match_by_text():
    for y in (np.array([1, 0]), np.array([1.0, 0.0]), np.array(["1", "0"])):
        assert_classes(encode_targets(y, classes=("0", "1")), [1, 0], ("0", "1"))


def test_given_classes_name_the_columns_of_one_hot_rows():
    assert_classes(encode_targets(np.eye(2, dtype=int), classes=("no", "yes")), [0, 1], ("no", "yes"))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_out_of_range_is_refused_with_its_row(label):
    y = np.array([0, 1, label, 2])
    with pytest.raises(DataError, match=rf"^row 3: {label} is not a class of this model; those are 0, 1, 2, .*, 9$"):
        encode_targets(y, classes=[str(digit) for digit in range(10)])


def test_an_unseen_name_is_refused_with_its_place():
    with pytest.raises(DataError, match=r"^pets\.csv:9: 'cow' is not a class of this model; those are cat, dog$"):
        encode_targets(np.array(["dog", "cow"]), classes=("cat", "dog"), where=lambda row: f"pets.csv:{row + 8}")


def test_a_long_list_of_classes_is_cut():
    with pytest.raises(DataError, match=r"those are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. \(1000 classes\)$"):
        encode_targets(np.array([1000, 1]), classes=[str(i) for i in range(1000)])


def test_a_fraction_is_no_class_of_a_model():
    with pytest.raises(DataError, match=r"^row 2: 0\.5 names no class"):
        encode_targets(np.array([1.0, 0.5]), classes=("0", "1"))


def test_one_class_is_no_choice():
    with pytest.raises(DataError, match="all 3 targets are '7'; there must be at least two classes"):
        encode_targets(np.array([7, 7, 7]))


def test_one_class_of_a_model_with_two_is_fine():
    assert_classes(encode_targets(np.array([1, 1]), classes=("0", "1")), [1, 1], ("0", "1"))


@pytest.mark.parametrize("y", [np.arange(3), np.arange(1000) * 1000, np.arange(100) // 1.5 // 1])
def test_measured_whole_numbers_are_not_taken_for_classes(y):
    with pytest.raises(DataError, match=rf"values in {len(y)} rows, too many to be classes; .*--loss squared-error"):
        encode_targets(y)


def test_a_column_of_names_is_not_taken_for_classes():
    with pytest.raises(DataError, match="3 values in 3 rows, too many to be classes; choose another column"):
        encode_targets(np.array(["ann", "bob", "cy"]))


def test_many_classes_are_believed_when_asked_for():
    assert encode_targets(np.arange(30), kind="classes").outputs == 30


def test_many_classes_are_believed_when_they_repeat():
    assert encode_targets(np.arange(200) // 2).outputs == 100


def test_fractions_are_numbers():
    targets = encode_targets(np.array([1, 2.5, 3], np.float32))
    assert (targets.kind, targets.classes, targets.outputs) == ("numbers", None, 1)
    assert targets.y.dtype == np.float64
    np.testing.assert_array_equal(targets.y, [1.0, 2.5, 3.0])


def test_whole_numbers_are_numbers_when_asked_for():
    targets = encode_targets(np.array([[1, 2, 3], [4, 5, 6]]), kind="numbers")
    np.testing.assert_array_equal(targets.y, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert targets.outputs == 3


def test_rows_of_other_numbers_are_numbers():
    assert encode_targets(np.array([[1.0, 2.0], [0.5, 7.0]])).kind == "numbers"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_rows_of_0_and_1_are_labels(dtype):
    y = np.array([[1, 1, 0], [0, 0, 0]], dtype)
    targets = encode_targets(y)
    assert (targets.kind, targets.outputs, targets.classes) == ("multilabel", 3, ("0", "1", "2"))
    assert targets.y.dtype == np.uint8
    np.testing.assert_array_equal(targets.y, y)


def test_one_hot_rows_are_labels_when_asked_for():
    assert encode_targets(np.eye(3), kind="multilabel").kind == "multilabel"


def test_rows_that_sum_to_1_are_probabilities():
    y = np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    targets = encode_targets(y)
    assert (targets.kind, targets.outputs) == ("probabilities", 2)
    np.testing.assert_array_equal(targets.y, y)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        ([0.5, np.nan], None, "^row 2: nan is not a finite number$"),
        ([[0.5, 1.0], [1.0, np.inf]], None, "^row 2, target 2: inf is not a finite number$"),
        ([1.0, 2.0, 2.5], "classes", "^row 3: 2.5 names no class; predict it as a number"),
        (["1", "x"], "numbers", "^row 1: '1' is text where a number is to be predicted$"),
        ([[1, 0], [0, 2]], "multilabel", "^row 2, target 2: 2 is neither 0 nor 1$"),
        ([[1, 0], [1, 1]], "classes", "^row 2: 2 classes at once; that is a target of kind multilabel$"),
        ([[1.0, 0.0], [1.5, -0.5]], "probabilities", "^row 2, target 2: -0.5 is negative and no probability$"),
        ([[1.0, 0.0], [0.5, 0.2]], "probabilities", "^row 2: the probabilities sum to 0.7, not to 1$"),
        ([1j, 2j], None, "dtype complex128"),
        (np.array([1, "a"], object), None, "dtype object"),
    ],
)
def test_what_does_not_fit_its_kind_is_refused_with_its_row(y, kind, message):
    with pytest.raises(DataError, match=message):
        encode_targets(np.asarray(y), kind=kind)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        ([0, 1], "multilabel", "cannot be of kind 'multilabel'"),
        (np.ones((2, 2, 2)), None, r"must be \(m,\) or \(m, k\)"),
        ([], None, r"must be \(m,\) or \(m, k\)"),
        ([["a", "b"]], None, "are text; give one column of class names"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(y, kind, message):
    with pytest.raises(ShapeError, match=message):
        encode_targets(np.asarray(y), kind=kind)


def test_as_many_columns_as_classes():
    with pytest.raises(ShapeError, match="have 2 columns, but the classes are a, b, c"):
        encode_targets(np.eye(2), classes=("a", "b", "c"))


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        ConfigError, match="'ranks' are not known; known are classes, multilabel, probabilities, numbers"
    ):
        encode_targets(np.array([0, 1]), kind="ranks")
