from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.inputs import is_labels, sample_weights, samples, targets
from deepxp.ops.losses import LOSSES

SOFTMAX, SIGMOID, SQUARED = (
    LOSSES[name] for name in ("softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error")
)


@contextmanager
def raises(error, *parts):
    """That error, with every one of these parts in its message."""
    with pytest.raises(error) as caught:
        yield
    for part in parts:
        assert part in str(caught.value)
    assert "np." not in str(caught.value)  # numbers are shown as numbers


# samples


def test_columns_become_the_table_behind_them_without_a_copy():
    table = np.arange(12.0).reshape(4, 3)
    taken = samples(table.T, 3)
    assert_array_equal(taken, table)
    assert np.shares_memory(taken, table)
    assert taken.flags.c_contiguous


def test_samples_that_are_not_contiguous_are_made_so():
    X = np.arange(12.0).reshape(3, 4)
    taken = samples(X, 3)
    assert_array_equal(taken, X.T)
    assert taken.flags.c_contiguous


def test_lists_and_any_real_type_are_welcome():
    assert_array_equal(samples([[1, 2, 3], [4, 5, 6]], 2), [[1, 4], [2, 5], [3, 6]])
    for dtype in ("uint8", "int64", "float16", "float32", "bool"):
        assert samples(np.ones((2, 3), dtype), 2).dtype == dtype


@pytest.mark.parametrize("made", ["torch", "jax.numpy"])
def test_arrays_of_other_libraries_are_not_copied(made):
    library = pytest.importorskip(made, reason=f"{made} is not installed")
    x = library.ones((5, 3))
    pointer = x.data_ptr() if made == "torch" else x.unsafe_buffer_pointer()
    taken = dx.backend("cpu").asarray(samples(x.T, 3))
    assert taken.shape == (5, 3)
    if made == "torch":  # JAX has no views: its .T is a new array
        assert taken.__array_interface__["data"][0] == pointer


def test_a_mapped_file_stays_mapped(tmp_path):
    table = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(6, 4))
    assert np.shares_memory(samples(table.T, 4), table)


def test_rows_for_columns_show_the_transpose():
    with raises(dx.ShapeError, "(3, m)", "(10, 3)", "pass X.T"):
        samples(np.ones((10, 3)), 3)


def test_another_number_of_features():
    with raises(dx.ShapeError, "(3, m)", "(5, 10)", "the network has 3 inputs, X has 5 rows"):
        samples(np.ones((5, 10)), 3)


def test_a_single_sample_is_a_column():
    with raises(dx.ShapeError, "(3,)", "x[:, None]"):
        samples(np.ones(3), 3)
    with raises(dx.ShapeError, "(3, 1, 1)"):
        samples(np.ones((3, 1, 1)), 3)


def test_no_samples():
    with raises(dx.ShapeError, "no samples", "(3, 0)"):
        samples(np.ones((3, 0)), 3)


@pytest.mark.parametrize("dtype", [complex, "U3", object, "datetime64[s]"])
def test_what_is_no_real_number(dtype):
    with raises(dx.DataError, "real numbers", "astype"):
        samples(np.zeros((3, 2), dtype), 3)


# labels


def test_labels_become_int32():
    for y in ([0, 2, 1], np.array([0.0, 2.0, 1.0]), np.array([0, 2, 1], np.uint8), np.array([False, True, True])):
        taken = targets(y, SOFTMAX, 3, 3)
        assert taken.dtype == np.int32
        assert_array_equal(taken, np.asarray(y, int))
        assert is_labels(SOFTMAX, taken)


@pytest.mark.parametrize("value", [3, -1, 200, 2**40, -(2**40)])
def test_a_label_out_of_range_is_found(value):
    y = np.array([0, 1, 2, value, 1])
    with raises(dx.DataError, "0..2", "3 outputs", f"got {value} for sample 4"):
        targets(y, SOFTMAX, 3, 5)


def test_an_unsigned_label_out_of_range_is_found():
    with raises(dx.DataError, "0..9", "got 255 for sample 2"):
        targets(np.array([1, 255], np.uint8), SOFTMAX, 10, 2)


def test_labels_counted_from_one():
    with raises(dx.DataError, "got 3 for sample 3"):
        targets([1, 2, 3], SOFTMAX, 3, 3)


