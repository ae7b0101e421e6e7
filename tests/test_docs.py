"""README.md and docs/: every block of code runs, and what it prints is what stands there. See `pages` for how.

`python tests/test_docs.py [PAGE ...]` writes what is printed into the pages, and the picture of a training; what it
changes is to be read before it is kept. What is said of formulas is tested in
test_derivation.py, of promises in test_reliability.py.
"""

import importlib.util
import re
import runpy
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from pages import Block, Page, PageError, abbreviated, blocks, compare, indented, updated

import deepxp
import deepxp.data
import deepxp.exchange
import deepxp.explain
from deepxp.data import digits

ROOT = Path(__file__).parent.parent
NAMES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
ELSEWHERE = {  # the tests that run the pages which need more than the test extra, or to the last digit
    "docs/estimators.md": "test_estimators.py",
    "docs/export.md": "test_exchange_docs.py",
    "docs/namespaces.md": "test_namespaces_docs.py",
}
HERE = [name for name in NAMES if name not in ELSEWHERE]
NEEDS = {"docs/seeing.md": "tensorboardX"}

# (blocks that are not run, each with its reason before it; commands that are not deepxp's) by page; no other has any.
NOT_RUN = {
    "README.md": (0, 4),
    "docs/device.md": (2, 0),
    "docs/gpu.md": (1, 1),
    "docs/index.md": (0, 1),
    "docs/performance.md": (0, 3),
    "docs/start.md": (0, 2),
}
SMALLER = {
    "deepxp bench": ("--m", "8", "--n", "8", "--quick", "--limit", "0.1"),
    "deepxp train moons.csv": ("--epochs", "2"),
}
# Commands that end with an error, as the page says.
FAILS = ("deepxp train --resume --out runs/long --lr 0.01", "deepxp train --resume --out runs/mnist")


PATH = re.compile(r"(?<![\w/.-])(?:deepxp|docs|tests|bench|scripts|examples)/[\w./-]*\w\.\w+")
LINK = re.compile(r"\]\(((?!https?:)[^)]+)\)")


def text_of(name):
    return (ROOT / name).read_text("utf-8")


def flowers(folder, name="flowers.csv"):
    """Fisher's irises, and five of them without their species."""
    data = pytest.importorskip("sklearn.datasets", reason="the irises come with scikit-learn").load_iris()
    header = "sepal length,sepal width,petal length,petal width"
    rows = [",".join(map(str, row)) for row in data.data]
    named = [f"{row},{data.target_names[k]}" for row, k in zip(rows, data.target, strict=True)]
    (folder / name).write_text("\n".join([f"{header},species", *named]) + "\n")
    (folder / "new.csv").write_text("\n".join([header, *rows[::30]]) + "\n")


def four_digits(folder):
    """The first rows of the digits, without their labels."""
    np.savetxt(folder / "new.csv", digits().X[:4], "%d", ",")


def images(folder):
    """A file such as MNIST's, of digits with a border; some of its rows as tables, with their labels and without."""
    data = digits()
    X = np.zeros((500, 28, 28), np.uint8)
    X[:, 10:18, 10:18] = 15 * data.X[:500].reshape(-1, 8, 8)
    y = data.y[:500]
    np.savez(folder / "mnist.npz", x_train=X[:400], y_train=y[:400], x_test=X[400:], y_test=y[400:])
    rows = X.reshape(500, -1)[400:440]
    np.savetxt(folder / "new.csv", rows, "%d", ",")
    np.savetxt(folder / "test.csv", np.column_stack([rows, y[400:440]]), "%d", ",")


def sales(folder):
    """A table with a date, a number of each row, and words."""
    rows = [
        f"2026-01-{k % 28 + 1:02},{k},{'Oslo' if k % 3 else 'Turin'},{k % 7},{k % 3 + k % 7 > 3}" for k in range(90)
    ]
    (folder / "sales.csv").write_text("\n".join(["date,id,city,rooms,sold", *rows]) + "\n")


def all_tables(folder):
    """Those that README.md speaks of."""
    flowers(folder, "table.csv")
    sales(folder)
    images(folder)


