"""What a stranger may hand in: small valid files of every format, and how each is read.

`READERS[name](path)` reads a file of that kind as a user would, with a small limit. Whatever is in it, the call returns
or raises one of deepxp's own errors. tests/test_untrusted.py mutates the seeds; scripts/fuzz.py lets a coverage-guided
fuzzer do it.
"""

import gzip
import io
import json
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np

import deepxp as dx
from deepxp import safetensors
from deepxp.cli import config
from deepxp.data import load
from deepxp.data.readers.options import Columns

LIMIT = 2**20  # bytes, for every reader here
BOUND = 4 * LIMIT + 64 * 2**20  # what SECURITY.md promises for it

X, y = np.arange(12, dtype=np.uint8).reshape(4, 3), np.array([0, 1, 1, 0])
IDX = bytes([0, 0, 8, 3]) + np.array([4, 3, 1], ">u4").tobytes() + X.tobytes()

IDX_LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes(4)


def npy(array):
    """The bytes of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**members):
    """The bytes of an .npz file whose members have this content, whatever it is."""
    return zipped({f"{name}.npy": content for name, content in members.items()})


def zipped(members, *, declared=None, method=8, flags=0):
    """A zip archive; `declared` is the size that it claims of every member, `method` the packing that it claims."""
    body, directory = b"", b""
    for name, content in members.items():
        packed = content if isinstance(content, Packed) else Packed(content)
        size = packed.size if declared is None else declared
        fields = (20, flags, method, 0, 33, packed.crc, len(packed.content), size, len(name.encode()))
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *fields, 0, 0, 0, 0, 0, len(body)) + name.encode()
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *fields, 0) + name.encode() + packed.content
    end = (0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", *end)


class Packed:
    """Deflated content, for a zip archive."""

    def __init__(self, content=b"", *, zeros=0, raw=None):
        """`content`, and after it `zeros` times 16 MiB of zeros, which are packed once and repeated; or `raw` bytes."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.content = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
        self.content += (zeros * _zeros() if zeros else b"") + b"\x03\x00"
        if raw is not None:
            self.content = raw
        self.size, self.crc = len(content) + zeros * 2**24, zlib.crc32(content)

    def gzipped(self):
        """The same as a gzip file, whose checksum is only right without zeros."""
        return gzip.compress(b"")[:10] + self.content + struct.pack("<2L", self.crc, self.size % 2**32)


@cache
def _zeros():
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)


def model(folder, **changes):
    """The bytes of a model file, whose description may be changed; its checksums are right all the same."""
    net = dx.Network((3, 2, 2), backend="cpu", classes=("no", "yes"), scaler=_scaler(), dropout=0.25)
    net.save(folder / "seed", notes={"features": ["a", "b", "c"], "target": "t", "trained_by": "deepxp train"})
    if changes:
        tensors, metadata = safetensors.read(folder / "seed")
        metadata["deepxp"] = json.dumps(json.loads(metadata["deepxp"]) | changes)
        safetensors.write(folder / "seed", tensors, metadata)
    return (folder / "seed").read_bytes()


def _scaler():
    from deepxp.data import Scaler

    return Scaler.fit(X.astype(float), "standard")


def described(folder, text):
    """The bytes of a model file whose description is `text`, with checksums that are right."""
    (folder / "seed").write_bytes(model(folder))
    tensors, _ = safetensors.read(folder / "seed")
    safetensors.write(folder / "seed", tensors, {"deepxp": text})
    return (folder / "seed").read_bytes()


def named(suffix, **options):
    def read(path):
        data = path.with_name(f"data{suffix}")
        path.rename(data)
        return load(data, limit_bytes=LIMIT, **options)

    return read


def _inside(pack, reader):
    def read(path):
        path.write_bytes(pack(path.read_bytes(), path.parent))
        return reader(path)

    return read


def _labels(path):
    (path.parent / "X.npy").write_bytes(npy(X))
    return load(path.parent / "X.npy", labels=path, limit_bytes=LIMIT)


def _utf8(content, folder):
    return described(folder, content.decode(errors="replace"))


def _predict(path):
    net = dx.load(path, "cpu", limit_bytes=LIMIT)
    return net.predict(X.T[: net.sizes[0]]) if net.sizes[0] <= 3 else net


NAMED = Columns(("a", "b", "c"), "t")
READERS = {
    "npy": named(".npy"),
    "npy.gz": _inside(lambda content, _: gzip.compress(content), named(".npy.gz")),
    "npy.gz of its own": named(".npy.gz"),
    "npz": named(".npz"),
    "npz member": _inside(lambda content, _: npz(X=content, y=npy(y)), named(".npz")),
    "gz": named(".csv.gz"),
    "csv": named(".csv"),
    "csv of a model": named(".csv", columns=NAMED, n_features=3),
    "svm": named(".svm"),
    "idx": named(".idx"),
    "labels": _labels,
    "model": _predict,
    "model description": _inside(_utf8, _predict),
    "header": safetensors.read_header,
    "config": lambda path: config.settings({}, str(path)),
}

CSV = b'a,b,c,t\n1,2,3,yes\n4,5.5,-6e1,"no, never"\n\n# text\n7,8,9,yes\n'


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Valid files, by the name of their reader."""
    whole = model(folder)
    description = json.loads(safetensors.read(folder / "seed")[1]["deepxp"])
    arrays = [npy(X), npy(np.asfortranarray(X / 3)), npy(X.astype(">i4"))]
    return {
        "npy": arrays,
        "npy.gz": arrays,
        "npy.gz of its own": [gzip.compress(npy(X), mtime=0)],
        "npz": [npz(X=npy(X), y=npy(y)), npz(x_train=npy(X), y_train=npy(y), x_test=npy(X), y_test=npy(y))],
        "npz member": arrays,
        "gz": [gzip.compress(CSV, mtime=0)],
        "csv": [CSV, b"1,2,0\n3,4,1\n"],
        "csv of a model": [CSV, b"1,2,3\n4,5,6\n"],
        "svm": [b"# made\n+1 1:0.5 3:2 # a\n\n-1 2:-1e3\n0\n"],
        "idx": [IDX, bytes([0, 0, 0x0D, 2]) + np.array([2, 2], ">u4").tobytes() + bytes(16)],
        "labels": [b"label\n1\n2\n2\n1\n", b"yes\nno\nno\nyes\n", IDX_LABELS],
        "model": [whole],
        "model description": [json.dumps(description).encode()],
        "header": [whole],
        "config": [b'hidden = [256, 128]\nlr = 0.001 # rate\nactivation = "relu"\ndropout = 0.5\nheader = false\n'],
    }


TOKENS = [
    *(b"0", b"-1", b"1e999", b"nan", b"inf", b"9" * 25, b"4294967295", b"18446744073709551615", b"'", b'"', b"\\"),
    *(b"[[[[[[[[", b"{", b"}", b"]", b"(", b")", b",", b":", b"\n", b"\0", b"\xff\xff\xff\xff", b"\xef\xbb\xbf"),
    *(b"null", b"true", b"__import__('os').system('false')", b"O", b"|O8", b"M8[ns]", b"U99999999", b"\\ud800"),
    *(b"../../x.npy", b"PK\1\2", b"PK\5\6", b"\x93NUMPY\x02\x00", b"__metadata__", b"a.b.c.", b"#", b"\r", b"\x1f"),
]