def test_a_fraction_is_no_label():
    with raises(dx.DataError, "whole numbers", "got 1.5 for sample 2"):
        targets([0.0, 1.5], SOFTMAX, 3, 2)


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_nan_and_infinity_are_no_labels(value, shown):
    with raises(dx.DataError, f"y holds {shown} for sample 3"):
        targets([0.0, 1.0, value], SOFTMAX, 3, 3)


def test_names_are_to_be_encoded():
    for y in (["cat", "dog"], np.array(["cat", "dog"], object)):
        with raises(dx.DataError, "y must hold numbers", "deepxp.data.encode_targets"):
            targets(y, SOFTMAX, 2, 2)


def test_wrong_lengths():
    with raises(dx.ShapeError, "a label for each of the 5 samples, got 4"):
        targets([0, 1, 0, 1], SOFTMAX, 2, 5)
    with raises(dx.ShapeError, "(5,) or (1, 5)", "4"):
        targets([0, 1, 0, 1], SIGMOID, 1, 5)
    with raises(dx.ShapeError, "(3, 5)", "(3, 4)"):
        targets(np.ones((3, 4)), SQUARED, 3, 5)
    with raises(dx.ShapeError, "labels (5,) or columns (3, 5)", "(2, 5)"):
        targets(np.ones((2, 5)), SOFTMAX, 3, 5)
    with raises(dx.ShapeError, "for 5 samples"):
        targets(np.ones((5, 1, 1)), SQUARED, 1, 5)
    with raises(dx.ShapeError, "got ()"):
        targets(1.0, SQUARED, 1, 1)


# columns


def test_columns_become_rows():
    Y = np.array([[1.0, 0.0, 0.25], [0.0, 1.0, 0.75]])
    for loss in (SOFTMAX, SIGMOID, SQUARED):
        taken = targets(Y, loss, 2, 3)
        assert_array_equal(taken, Y.T)
        assert taken.flags.c_contiguous
        assert not is_labels(loss, taken)


def test_one_output_takes_a_number_a_sample():
    for loss in (SIGMOID, SQUARED):
        assert_array_equal(targets([0, 1, 1], loss, 1, 3), [[0], [1], [1]])
        assert_array_equal(targets([[0, 1, 1]], loss, 1, 3), [[0], [1], [1]])


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, SQUARED])
def test_one_hot_rows_show_the_transpose(loss):
    with raises(dx.ShapeError, "(4, 3)", "its rows are samples", "y.T"):
        targets(np.eye(4, 3), loss, 3, 4)


def test_a_column_of_labels_shows_the_transpose():
    with raises(dx.ShapeError, "(4, 1)", "y.T"):
        targets(np.ones((4, 1)), SIGMOID, 1, 4)


def test_probabilities_must_sum_to_1():
    Y = np.array([[0.5, 0.2], [0.5, 0.9]])
    with raises(dx.DataError, "sum to 1", "sample 2 sums to 1.1"):
        targets(Y, SOFTMAX, 2, 2)
    with raises(dx.DataError, "sum to 1", "sample 1 sums to 0.7"):
        targets(Y - 0.15, SOFTMAX, 2, 2)
    assert_allclose(targets(np.array([[0.3334], [0.3333], [0.3333]]), SOFTMAX, 3, 1).sum(), 1.0)


def test_several_labels_at_once_are_not_for_softmax():
    with raises(dx.DataError, "sample 1 sums to 2"):
        targets(np.ones((2, 1)), SOFTMAX, 2, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, 2.0, 255.0])
def test_a_probability_lies_between_0_and_1(value):
    with raises(dx.DataError, "between 0 and 1", f"[{value}] for sample 2", "squared-error", "softmax-cross-entropy"):
        targets([0.0, value, 1.0], SIGMOID, 1, 3)
    with raises(dx.DataError, "sample 1"):
        targets([[value], [1.0 - value]], SOFTMAX, 2, 1)


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, SQUARED])
def test_nan_names_its_sample(loss):
    Y = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, np.nan, 0.5]])
    with raises(dx.DataError, "y holds nan for sample 3"):
        targets(Y, loss, 2, 4)


def test_a_large_target_is_not_taken_for_infinity():
    Y = np.full((1, 4), 3e38, np.float32)
    assert_array_equal(targets(Y, SQUARED, 1, 4), Y.T)


