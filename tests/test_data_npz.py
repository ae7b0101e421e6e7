import zipfile

import numpy as np
import pytest

from deepxp.data import NO_TARGET, load
from deepxp.errors import ConfigError, DataError, ShapeError

X, y = np.arange(12, dtype=np.uint8).reshape(4, 3), np.array([0, 1, 1, 0])


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return write


@pytest.mark.parametrize(
    "names", [("X", "y"), ("x", "Y"), ("data", "target"), ("x_train", "y_train"), ("X_train", "y")]
)
def test_names_in_use_are_known(npz, names):
    dataset = load(npz(**dict(zip(names, (X, y), strict=True)), extra=np.ones(7)))
    np.testing.assert_array_equal(dataset.X, X)
    np.testing.assert_array_equal(dataset.y, y)
    assert dataset.X.dtype == np.uint8
    assert dataset.X_test is None
    assert dataset.where(1).endswith("a.npz, row 2")


def test_images_become_rows_and_the_test_part_is_kept(npz):
    images = np.arange(48).reshape(4, 3, 2, 2)
    dataset = load(npz(x_train=images, y_train=y[:, None], x_test=-images[:2], y_test=y[:2]))
    np.testing.assert_array_equal(dataset.X, images.reshape(4, 12))
    np.testing.assert_array_equal(dataset.y, y)
    np.testing.assert_array_equal(dataset.X_test, -images[:2].reshape(2, 12))
    np.testing.assert_array_equal(dataset.y_test, y[:2])


def test_a_test_part_without_targets_is_left_out(npz):
    assert load(npz(x_train=X, y_train=y, x_test=X)).X_test is None


def test_another_target_can_be_named(npz):
    assert load(npz(X=X, y=y, age=y + 40), target="age").y[0] == 40


def test_beside_a_named_target_one_array_needs_no_known_name(npz):
    dataset = load(npz(pixels=X, digit=y), target="digit")
    np.testing.assert_array_equal(dataset.X, X)
    np.testing.assert_array_equal(dataset.y, y)


def test_targets_may_be_absent_or_left_out(npz):
    assert load(npz(X=X)).y is None
    assert load(npz(X=X, y=y), target=NO_TARGET).y is None


def test_text_targets(npz):
    assert load(npz(X=X, y=np.array(["a", "b", "b", "a"]))).y.tolist() == ["a", "b", "b", "a"]


def test_unknown_names_are_listed(npz):
    with pytest.raises(
        DataError, match=r"a\.npz: has no features under a known name .*; it holds pixels, digit; .*target="
    ):
        load(npz(pixels=X, digit=y))


def test_a_named_target_that_is_not_there_is_refused(npz):
    with pytest.raises(DataError, match="has no array 'label'; it holds X, y"):
        load(npz(X=X, y=y), target="label")


def test_a_target_by_position_is_refused(npz):
    with pytest.raises(ConfigError, match=r"an \.npz names its arrays; it holds X, y"):
        load(npz(X=X, y=y), target=1)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"X": X, "y": np.array([{}, 1, 2, 3])}, DataError, r"a\.npz\[y\]: holds Python objects, which could run code"),
        ({"X": X.astype(complex)}, DataError, r"a\.npz\[X\]: holds complex128; only real numbers and text"),
        ({"X": X.astype(str)}, DataError, r"a\.npz\[X\]: the features are of dtype <U3"),
        ({"X": X[:, 0]}, ShapeError, r"a\.npz\[X\]: the features have shape \(4,\); .* X.reshape\(-1, 1\)"),
        ({"X": np.ones((1,) * 5)}, ShapeError, r"a\.npz\[X\]: the features have shape"),
        ({"X": X, "y": y[:2]}, ShapeError, r"4 rows but targets of shape \(2,\)"),
        ({"X": X.T, "y": y}, ShapeError, r"pass X\.T"),
        ({"X": X, "y": np.ones((4, 1, 1))}, ShapeError, r"a\.npz\[y\]: the targets have shape \(4, 1, 1\)"),
        ({"X": X[:0], "y": y[:0]}, DataError, "has no rows"),
        ({"X": X[:, :0], "y": y}, DataError, "has no feature columns"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(npz, arrays, error, message):
    with pytest.raises(error, match=message):
        load(npz(**arrays))


def test_more_than_the_limit_is_refused_before_it_is_unpacked(npz):
    path = npz(X=np.zeros((1000, 1000)), y=np.zeros(1000))
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="needs 8 MiB unpacked, more than the limit of 1 MiB; raise limit_bytes"):
        load(path, limit_bytes=2**20)


def test_a_header_that_declares_more_than_there_is_allocates_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("X.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)})
    with pytest.raises(DataError, match=r"a\.npz\[X\]: declares shape \(1099511627776, 1024\) of float64"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.npz: is empty \(0 bytes\)"),
        (b"PK\3\4 no zip", r"a\.npz: is damaged"),
        (b"text", r"a\.npz: is damaged"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, content, message):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz")
