"""Files from strangers: whatever is in them, a reader returns or raises an error of deepxp's own, within its bounds.

The promises are in SECURITY.md. Mutations of valid files here, the same on every machine; `nox -s fuzz` goes on where
these end.
"""

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hostile import BOUND, CSV, LIMIT, READERS, TOKENS, Packed, X, model, npy, npz, seeds, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepxp as dx
from deepxp.cli import main
from deepxp.data import load

places = st.floats(0, 1, exclude_max=True)
change = st.one_of(
    st.tuples(st.just("byte"), places, st.integers(0, 255)),
    st.tuples(st.just("bit"), places, st.integers(0, 7)),
    st.tuples(st.just("token"), places, st.sampled_from(TOKENS)),
    st.tuples(st.just("over"), places, st.sampled_from(TOKENS)),
    st.tuples(st.just("drop"), places, st.integers(1, 40)),
    st.tuples(st.just("again"), places, st.integers(1, 40)),
    st.tuples(st.just("number"), places, st.sampled_from([2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])),
    st.tuples(st.just("cut"), places, st.just(0)),
)


def mutated(content, changes):
    for kind, place, what in changes:
        i = int(place * len(content))
        if kind in ("byte", "bit") and content:
            new = what if kind == "byte" else content[i] ^ 1 << what
            content = content[:i] + bytes([new]) + content[i + 1 :]
        elif kind == "token":
            content = content[:i] + what + content[i:]
        elif kind == "over":
            content = content[:i] + what + content[i + len(what) :]
        elif kind == "drop":
            content = content[:i] + content[i + what :]
        elif kind == "again":
            content = content[: i + what] + content[i:]
        elif kind == "number":
            content = content[:i] + what.to_bytes(8, "little") + content[i + 8 :]
        elif kind == "cut":
            content = content[:i]
    return content


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("seeds"))


def read(name, content, folder):
    """Read the content; the error, if it is one that a reader may raise. Any other one goes on up."""
    path = folder / "untrusted"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        READERS[name](path)
    except dx.DeepxpError as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= BOUND
    return None


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_valid(tmp_path, valid, name):
    for number, content in enumerate(valid[name]):
        (tmp_path / str(number)).mkdir()
        assert read(name, content, tmp_path / str(number)) is None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused(tmp_path, valid, name, data):
    content = mutated(data.draw(st.sampled_from(valid[name])), data.draw(st.lists(change, min_size=1, max_size=4)))
    error = read(name, content, tmp_path)
    assert error is None or 0 < len(str(error)) < 2000


values = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, -1, 1, 2, 3, 10**400, 2**63, 0.5, 1e308]) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "sizes",
    "hidden",
    "loss",
    "dtype",
    "seed",
    "dropout",
    "epochs",
    "classes",
    "scaler",
    "notes",
    "format",
    "other",
)


@settings(max_examples=80, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=2))
def test_a_model_described_in_any_other_way_is_read_or_refused(tmp_path, changes):
    read("model", model(tmp_path, **changes), tmp_path)


# --- what unpacks to far more than it is ------------------------------------------------------------------------------


HEADER = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little")
NO_WIDTH = b"{'descr': '|V0', 'fortran_order': False, 'shape': (1, 1), }"


LZMA = b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff" + bytes(20)  # a dictionary of 4 GiB, taken before a byte is unpacked


def gibibyte():
    """The start of an .npy file that is packed into 1 MB and unpacks to 1 GiB."""
    header = io.BytesIO()
    layout = {"descr": "<i8", "fortran_order": False, "shape": (2**14, 2**13)}
    np.lib.format.write_array_header_1_0(header, layout)
    return Packed(header.getvalue(), zeros=64)


