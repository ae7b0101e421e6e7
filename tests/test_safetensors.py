"""Model files: what goes in comes out, other programs agree, and no damage goes unnoticed."""

import errno
import json
import os
import stat
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from deepxp import safetensors
from deepxp.errors import DataError, ModelFileError

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links, pipes and folders to sync are POSIX")
DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def peer():
    return pytest.importorskip("safetensors.numpy", reason="the safetensors package, the reference, is not installed")


def assert_same(read, written):
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert_array_equal(read[name], array, strict=False)
        assert read[name].dtype == array.dtype.newbyteorder("=") and read[name].shape == array.shape


def small():
    return {"W": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 3)), "on": np.array([True, False])}


def one_of_each():
    tensors = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    return {**tensors, "empty": np.ones((0, 2)), "scalar": np.array(3.0)}


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# Round trips


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_shape_and_order(path, dtype):
    A = (np.arange(24).reshape(2, 3, 4) * 37 % 101).astype(dtype)
    arrays = {
        "C": A, "F": np.asfortranarray(A), "T": A.T, "step": A[:, ::-2, 1:], "scalar": np.array(A[0, 0, 0]),
        "swapped": A.astype(A.dtype.newbyteorder(">")), "little": A.astype(A.dtype.newbyteorder("<")),
        "empty": A[:0], "none": np.empty((0,), dtype), "one": A[:1, :1, :1],
        "broadcast": np.broadcast_to(A[0], (2, 3, 4)),
    }  # fmt: skip
    for array in arrays.values():
        array.flags.writeable = False
    safetensors.write(path, arrays, {})
    read, metadata = safetensors.read(path)
    assert_same(read, arrays)
    assert metadata == {}
    for array in read.values():
        assert array.flags.owndata and array.flags.writeable and array.flags.aligned and array.flags.c_contiguous


def test_extreme_values_keep_their_bits(path):
    A = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, 1.7e308])
    safetensors.write(path, {"A": A}, {})
    assert safetensors.read(path)[0]["A"].tobytes() == A.tobytes()


def test_metadata_and_names_of_any_text(path):
    tensors = {"": np.zeros(1), 'é"\\\n\x00\x7f\u2028😀': np.ones(1), "W[1]": np.ones(2)}
    metadata = {"": "", "config": json.dumps({"a": [1, None]}), 'k"\x00\r': "\x1f😀\ufffe"}
    safetensors.write(path, tensors, metadata)
    read, text = safetensors.read(path)
    assert_same(read, tensors)
    assert text == metadata


def test_nothing_at_all(path):
    safetensors.write(path, {}, {})
    assert safetensors.read(path) == ({}, {})


def test_equal_input_gives_equal_bytes_and_aligned_data(path, tmp_path):
    tensors = {
        "b": np.ones(3, "f2"),
        "on": np.array([True]),
        "W": np.ones((3, 5)),
        "a": np.ones(1),
        "c": np.ones(1, "f4"),
    }
    safetensors.write(path, tensors, {"x": "1", "y": "2"})
    other = tmp_path / "other"
    safetensors.write(other, dict(reversed(tensors.items())), {"y": "2", "x": "1"})
    assert path.read_bytes() == other.read_bytes()
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0
    entries, _ = safetensors.read_header(path)
    assert list(entries) == ["W", "a", "c", "b", "on"]
    assert all(entry.begin % tensors[name].itemsize == 0 for name, entry in entries.items())


def test_larger_than_every_buffer(path):
    A = np.random.default_rng(0).normal(size=(1000, 513)).astype(np.float32)
    safetensors.write(path, {"A": A, "B": A.T}, {})
    assert_same(safetensors.read(path)[0], {"A": A, "B": A.T})


def test_the_header_alone(path):
    safetensors.write(path, small(), {"k": "v"})
    with path.open("r+b") as file:  # damage to the data does not concern the header
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    entries, metadata = safetensors.read_header(path)
    assert entries == {"b": ("F64", (0, 3), 0, 0), "W": ("F32", (2, 3), 0, 24), "on": ("BOOL", (2,), 24, 26)}
    assert metadata == {"k": "v"}


# Other programs


def test_the_safetensors_package_reads_ours(path, peer):
    tensors = one_of_each()
    safetensors.write(path, tensors, {"format": "np", "é": "ü"})
    assert_same(peer.load_file(path), tensors)
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "np" and metadata["é"] == "ü"
    assert metadata.keys() - {"format", "é"} == {safetensors.TENSORS_SHA256, safetensors.HEADER_SHA256}


