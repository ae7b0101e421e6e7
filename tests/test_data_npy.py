import gzip

import numpy as np
import pytest

from deepxp.data import NO_TARGET, load
from deepxp.errors import ConfigError, DataError, ShapeError

X = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def npy(tmp_path):
    def write(array, name="X.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return write


def test_a_table_is_mapped_not_read(npy):
    dataset = load(npy(X), limit_bytes=1)
    assert isinstance(dataset.X, np.memmap)
    assert dataset.X.dtype == np.float32
    np.testing.assert_array_equal(dataset.X, X)
    assert dataset.y is None


def test_images_are_flattened_as_a_view(npy):
    dataset = load(npy(X.reshape(4, 2, 3)))
    assert isinstance(dataset.X, np.memmap)
    np.testing.assert_array_equal(dataset.X, X)


def test_fortran_order_is_kept(npy):
    np.testing.assert_array_equal(load(npy(np.asfortranarray(X))).X, X)


@pytest.mark.parametrize("option", ["target", "labels"])
def test_targets_come_from_a_file_of_their_own(npy, option):
    dataset = load(npy(X), **{option: str(npy(np.array([3, 1, 4, 1]), "y.npy"))})
    np.testing.assert_array_equal(dataset.y, [3, 1, 4, 1])
    assert dataset.where(2).endswith("X.npy, row 3")
    assert dataset.where_y(2).endswith("y.npy, row 3")


def test_no_target_is_no_target(npy):
    assert load(npy(X), target=NO_TARGET).y is None


def test_a_target_by_position_is_refused(npy):
    with pytest.raises(ConfigError, match="give the file with the targets as labels="):
        load(npy(X), target=-1)


def test_gzipped_it_is_unpacked_within_the_limit(tmp_path, npy):
    path = tmp_path / "X.npy.gz"
    path.write_bytes(gzip.compress(npy(X).read_bytes()))
    np.testing.assert_array_equal(load(path).X, X)
    with pytest.raises(DataError, match="raise limit_bytes"):
        load(path, limit_bytes=X.nbytes - 1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_short_is_refused(tmp_path, npy, packed):
    raw = npy(X).read_bytes()[:-1]
    path = tmp_path / ("cut.npy.gz" if packed else "cut.npy")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DataError, match="is cut short" if packed else r"declares shape \(4, 6\) of float32, 96 bytes"):
        load(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_goes_on_is_refused(tmp_path, npy, packed):
    raw = npy(X).read_bytes() + b"\0"
    path = tmp_path / ("long.npy.gz" if packed else "long.npy")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DataError, match="goes on after the array"):
        load(path)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.array([[{}]]), DataError, "holds Python objects, which could run code when read"),
        (np.array([(1, 2)], "i4,i4"), DataError, "only real numbers and text can be used"),
        (np.ones(3), ShapeError, r"use X\.reshape\(-1, 1\)"),
        (np.ones((0, 3)), DataError, "has no rows"),
        (np.ones((3, 0)), DataError, "has no feature columns"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(npy, array, error, message):
    with pytest.raises(error, match=message):
        load(npy(array))


def test_what_is_no_array_is_refused(tmp_path):
    (tmp_path / "a.npy").write_text("hello")
    with pytest.raises(DataError, match=r"a\.npy: is damaged or no \.npy array"):
        load(tmp_path / "a.npy")