BOMBS = {  # the name of a reader, and a small file that asks it for much memory or time
    "npz of 1 GiB": lambda: ("npz", zipped({"X.npy": gibibyte()})),
    "npz that declares less": lambda: ("npz", zipped({"X.npy": gibibyte()}, declared=LIMIT // 2)),
    "npz that declares more": lambda: ("npz", zipped({"X.npy": npy(X)}, declared=LIMIT // 2)),
    "npz of lzma": lambda: ("npz", zipped({"X.npy": Packed(raw=LZMA)}, method=14)),
    "npz of an unknown packing": lambda: ("npz", zipped({"X.npy": npy(X)}, method=77)),
    "npz that is encrypted": lambda: ("npz", zipped({"X.npy": npy(X)}, flags=1)),
    "npz of 10^4 names": lambda: ("npz", npz(**{f"{i}" * 20: b"" for i in range(10**4)})),
    "npy.gz of 1 GiB": lambda: ("npy.gz of its own", gibibyte().gzipped()),
    "npy.gz with a header of 4 GiB": lambda: ("npy.gz of its own", Packed(HEADER, zeros=64).gzipped()),
    "npy with minus signs": lambda: ("npy", npy(X)[:8] + (9990).to_bytes(2, "little") + b"-" * 9989 + b"1"),
    "npy with brackets": lambda: ("npy", npy(X)[:8] + (9990).to_bytes(2, "little") + b"[" * 9990),
    "npy of no width": lambda: ("npy", npy(X)[:8] + b"\x78\0" + NO_WIDTH.ljust(120)),
    "csv.gz of 1 GiB": lambda: ("gz", Packed(CSV, zeros=64).gzipped()),
    "csv of a quote": lambda: ("csv", b'a,b\n"' + b"1,\n" * 10**6),
    "csv of quotes in quotes": lambda: ("csv", b'1,"\n' + b'","\n' * 500_000),
    "csv of one line": lambda: ("csv", b"1," * 10**6),
    "csv of a long label": lambda: ("csv", b"1,a\n" * 6000 + b"1," + b"a" * 100_000 + b"\n"),
    "csv of empty lines": lambda: ("csv", b"\n" * 2**18),
    "labels of a long one": lambda: ("labels", b"a\n" * 2000 + b"a" * 100_000),
    "svm of a wide row": lambda: ("svm", b"1 9999999999:1\n"),
    "svm of a long number": lambda: ("svm", b"1 " + b"9" * 10**6 + b":1\n"),
    "svm of labels": lambda: ("svm", b"1\n" * 500_000),
    "idx of 255 sizes": lambda: ("idx", bytes([0, 0, 8, 255]) + b"\xff" * 4 * 255),
    "idx with a size of 0": lambda: ("idx", bytes([0, 0, 8, 8]) + b"\xff" * 28 + b"\0" * 4),
    "config of brackets": lambda: ("config", b"a = " + b"[" * 16_000),
    "config of dots": lambda: ("config", b"a." * 8000 + b"a = 1"),
    "config of tables": lambda: ("config", b"[" + b"a." * 8000 + b"a]"),
    "config of quoted dots": lambda: ("config", b'"a".' * 4000 + b"a = 1"),
    "config of quotes": lambda: ("config", b'a = """' + b'"a' * 8000),
    "config of 27 kB": lambda: ("config", b"# \n" * 9000),
    "model of brackets": lambda: ("model", (10**6).to_bytes(8, "little") + b'{"a":' + b"[" * (10**6 - 5)),
    "model of lists": lambda: (
        "model",
        (10**6).to_bytes(8, "little") + b'{"a":[' + b"[]," * ((10**6 - 6) // 3) + b"  ",
    ),
    "model of a string": lambda: ("model", (10**6).to_bytes(8, "little") + b'{"a":"' + b'\\"' * 499_997),
    "model of a long number": lambda: ("model", (10**6).to_bytes(8, "little") + b'{"a":' + b"9" * (10**6 - 6) + b"}"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(tmp_path, name):
    reader, content = BOMBS[name]()
    assert len(content) < 3 * 2**20
    error = read(reader, content, tmp_path)
    assert isinstance(error, dx.DataError | dx.ModelFileError | dx.ConfigError), error


CHOSEN = [
    BOMBS[name]
    for name in BOMBS
    if any(word in name for word in ("GiB", "brackets", "dots", "minus", "string", "lzma"))
]
CHILD = """
import resource, sys
from pathlib import Path
import deepxp as dx
from hostile import READERS
dx.Network((3, 2), backend="cpu").predict([[0.0]] * 3)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for name in sorted(Path(sys.argv[1]).iterdir()):
    try:
        READERS[(name / "reader").read_text()](name / "untrusted")
    except dx.DeepxpError as error:
        print("memory" if isinstance(error, MemoryError) else "refused")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on address space are Linux's")
def test_bombs_are_refused_by_a_process_that_has_256_mib_and_a_minute(tmp_path):
    for number, build in enumerate(CHOSEN):
        folder = tmp_path / "in" / f"{number:02}"
        folder.mkdir(parents=True)
        reader, content = build()
        (folder / "reader").write_text(reader)
        (folder / "untrusted").write_bytes(content)
    path = [str(Path(__file__).parent), *(p for p in sys.path if p)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{CHILD}", str(tmp_path / "in")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["refused"] * len(CHOSEN)


def test_a_line_and_a_record_are_bounded_too(tmp_path):
    """Their cells are objects, which take 30 times as much as the text."""
    for content, message in (
        (b"1," * 2**20, "longer than 1048576 bytes"),
        (b'1,"\n' + b'","\n' * 400_000, "close the"),
    ):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(dx.DataError, match=message):
            load(tmp_path / "a.csv", limit_bytes=2**26)


@pytest.mark.parametrize(
    "changes",
    [{"dropout": [10**400]}, {"seed": -1}, {"loss": "x"}, {"hidden": ["x"]}, {"classes": ["a"]}],
)
def test_a_description_that_fits_no_network_is_refused(tmp_path, changes):
    assert read("model", model(tmp_path, **changes), tmp_path) is not None


def test_a_megabyte_that_unpacks_to_a_gigabyte_is_refused_by_default_and_the_flag_is_named(tmp_path, capsys):
    path = tmp_path / "bomb.npz"
    path.write_bytes(BOMBS["npz of 1 GiB"]()[1])
    assert path.stat().st_size < 1.1 * 2**20
    with pytest.raises(dx.DataError, match="needs 1,024 MiB unpacked, more than the limit of 256 MiB; raise limit_byt"):
        load(path)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 1
    assert "raise --limit-bytes if the file is to be trusted" in capsys.readouterr().err
    assert main(["train", str(path), "--limit-bytes", "2e9", "--out", str(tmp_path / "run")]) == 2
    assert main(["train", str(path), "--limit-bytes", "99", "--out", str(tmp_path / "run")]) == 1
    assert "the limit of 0 MiB" in capsys.readouterr().err


def test_the_limit_of_a_model_file_is_a_flag_too(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model(tmp_path))
    with pytest.raises(dx.ModelFileError, match=r"more than the limit of 10: raise limit_bytes"):
        dx.load(path, "cpu", limit_bytes=10)
    for command in (["evaluate", str(path), "x.csv"], ["predict", str(path), "x.csv"], ["info", str(path)]):
        assert main([*command, "--limit-bytes", "10"]) == 1
        assert "raise --limit-bytes" in capsys.readouterr().err


def test_a_model_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model(tmp_path))
    monkeypatch.setattr("deepxp.safetensors.available", lambda: 100)
    with pytest.raises(dx.ModelFileError, match="100 bytes of memory are free"):
        dx.load(path, "cpu")


# --- what a file says is done nowhere ---------------------------------------------------------------------------------


def test_paths_inside_an_archive_are_ignored(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    evil = {name: npy(X) for name in ("../evil.npy", "/tmp/evil.npy", "..\\evil.npy", "X.npy")}
    (inner / "a.npz").write_bytes(zipped(evil))
    np.testing.assert_array_equal(load(inner / "a.npz").X, X)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npz", "inner"]


def test_a_header_is_never_given_to_python(tmp_path, monkeypatch):
    import ast
    import pickle

    def never(*_, **__):
        raise AssertionError("read by Python")

    for module, name in ((ast, "literal_eval"), (pickle, "load"), (pickle, "loads"), (np, "load")):
        monkeypatch.setattr(module, name, never)
    (tmp_path / "a.npy").write_bytes(npy(X))
    (tmp_path / "a.npz").write_bytes(npz(X=npy(X), y=npy(X[:, 0])))
    np.testing.assert_array_equal(load(tmp_path / "a.npy").X, X)
    np.testing.assert_array_equal(load(tmp_path / "a.npz").X, X)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'shape': (2L, 3L), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr":"<f4","fortran_order":False,"shape":(2,3)}',
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2,3,), }",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_as_other_programs_write_them(tmp_path, header, version):
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    values = np.arange(6, dtype="<f4")
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + values.tobytes())
    np.testing.assert_array_equal(load(path).X, values.reshape(2, 3, order="F" if "True" in header else "C"))


def test_no_module_reads_with_pickle_or_runs_what_it_reads():
    import ast

    package = Path(dx.__file__).parent
    banned = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not banned & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "literal_eval", "__import__"}, path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_a_text_within_the_depth_is_read():
    from deepxp.bounded import DEPTH, from_json, from_toml

    deep = "[" * DEPTH + "]" * DEPTH
    assert json.dumps(from_json(deep, 100)) == deep
    assert from_toml(f"a = {deep}")["a"] == json.loads(deep)
    assert from_json(json.dumps("[" * 99 + '\\"' * 99), 1000) == "[" * 99 + '\\"' * 99
    assert from_toml("a = '" + "[" * 99 + "' # " + "[" * 99 + '\nb = """' + "[.\n" * 99 + '"""\nc = 1.5')["c"] == 1.5
    for text in ("[" + deep + "]", '{"a":' + deep + "}"):
        with pytest.raises(ValueError, match="nested deeper"):
            from_json(text, 100)
    for text in (f"a = [{deep}]", "a." * 40 + "a = 1", "[" + "a ." * 40 + "a]"):
        with pytest.raises(ValueError, match="nested deeper"):
            from_toml(text)


def test_half_a_character_is_no_text(tmp_path):
    from deepxp.bounded import from_json

    half = "\\ud800"
    for text in (f'["{half}"]', f'{{"a": [{{"{half}": 1}}]}}', f'"a{half}b"', f'"{half}{half}"'):
        with pytest.raises(ValueError, match=r"the text has half a character: .*ud800"):
            from_json(text, 100)
    assert from_json('{"\\ud83d\\ude00": "\\u00e9"}', 100) == {"\U0001f600": "\u00e9"}
    about = {"sizes": (2, 2), "classes": ("\ud800", "b")}
    dx.Network((2, 2), backend="cpu", classes=("a", "b")).save(tmp_path / "m")
    tensors, metadata = dx.safetensors.read(tmp_path / "m")
    dx.safetensors.write(tmp_path / "m", tensors, {"deepxp": json.dumps(json.loads(metadata["deepxp"]) | about)})
    with pytest.raises(dx.ModelFileError, match="does not describe a deepxp network: the text has half a character"):
        dx.load(tmp_path / "m", "cpu")


def test_a_device_is_no_file(tmp_path):
    for name, error in (("/dev/zero", dx.DataError), ("/dev/null", dx.DataError)):
        with pytest.raises(error):
            load(name, delimiter=",", limit_bytes=LIMIT)
    with pytest.raises(dx.ConfigError, match="a folder or a device"):
        READERS["config"]("/dev/zero")
    with pytest.raises(dx.ModelFileError, match="a folder or a device"):
        dx.load("/dev/zero", "cpu")


def test_names_from_a_file_do_not_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("1,2,\x1b[2Jred\n" * 3 + "1,x\x07,0\n")
    assert main(["train", str(tmp_path / "a.csv"), "--out", str(tmp_path / "r")]) == 1
    net = dx.Network((2, 2), backend="cpu", classes=("\x1b[31mred", "blue"))
    net.save(tmp_path / "m")
    (tmp_path / "b.csv").write_text("1,2,blue\n3,4,blue\n")
    assert main(["evaluate", str(tmp_path / "m"), str(tmp_path / "b.csv")]) == 0
    assert main(["info", str(tmp_path / "m")]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\x07" not in out + err
    assert "\\x1b[31mred" in out