def digits_and_sales(folder):
    """Those that docs/cli.md speaks of."""
    four_digits(folder)
    sales(folder)


FILES = {"README.md": all_tables, "docs/start.md": flowers, "docs/cli.md": digits_and_sales, "docs/accuracy.md": images}

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documents are not beside these tests")


def runner(name, folder):
    """What runs the blocks of a page in a folder, with the files there that the page speaks of."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} is about {NEEDS[name]}, too")
    FILES.get(name, lambda folder: None)(folder)
    there = {
        "--device gpu": any(device.usable for device in deepxp.devices() if device.name != "cpu"),
        "--onnx": importlib.util.find_spec("onnx") is not None,
    }
    return Page(SMALLER, FAILS, [flag for flag, usable in there.items() if not usable])


@pytest.mark.filterwarnings("default")  # what a reader would see as a warning is no error of the page
@pytest.mark.parametrize("name", HERE)
def test_every_block_runs_and_says_what_the_page_shows(name, tmp_path, monkeypatch):
    monkeypatch.setattr("deepxp.benchmark.run.LARGEST", 0)  # no search for the peak, which takes large products
    with chdir(tmp_path):
        page = runner(name, tmp_path)
        for block in blocks(text_of(name)):
            try:
                compare(block.text, page.run(block))
            except Exception as error:
                raise AssertionError(f"{name}, line {block.line}: {error}") from error
    assert (page.not_run, page.of_others) == NOT_RUN.get(name, (0, 0))


def test_what_is_run_elsewhere_is_run_there():
    for name in set(ELSEWHERE) & set(NAMES):
        assert Path(name).name in (Path(__file__).parent / ELSEWHERE[name]).read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_fenced(name):
    assert indented(text_of(name)) == []  # a fence says what is in it, and so whether it runs


@pytest.mark.parametrize("name", [*NAMES, "SECURITY.md"])
def test_every_path_that_is_named_is_there(name):
    named = PATH.findall(text_of(name))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(name):
    for target in LINK.findall(re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL)):
        path, _, heading = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE) if heading else ()
        assert not heading or heading in [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]


def test_the_start_page_lists_every_page():
    index = text_of("docs/index.md")
    listed = {line for toctree in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in toctree.split()}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def test_the_reference_has_every_public_name():
    page = text_of("docs/reference.md") + text_of("docs/definitions.md")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: (\S+)$", page, re.MULTILINE)}
    rooms = (deepxp, deepxp.data, deepxp.explain, deepxp.exchange)
    assert {name for room in rooms for name in room.__all__} - {"NO_TARGET"} <= shown
    modules = {path.stem for path in (ROOT / "deepxp" / "ops").glob("*.py")} - {"__init__", "typing"}
    assert modules <= shown


def test_the_design_has_the_rooms_that_are_held():
    from test_layers import ROOMS

    rows = re.findall(r"^\| (\d) \| (.*?) \|", text_of("docs/design.md"), re.MULTILINE)
    told = {int(level): set(re.findall(r"`(\w+)`", rooms)) for level, rooms in rows}
    assert told == {level: set(rooms) for level, rooms in ROOMS.items() if level < 7}


def test_the_first_example_of_the_readme_is_15_lines():
    first = next(block for block in blocks(text_of("README.md")) if block.language == "python")
    assert len(first.text.splitlines()) == 15


def test_the_picture_of_a_training_is_the_block_that_is_run():
    script = runpy.run_path(str(ROOT / "scripts" / "terminal_picture.py"))
    assert script["shown"]().startswith("$ deepxp train")
    assert (ROOT / "docs" / "images" / "train.svg").read_text("utf-8") == script["svg"](script["shown"]())


# --- docstrings, as Sphinx gets them


def markup():
    """docs/_ext/docstrings.py, which needs no Sphinx."""
    return runpy.run_path(str(ROOT / "docs" / "_ext" / "docstrings.py"))


def test_an_equation_is_set_apart_and_no_sign_of_it_is_taken_for_markup():
    shown = list(
        markup()["plain"]([r"dW[l] = 1/m dZ[l] * A_^T \ x", "", "With `dZ` |x|, it is*", "", "    y = x"], True)
    )
    assert shown[:3] == [".. container:: equation", "", r"   | dW[l] = 1/m dZ[l] \* A\_^T \\ x"]
    assert r"With ``dZ`` \|x\|, it is\*" in shown
    assert shown[shown.index("::") :] == ["::", "", "    y = x", ""]


def test_one_word_may_be_emphasised():
    assert list(markup()["plain"](["It is *consumed*, 2 * 3 * 4"], False)) == [r"It is *consumed*, 2 \* 3 \* 4", ""]


def test_the_meanings_of_parameters_become_a_list():
    shown = list(markup()["plain"](["one: the first", "    of them", "two: the other"], False))
    assert shown == ["* one: the first of them", "* two: the other", ""]


def test_a_signature_is_that_of_the_source():
    signature = markup()["signature"]
    assert signature(None, "function", "", deepxp.relu, None, "", "") == ("(Z: Array)", "Array")
    assert signature(None, "function", "", deepxp.load, None, "", "")[1] == "Network"
    assert signature(None, "method", "", deepxp.Network.to, None, "", "")[1] == "Network"  # quoted in the source
    assert signature(None, "class", "", deepxp.Adam, None, "", "") is None  # dataclass wrote it


# --- the checkers are fed wrong answers

SHOWN = "device  cpu\nloss 2.106   accuracy 96.10 %  0.18 s\nerror 1.8e-11\n"


@pytest.mark.parametrize(
    "said",
    [
        "device  cpu\nloss 2.3   accuracy 96.10 %  0.18 s\nerror 1.8e-11\n",  # another number
        "device  cpu\nloss 2.106   accurate 96.10 %  0.18 s\nerror 1.8e-11\n",  # another word
        "device  cpu\nloss 2.106   accuracy 96.10 %  0.18 s\nerror 1.8e-5\n",  # more than rounding
        "device  cpu\nloss 2.106   accuracy 96.10 %  0.18 s\n",  # a line less
        "device  cpu\nloss 2.106   accuracy 96.10 %  0.18 s\nerror 1.8e-11\nmore\n",  # a line more
    ],
)
def test_another_output_is_a_difference(said):
    with pytest.raises(PageError):
        compare(SHOWN, said)


def test_times_rounding_and_the_machine_may_differ():
    compare(SHOWN, "device  gpu:0\nloss 2.107   accuracy 96.10 %  7.25 s\nerror 4.0e-10\n")


def test_lines_may_be_left_out_where_it_says_so():
    page, said = "a 1\n...\nb 2\nc 3\n", "a 1\nx\n\nb 2\nc 3\n"
    compare(page, abbreviated(page, said))
    with pytest.raises(PageError):
        compare(page, abbreviated(page, said.replace("c 3", "d 3")))


def test_what_is_wrong_in_a_block_is_raised():
    with pytest.raises(ZeroDivisionError):
        Page().run(Block("python", "1 / 0\n", 1, None))
    with pytest.raises(KeyError):
        Page().run(Block("perl", "print\n", 1, None))
    with pytest.raises(AssertionError, match="neither deepxp nor"):
        Page().run(Block("sh", "rm -r /nowhere\n", 1, None))
    with pytest.raises(AssertionError, match="ended with 2"):
        Page().run(Block("sh", "deepxp train --no-such-flag\n", 1, None))


def test_a_block_that_is_not_run_has_a_reason_and_is_counted():
    page = Page()
    (block,) = blocks("\n<!-- not run: it never ends -->\n```python\nwhile True: pass\n```\n")
    page.run(block)
    assert (block.reason, page.not_run) == ("it never ends", 1)


def test_a_block_without_a_fence_is_seen():
    assert indented("So:\n\n    x = 1\n\nand\n\n```\n    y\n```\n") == ["    x = 1"]


if __name__ == "__main__":
    for name in sys.argv[1:] or HERE:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            text = updated(text_of(name), runner(name, Path(folder)))
        (ROOT / name).write_text(text, "utf-8")
    runpy.run_path(str(ROOT / "scripts" / "terminal_picture.py"), run_name="__main__")