# weights


def test_no_weights():
    assert sample_weights(np.arange(3), 3) is None


def test_weights_are_taken_as_they_are():
    assert_allclose(sample_weights(np.zeros(4, int), 4, [1, 2, 3, 2]), [1.0, 2.0, 3.0, 2.0])


def test_balanced_classes_weigh_the_same_together():
    y = np.array([0, 0, 0, 2, 2, 4])
    w = sample_weights(y, 6, None, "balanced")
    assert_allclose([w[y == c].sum() for c in (0, 2, 4)], [2.0, 2.0, 2.0])
    assert_allclose(w[y == 4], 6 / (3 * 1))


def test_weights_by_class():
    y = np.array([0, 1, 1, 2])
    expected = np.array([1.0, 3.0, 3.0, 0.5])
    assert_allclose(sample_weights(y, 4, None, [1.0, 3.0, 0.5]), expected)
    assert_allclose(sample_weights(y, 4, None, {1: 3.0, 2: 0.5}), expected)
    assert_allclose(sample_weights(y[:, None].astype(float), 4, None, {1: 3.0, 2: 0.5}), expected)


def test_a_weight_for_a_class_that_is_not_there():
    with raises(dx.ConfigError, "names class 7, the labels end at 2"):
        sample_weights(np.array([0, 1, 2]), 3, None, {7: 100.0})


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8", ">u2", "<i2"])
def test_labels_in_another_byte_order(dtype):
    loss = LOSSES["softmax-cross-entropy"]
    assert_array_equal(targets(np.array([0, 1, 2, 3], dtype), loss, 4, 4), [0, 1, 2, 3])
    with raises(dx.DataError, "labels must lie in 0..3"):
        targets(np.array([0, 256, 512, 768], dtype), loss, 4, 4)


def test_both_weights_multiply():
    w = sample_weights(np.array([0, 1]), 2, [1.0, 2.0], [3.0, 1.0])
    assert_allclose(w, np.array([3.0, 2.0]))


@pytest.mark.parametrize("w", [[1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [np.inf, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_bad_weights(w):
    with raises(dx.DataError, "finite, not negative, and not all zero"):
        sample_weights(np.zeros(3, int), 3, w)


@pytest.mark.parametrize("w", [[1.0, 2.0], [[1.0, 2.0, 3.0]], 1.0])
def test_weights_of_another_shape(w):
    with raises(dx.ShapeError, "(3,)", "a weight for each sample"):
        sample_weights(np.zeros(3, int), 3, w)


def test_weights_that_are_no_numbers():
    with raises(dx.DataError, "sample_weight must hold numbers"):
        sample_weights(np.zeros(3, int), 3, ["a", "b", "c"])


def test_unknown_class_weights():
    with raises(dx.ConfigError, "'balanced'", "'even'"):
        sample_weights(np.zeros(3, int), 3, None, "even")
    with raises(dx.ConfigError, "2 weights for labels up to 2"):
        sample_weights(np.arange(3), 3, None, [1.0, 2.0])


@pytest.mark.parametrize("key", ["cat", -1, 0.5])
def test_a_class_weight_for_no_label(key):
    with raises(dx.ConfigError, "labels 0, 1", repr(key)):
        sample_weights(np.arange(3), 3, None, {key: 2.0})


@pytest.mark.parametrize("y", [np.array([[0.5], [1.0]]), np.eye(2), np.array([[-1.0], [1.0]])])
def test_class_weights_need_labels(y):
    with raises(dx.ConfigError, "one label for each sample", "sample_weight"):
        sample_weights(y, 2, None, "balanced")


@pytest.mark.parametrize(("dtype", "classes"), [("int8", 256), ("int8", 129), ("int16", 70_000), ("int32", 3)])
def test_a_negative_label_is_refused_however_narrow_it_is(dtype, classes):
    with pytest.raises(dx.DataError, match=r"labels must lie in 0\.\..*, got -1 for sample 2"):
        targets(np.array([1, -1], dtype), LOSSES["softmax-cross-entropy"], classes, 2)


def test_a_mask_hides_no_label():
    labels = np.ma.array([1, 999, -1], mask=[0, 1, 1])
    with pytest.raises(dx.DataError, match="labels must lie in"):
        targets(labels, LOSSES["softmax-cross-entropy"], 10, 3)