def test_we_read_the_safetensors_package(path, peer):
    tensors = one_of_each()
    for metadata in ({"a": "b"}, None):
        peer.save_file(tensors, path, metadata)
        read, text = safetensors.read(path)
        assert_same(read, tensors)
        assert text == (metadata or {})


# Its order of dtypes is its own: in one of these cases it stores the tensors in another order than we do.
@pytest.mark.parametrize(("first", "second"), [("f8", "i8"), ("i8", "f8")])
def test_a_program_that_rewrites_the_file_keeps_it_valid(path, peer, first, second):
    from safetensors import safe_open

    tensors = {"V": np.array([1, 2], first), "W": np.array([3, 4], second), "b": np.zeros((2, 0))}
    safetensors.write(path, tensors, {"k": "v"})
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    peer.save_file(tensors, path, metadata)
    assert_same(safetensors.read(path)[0], tensors)
    assert safetensors.read(path)[1] == {"k": "v"}
    peer.save_file({**tensors, "W": tensors["W"] + 1}, path, metadata)  # other numbers under the old checksum
    with pytest.raises(ModelFileError, match="'W' does not match its checksum"):
        safetensors.read(path)


def test_a_dtype_that_numpy_lacks_is_named(path):
    path.write_bytes(raw({"w": entry([1], [0, 2], "BF16")}, b"\0\0"))
    with pytest.raises(ModelFileError, match=r"'w' has dtype 'BF16'; NumPy has only F64"):
        safetensors.read(path)


# Damage


def test_cut_at_every_byte(path):
    safetensors.write(path, small(), {"k": "v"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            safetensors.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ModelFileError, match="the file has"):
        safetensors.read(path)


def test_a_file_that_shrinks_while_it_is_read(path, monkeypatch):
    path.write_bytes(raw({"w": entry([2**20], [0, 2**20], "U8")}, bytes(2**20)))
    parse = safetensors._parse

    def cut(file):
        os.truncate(path, 1000)
        return parse(file)

    def cut_after(file):
        result = parse(file)
        os.truncate(path, 1000)
        return result

    for change, what in (cut_after, "ends inside tensor 'w'"), (cut, "the file has"):
        monkeypatch.setattr(safetensors, "_parse", change)
        with pytest.raises(ModelFileError, match=what):
            safetensors.read(path)


def test_a_flipped_bit_anywhere(path):
    safetensors.write(path, {"W": np.arange(3, dtype=np.float32), "b": np.zeros((0, 3))}, {"k": "v"})
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:

        def put(position, byte):
            file.seek(position)
            file.write(bytes([byte]))

        for position, byte in enumerate(whole):
            for bit in range(8):
                put(position, byte ^ 1 << bit)
                with pytest.raises(ModelFileError):
                    safetensors.read(path)
            put(position, byte)
    assert_same(safetensors.read(path)[0], {"W": np.arange(3, dtype=np.float32), "b": np.zeros((0, 3))})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        ((2**64 - 1).to_bytes(8, "little"), "header of 18446744073709551615 bytes"),
        (b"\x03" + raw(b"{}")[1:], "header of 3 bytes, and its size allows 2"),
        ((100_000_001).to_bytes(8, "little"), "header of 100000001 bytes"),
        (raw(b""), "not a JSON object"),
        (raw(b" {}"), "not a JSON object"),
        (raw(b"[]"), "not a JSON object"),
        (raw(b"{}x"), "Extra data"),
        (raw(b'{"\xff":1}'), "utf-8"),
        (raw(b'{"\\ud800":1}'), "surrogates"),
        (raw({"__metadata__": {"\ud800": "x"}}), "surrogates"),
        (raw(b'{"a":1,"a":1}'), "'a' twice"),
        (raw(b'{"a":' + b"[" * 200_000), "nested deeper than 32 levels"),
        (raw(b'{"a":' + b'{"a":' * 200_000), "nested deeper than 32 levels"),
        (raw(b'{"a":' + b"1" * 5000 + b"}"), "digits"),
        (raw({"__metadata__": []}), "__metadata__"),
        (raw({"__metadata__": None}), "__metadata__"),
        (raw({"__metadata__": {"a": 1}}), "__metadata__"),
        (raw({"w": 1}), "not described"),
        (raw({"w": {"dtype": "F32", "shape": [0]}}), "not described"),
        (raw({"w": {**entry([0], [0, 0]), "x": 1}}), "not described"),
        (raw({"w": entry([0], [0, 0], ["F32"])}), "dtype"),
        (raw({"w": entry([0], [0, 0], "<f4")}), "dtype"),
        (raw({"w": entry(0, [0, 0])}), "shape"),
        (raw({"w": entry([True, 1], [0, 4])}, b"1234"), "shape"),
        (raw({"w": entry([1.0], [0, 4])}, b"1234"), "shape"),
        (raw({"w": entry([-1, -1], [0, 4])}, b"1234"), "shape"),
        (raw({"w": entry([1] * 65, [0, 4])}, b"1234"), "shape"),
        (raw({"w": entry([2**32, 2**32], [0, 0])}), "shape"),
        (raw({"w": entry([0, 2**62], [0, 0])}), "shape"),
        (raw({"w": entry([0, 2**70], [0, 0])}), "shape"),
        (raw({"w": entry([2**62], [0, 2**64])}), "shape|data_offsets"),
        (raw({"w": entry([2**40], [0, 2**42])}), "the file has 0"),
        (raw({"w": entry([1], [0])}, b"1234"), "data_offsets"),
        (raw({"w": entry([1], [0, 4, 8])}, b"1234"), "data_offsets"),
        (raw({"w": entry([1], [0, 4.0])}, b"1234"), "data_offsets"),
        (raw({"w": entry([1], [-4, 0])}, b"1234"), "data_offsets"),
        (raw({"w": entry([1], [4, 0])}, b"1234"), "data_offsets"),
        (raw({"w": entry([2], [0, 4])}, b"1234"), "data_offsets"),
        (raw({"w": entry([1], [1, 5])}, b"12345"), "starts at byte 1 of the data, expected 0"),
        (raw({"a": entry([1], [0, 4]), "b": entry([1], [5, 9])}, b"123456789"), "'b' starts at byte 5.*expected 4"),
        (raw({"a": entry([2], [0, 8]), "b": entry([1], [4, 8])}, b"12345678"), "'b' starts at byte 4.*expected 8"),
        (raw({"a": entry([1], [0, 4])}, b"12345"), "take 4 bytes, and the file has 5"),
        (raw({"a": entry([2], [0, 2], "BOOL")}, b"\x01\x02"), "BOOL"),
        (raw({"__metadata__": {safetensors.HEADER_SHA256: "0" * 64}}), "header does not match"),
        (raw({"__metadata__": {safetensors.TENSORS_SHA256: "{}"}}), "header does not match"),
    ],
)  # fmt: skip
def test_each_rule_of_the_format(path, content, what):
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(ModelFileError, match=what) as caught:
        safetensors.read(path)
    assert "model.safetensors" in str(caught.value) and len(str(caught.value)) < 1000
    assert time.perf_counter() - start < 1


