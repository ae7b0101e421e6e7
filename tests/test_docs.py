"""README.md and docs/: every block of code runs, and what it prints is what stands there. See `pages` for how.

`python tests/test_docs.py [PAGE ...]` writes what is printed into the pages; what it changes is to be read before it is
kept. What is said of formulas is tested in test_derivation.py, of promises in test_reliability.py.
"""

import os
import re
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from pages import Block, Difference, Page, blocks, compare, indented, matches, updated

from deepxp.data import digits

ROOT = Path(__file__).parent.parent
NAMES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

# (blocks that are not run, each with its reason before it; commands that are not deepxp's) by page; no other has any.
NOT_RUN: dict[str, tuple[int, int]] = {}
SMALLER = {
    "deepxp bench": ("--m", "8", "--n", "8", "--quick", "--limit", "0.1"),
}
FAILS = (  # commands that end with an error: what it says is shown
    "deepxp train --resume --out runs/long --lr 0.01",
)


def flowers(folder):
    """Fisher's irises, and five of them without their species."""
    data = pytest.importorskip("sklearn.datasets", reason="the irises come with scikit-learn").load_iris()
    header = "sepal length,sepal width,petal length,petal width"
    rows = [",".join(map(str, row)) for row in data.data]
    named = [f"{row},{data.target_names[k]}" for row, k in zip(rows, data.target, strict=True)]
    (folder / "flowers.csv").write_text("\n".join([f"{header},species", *named]) + "\n")
    (folder / "new.csv").write_text("\n".join([header, *rows[::30]]) + "\n")


def four_digits(folder):
    """The first rows of the digits, without their labels."""
    np.savetxt(folder / "new.csv", digits().X[:4], "%d", ",")


FILES = {"docs/start.md": flowers, "docs/cli.md": four_digits}

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documents are not beside these tests")


def runner(name, folder):
    """What runs the blocks of a page in a folder, with the files there that the page speaks of."""
    FILES.get(name, lambda folder: None)(folder)
    return Page(SMALLER, FAILS)


@pytest.mark.filterwarnings("default")  # what a reader would see as a warning is no error of the page
@pytest.mark.parametrize("name", NAMES)
def test_every_block_runs_and_says_what_the_page_shows(name, tmp_path):
    with chdir(tmp_path):
        page = runner(name, tmp_path)
        for block in blocks((ROOT / name).read_text("utf-8")):
            try:
                compare(block.text, page.run(block))
            except Exception as error:
                raise AssertionError(f"{name}, line {block.line}: {error}") from error
    assert (page.not_run, page.of_others) == NOT_RUN.get(name, (0, 0))


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            text = updated((ROOT / name).read_text("utf-8"), runner(name, Path(folder)))
        (ROOT / name).write_text(text, "utf-8")
