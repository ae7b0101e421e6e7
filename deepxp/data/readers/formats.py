"""The format of a file: by its name, or, for a name that says nothing, by how it starts."""

import re
from pathlib import Path
from typing import Literal

from deepxp.data.readers.files import opened
from deepxp.data.readers.idx import is_idx

Format = Literal["npz", "npy", "table", "idx", "svmlight"]

SUFFIXES: dict[str, Format] = {
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "table",
    ".tsv": "table",
    ".idx": "idx",
    ".svm": "svmlight",
    ".svmlight": "svmlight",
    ".libsvm": "svmlight",
}
ACCEPTED = f"{', '.join(SUFFIXES)} and MNIST's idx files such as train-images-idx3-ubyte, each also with .gz"


def format_of(path: Path) -> Format | None:
    """The format of `path`, or None if neither its name nor its first bytes tell."""
    name = path.name.lower().removesuffix(".gz")
    if form := SUFFIXES.get(Path(name).suffix):
        return form
    if re.search(r"[-.]idx\d(-ubyte)?$", name):
        return "idx"
    with opened(path) as stream:
        return "idx" if is_idx(stream.read(4)) else None