def test_valid_corner_cases_are_read(path):
    header = json.dumps({"z": entry([1] * 64, [4, 8]), "a": entry([], [0, 4])}, indent=1)  # spaces, and not in order
    path.write_bytes(raw(header.encode() + b"   ", np.array([1, 2], "<f4").tobytes()))
    read, _ = safetensors.read(path)
    assert_same(read, {"a": np.array(1, np.float32), "z": np.full([1] * 64, 2, np.float32)})


ANY_JSON = st.recursive(
    st.sampled_from([None, True, -1, 0, 2**65, 0.5, "F32", "U8", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=6,
)
ANY_TENSOR = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "U8", "BOOL", "BF16"]) | ANY_JSON,
    "shape": st.lists(st.integers(0, 3), max_size=3) | ANY_JSON,
    "data_offsets": st.lists(st.integers(0, 12), min_size=2, max_size=2) | ANY_JSON,
})  # fmt: skip
ANY_METADATA = st.dictionaries(
    st.sampled_from([safetensors.TENSORS_SHA256, safetensors.HEADER_SHA256, "k"]), st.text(max_size=3), max_size=2
)
ANY_HEADER = st.dictionaries(
    st.sampled_from(["__metadata__", "a", "b"]), ANY_TENSOR | ANY_METADATA | ANY_JSON, max_size=3
).map(lambda value: json.dumps(value).encode())
ANY_BYTES = st.binary(max_size=40)


@settings(derandomize=True, database=None, deadline=None, max_examples=250)
@given(ANY_BYTES | st.builds(raw, ANY_HEADER | ANY_BYTES, st.binary(max_size=12)))
def test_no_bytes_do_anything_but_raise_a_model_file_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    try:
        tensors, _ = safetensors.read(path)
    except ModelFileError:
        return
    assert sum(array.nbytes for array in tensors.values()) <= len(content)


