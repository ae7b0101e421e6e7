import numpy as np
import pytest

from deepxp.data import Dataset, split
from deepxp.errors import ConfigError


@pytest.fixture
def dataset():
    return Dataset(
        np.arange(40.0).reshape(20, 2), np.arange(20), "toy", ("a", "b"), where=lambda row: f"line {row + 100}"
    )


@pytest.fixture
def order():
    return np.random.default_rng(0).permutation(20)


def test_parts_hold_every_row_once(dataset, order):
    train, validation, test = split(dataset, order=order, test=0.2, validation=0.1)
    assert [len(part.X) for part in (train, validation, test)] == [14, 2, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate([train.y, validation.y, test.y])), np.arange(20))


def test_rows_keep_their_targets_names_and_places(dataset, order):
    for part in split(dataset, order=order, validation=0.3):
        np.testing.assert_array_equal(part.X[:, 0], 2.0 * part.y)
        assert part.features == ("a", "b")
        assert [part.where(row) for row in range(len(part.X))] == [f"line {row + 100}" for row in part.y]


def test_the_order_decides(dataset):
    order = np.arange(20)[::-1]
    np.testing.assert_array_equal(split(dataset, order=order, test=0.2).test.y, [16, 17, 18, 19])


def test_more_validation_leaves_the_test_part_alone(dataset, order):
    tests = [split(dataset, order=order, validation=share).test.y for share in (0.0, 0.1, 0.5)]
    np.testing.assert_array_equal(tests[0], tests[1])
    np.testing.assert_array_equal(tests[0], tests[2])


def test_a_part_that_is_asked_for_has_a_row(dataset, order):
    assert len(split(dataset, order=order, test=0.001).test.X) == 1


def test_nothing_held_out_is_nothing_copied(dataset, order):
    parts = split(dataset, order=order, test=0.0)
    assert parts.validation is None and parts.test is None
    assert parts.train.X is dataset.X


def test_a_dataset_keeps_its_own_test_part(order):
    X, y = np.arange(40).reshape(20, 2), np.arange(20)
    own = Dataset(X, y, "toy", X_test=-X[:3], y_test=-y[:3])
    train, validation, test = split(own, order=order, test=0.5, validation=0.25)
    assert (len(train.X), len(validation.X)) == (15, 5)
    np.testing.assert_array_equal(test.X, -X[:3])
    np.testing.assert_array_equal(test.y, -y[:3])
    assert test.where(1) == "toy, test part, row 2"
    assert train.X_test is None


def test_features_without_targets_can_be_split(order):
    assert split(Dataset(np.ones((20, 1)), None, "toy"), order=order).train.y is None


@pytest.mark.parametrize("order", [np.arange(19), np.arange(1, 21), np.zeros(20, int), np.zeros((20, 1), int)])
def test_what_is_no_permutation_is_refused(dataset, order):
    with pytest.raises(ConfigError, match=r"toy: order must hold each of the rows 0\.\.19 once"):
        split(dataset, order=order)


@pytest.mark.parametrize("share", [-0.1, 1.0, 20, float("nan")])
def test_what_is_no_fraction_is_refused(dataset, order, share):
    with pytest.raises(ConfigError, match=f"validation={share} is not a fraction"):
        split(dataset, order=order, validation=share)


def test_something_is_left_to_train_on(dataset, order):
    with pytest.raises(ConfigError, match="12 test and 8 validation rows out of 20 leave none to train on"):
        split(dataset, order=order, test=0.6, validation=0.4)


# each class in its share


@pytest.mark.parametrize("sizes", [(700, 200, 90, 10), (50, 50), (997, 3), (1000, 2, 1, 1)])
def test_every_part_has_each_class_in_its_share(sizes):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    m = len(labels)
    dataset, order = Dataset(np.arange(m)[:, None], labels, "toy"), np.random.default_rng(0).permutation(m)
    parts = split(dataset, order=order, test=0.2, validation=0.1, labels=labels)
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert len(part.X) == round(share * m)
        counts = np.bincount(part.y, minlength=len(sizes))
        np.testing.assert_allclose(counts, share * np.array(sizes), atol=1.01)
    assert (np.bincount(parts.train.y, minlength=len(sizes)) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([part.X[:, 0] for part in parts])), np.arange(m))


def test_a_stratified_split_follows_from_the_order_and_leaves_the_test_part_alone(dataset, order):
    labels = np.arange(20) % 3
    first = split(dataset, order=order, labels=labels, validation=0.1)
    again = split(dataset, order=order, labels=labels, validation=0.5)
    other = split(dataset, order=order[::-1], labels=labels, validation=0.1)
    np.testing.assert_array_equal(first.test.y, again.test.y)
    assert first.test.y.tolist() != other.test.y.tolist()


def test_a_class_of_its_own_is_trained_on():
    labels = np.r_[np.zeros(9, int), 1]
    dataset = Dataset(np.arange(10)[:, None], labels, "toy")
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(10)
        assert 1 in split(dataset, order=order, test=0.2, validation=0.2, labels=labels).train.y
