import gzip

import numpy as np
import pytest

import deepxp.data
from deepxp.data import load
from deepxp.errors import DataError, DeepxpError


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file$"):
        load(tmp_path / "none.csv")


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; give the file inside it$"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.npy", "a.idx", "a.svm", "a.csv.gz", "a"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name}: is empty \(0 bytes\)$"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet", "a.txt", "a"])
def test_an_unknown_format_lists_what_is_known(tmp_path, name):
    (tmp_path / name).write_text("1,2\n")
    with pytest.raises(DataError, match=rf"{name}: is of no known format; known are \.npz, \.npy, \.csv.*delimiter="):
        load(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("1,2\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(DataError, match=r"a\.csv: no permission to read it$"):
        load(path)


def test_what_is_named_gz_and_is_not(tmp_path):
    (tmp_path / "a.csv.gz").write_text("1,2\n")
    with pytest.raises(DataError, match=r"a\.csv\.gz: is damaged or not what its name says: Not a gzipped file"):
        load(tmp_path / "a.csv.gz")


def test_a_path_may_be_text(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n")
    assert load(str(tmp_path / "a.csv")).X.shape == (1, 1)


def samples_of_every_format(folder):
    X, y = np.arange(24).reshape(6, 4), np.arange(6) % 2
    images = b"\0\0\x08\x03" + np.array([6, 2, 2], ">u4").tobytes() + X.astype(np.uint8).tobytes()
    table = b"a,b,c,t\n" + b'1.5,2,"3",x\n' * 5
    np.savez(folder / "a.npz", X=X, y=y)
    np.savez_compressed(folder / "b.npz", X=X, y=y)
    np.save(folder / "c.npy", X)
    (folder / "d.csv").write_bytes(table)
    (folder / "e.csv.gz").write_bytes(gzip.compress(table, mtime=0))
    (folder / "f.idx").write_bytes(images)
    (folder / "g.idx.gz").write_bytes(gzip.compress(images, mtime=0))
    (folder / "h.svm").write_bytes(b"1 1:2 3:4\n-1 2:0.5 # c\n" * 3)
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore")  # NumPy warns about some of the headers that chance makes
@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path, damage):
    rng = np.random.default_rng(0)
    refused = unnamed = 0
    for path in samples_of_every_format(tmp_path):
        whole = path.read_bytes()
        for _ in range(100):
            raw = bytearray(whole)
            if damage == "cut":
                del raw[rng.integers(len(raw)) :]
            else:
                raw[rng.integers(len(raw))] = rng.integers(256)
            path.write_bytes(raw)
            try:
                load(path, limit_bytes=2**20)
            except DeepxpError as error:
                unnamed += str(path) not in str(error)
                refused += 1
    assert refused > 200 and unnamed == 0


def test_only_what_is_public_is_listed():
    assert dir(deepxp.data) == sorted(deepxp.data.__all__)
    for name in dir(deepxp.data):
        assert getattr(deepxp.data, name) is not None