def test_a_valid_seal_around_nonsense(path):
    """The checksums are only as good as their author: what they hold is checked like everything else."""
    entries = {"w": safetensors.Entry("U8", (1,), 0, 1)}
    for checksums in ("", "[]", "[" * 100_000, "{}", '{"w":0}', '{"w":"a","w":"b"}', '{"v":"a"}', '{"w":[]}'):
        metadata = {safetensors.TENSORS_SHA256: checksums}
        metadata[safetensors.HEADER_SHA256] = safetensors._seal(entries, metadata)
        path.write_bytes(raw({"__metadata__": metadata, "w": entry([1], [0, 1], "U8")}, b"1"))
        with pytest.raises(ModelFileError):
            safetensors.read(path)


# What cannot be written


@pytest.mark.parametrize(
    ("tensors", "metadata", "what"),
    [
        ({"W": np.zeros(1, complex)}, {}, "'W' has dtype complex128"),
        ({"W": np.array(["a"])}, {}, "dtype"),
        ({"W": np.array([None])}, {}, "dtype"),
        ({"W": np.zeros(1, "M8[s]")}, {}, "dtype"),
        ({"W": np.zeros(1, "f4,f4")}, {}, "dtype"),
        ({"__metadata__": np.zeros(1)}, {}, "__metadata__"),
        ({1: np.zeros(1), "a": np.zeros(1)}, {}, "text"),
        ({}, {"a": 1}, "text"),
        ({}, {1: "a"}, "text"),
        ({}, {safetensors.HEADER_SHA256: "a"}, "header_sha256"),
        ({"\ud800": np.zeros(1)}, {}, "Unicode"),
        ({}, {"a": "\ud800"}, "Unicode"),
        ({}, {"a": "x" * 1000}, "at most 1000"),
    ],
)  # fmt: skip
def test_what_the_format_cannot_hold(path, monkeypatch, tensors, metadata, what):
    monkeypatch.setattr(safetensors, "MAX_HEADER", 1000)
    with pytest.raises(DataError, match=what):
        safetensors.write(path, tensors, metadata)
    assert not path.exists()


# The file system


class Crash(BaseException):
    """Not an Exception, as KeyboardInterrupt is not"""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Crash()])
@pytest.mark.parametrize("point", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(path, monkeypatch, point, error):
    safetensors.write(path, small(), {"k": "old"})
    before = path.read_bytes()

    def fail(*_):
        raise error

    if point == "write":
        real = safetensors._bytes
        calls = iter(range(100))
        # Checksums come first; the fifth call is in the middle of writing.
        monkeypatch.setattr(safetensors, "_bytes", lambda array: fail() if next(calls) == 4 else real(array))
    else:
        monkeypatch.setattr(os, point, fail)
    with pytest.raises(ModelFileError if isinstance(error, OSError) else Crash) as caught:
        safetensors.write(path, small(), {"k": "new"})
    if isinstance(error, OSError):
        assert "model.safetensors': No space left on device; free some space" in str(caught.value)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


@posix
def test_the_data_reaches_the_disk_before_the_name_does(path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(handle):
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        fsync(handle)

    def watch_replace(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        order.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    safetensors.write(path, small(), {})
    assert order == [f"file of {path.stat().st_size}", "replace", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    fsync = os.fsync

    def only_files(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    safetensors.write(path, small(), {})
    assert_same(safetensors.read(path)[0], small())


@posix
def test_the_mode_follows_the_umask(path):
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        earlier = os.umask(mask)
        try:
            safetensors.write(path, {}, {})
        finally:
            os.umask(earlier)
        assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "runs").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "runs" / "one")
    safetensors.write(link, small(), {})
    assert link.is_symlink() and (tmp_path / "runs" / "one").is_file()
    assert_same(safetensors.read(link)[0], small())


def test_names_in_a_working_folder_and_plain_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    safetensors.write("m", small(), {})
    assert_same(safetensors.read("m")[0], small())
    assert os.listdir() == ["m"]


@posix
def test_places_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"nowhere.*create the folder first"):
        safetensors.write(tmp_path / "nowhere" / "m", {}, {})
    with pytest.raises(ModelFileError, match=r"nothing.*No such file"):
        safetensors.read(tmp_path / "nothing")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (tmp_path, pipe):
        with pytest.raises(ModelFileError, match="a folder or a device"):
            safetensors.write(place, {}, {})
        with pytest.raises(ModelFileError, match="a folder or a device"):
            safetensors.read(place)
    assert os.listdir(tmp_path) == ["pipe"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_without_permission(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(safetensors, "open", refuse, raising=False)  # a real folder would not refuse an administrator
    with pytest.raises(ModelFileError, match=r"model\.safetensors.*; choose a folder that you may write to"):
        safetensors.write(path, {}, {})
    path.touch()
    with pytest.raises(ModelFileError, match=os.strerror(number)):
        safetensors.read(path)
