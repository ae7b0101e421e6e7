import gzip

import numpy as np
import pytest

from deepxp.data import NO_TARGET, load
from deepxp.data.readers.idx import read_array
from deepxp.errors import ConfigError, DataError, ShapeError

IMAGES = np.arange(5 * 3 * 2).reshape(5, 3, 2)
LABELS = np.array([3, 1, 4, 1, 5])


def idx(array, code=0x08, dtype=">u1"):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + np.asarray(array).astype(dtype).tobytes()


@pytest.fixture
def mnist(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[:2] + 100)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    return tmp_path


def test_labels_and_test_part_are_found_beside_the_images(mnist):
    dataset = load(mnist / "train-images-idx3-ubyte")
    np.testing.assert_array_equal(dataset.X, IMAGES.reshape(5, 6))
    np.testing.assert_array_equal(dataset.y, LABELS)
    np.testing.assert_array_equal(dataset.X_test, IMAGES[:2].reshape(2, 6) + 100)
    np.testing.assert_array_equal(dataset.y_test, LABELS[:2])
    assert dataset.X.dtype == np.uint8
    assert dataset.where(0).endswith("train-images-idx3-ubyte, row 1")
    assert dataset.where_y(0).endswith("train-labels-idx1-ubyte.gz, row 1")


def test_a_test_part_needs_its_labels(mnist):
    (mnist / "t10k-labels-idx1-ubyte").unlink()
    assert load(mnist / "train-images-idx3-ubyte").X_test is None


def test_the_test_file_alone_has_no_test_part(mnist):
    dataset = load(mnist / "t10k-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(dataset.y, LABELS[:2])
    assert dataset.X_test is None


def test_images_alone_have_no_targets(tmp_path):
    (tmp_path / "images.idx").write_bytes(idx(IMAGES))
    assert load(tmp_path / "images.idx").y is None


def test_targets_that_are_not_wanted_are_not_looked_for(mnist):
    (mnist / "train-labels-idx1-ubyte.gz").write_text("damaged")
    assert load(mnist / "train-images-idx3-ubyte", target=NO_TARGET).y is None


def test_given_labels_come_first(mnist):
    (mnist / "other.idx").write_bytes(idx(LABELS[::-1]))
    np.testing.assert_array_equal(load(mnist / "train-images-idx3-ubyte", labels=mnist / "other.idx").y, LABELS[::-1])


@pytest.mark.parametrize("name", ["train-images.idx3-ubyte", "images.idx", "images", "images.gz", "data.bin"])
def test_the_format_is_known_by_name_or_by_its_first_bytes(tmp_path, name):
    raw = idx(IMAGES)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    np.testing.assert_array_equal(load(tmp_path / name).X, IMAGES.reshape(5, 6))


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_every_type_is_read_in_native_order(tmp_path, code, dtype):
    values = np.array([[1, 2, 100], [0, 7, 1]])
    (tmp_path / "a.idx").write_bytes(idx(values, code, dtype))
    array = read_array(tmp_path / "a.idx", 1000)
    assert array.dtype == np.dtype(dtype).newbyteorder("=") and array.dtype.isnative
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\0\0\x07\x01\0\0\0\1a", r"a\.idx: is no idx file: it starts with the bytes 00 00 07 01"),
        (b"hello, world", "is no idx file: it starts with the bytes 68 65 6c 6c"),
        (b"\0\0", "is no idx file: it starts with the bytes 00 00$"),
        (b"\0\0\x08\x03\0\0\0\1", "is cut short within its header"),
        (idx(IMAGES)[:-1], "declares 5 x 3 x 2 values, 30 bytes, but holds 29"),
        (idx(IMAGES) + b"\0", "declares 5 x 3 x 2 values, 30 bytes, but holds more"),
        (
            b"\0\0\x08\x02" + b"\xff" * 8,
            "declares 4294967295 x 4294967295 values, 18446744065119617025 bytes, but cannot",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_refused(tmp_path, raw, message, packed):
    path = tmp_path / ("a.idx.gz" if packed else "a.idx")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DataError, match=message.replace(r"a\.idx", rf"{path.name}")):
        load(path)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-9], lambda raw: raw[:25] + b"\xff" + raw[26:], lambda raw: raw[8:]]
)
def test_a_damaged_archive_is_refused(tmp_path, damage):
    (tmp_path / "a.idx.gz").write_bytes(damage(gzip.compress(idx(IMAGES))))
    with pytest.raises(DataError, match=r"a\.idx\.gz: is damaged or not what its name says"):
        load(tmp_path / "a.idx.gz")


def test_more_than_the_limit_is_refused(tmp_path):
    (tmp_path / "a.idx").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match="raise limit_bytes"):
        load(tmp_path / "a.idx", limit_bytes=29)


def test_labels_in_place_of_images_are_refused(mnist):
    with pytest.raises(ShapeError, match=r"the features have shape \(2,\)"):
        load(mnist / "t10k-labels-idx1-ubyte")


def test_other_labels_than_images_are_refused(mnist):
    (mnist / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:4])))
    with pytest.raises(ShapeError, match=r"5 rows but targets of shape \(4,\)"):
        load(mnist / "train-images-idx3-ubyte")


def test_a_target_column_is_refused(mnist):
    with pytest.raises(ConfigError, match="has no columns to be a target; give its label file as labels="):
        load(mnist / "train-images-idx3-ubyte", target=0)
