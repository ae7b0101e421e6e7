"""The layering of the package: imports only go down, the mathematics imports nothing, and all of it stays small.

A checker that reads a package (`complaints`) is applied to deepxp, and then to small trees with a planted mistake each.
It counts every import: absolute and relative, inside a function, under TYPE_CHECKING, and through `import_module` where
the name, or the start of it, stands in the call. A lazy import upward is still an import upward.
"""

import ast
import graphlib
import importlib.util
import io
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# A room is a module or a sub-package directly under deepxp. A new one needs a line here before it may exist.
ROOMS = {
    0: ["ops", "errors", "interrupt", "version", "memory", "bounded", "pages"],
    1: ["kernels", "namespaces", "toml", "safetensors"],
    2: [
        "backend",
        "devices",
        "dispatch",
        "hyperparameters",
        "inputs",
        "interop",
        "modelfile",
        "parameters",
        "workspace",
        "rng",
        "data",
        "metrics",
    ],
    3: ["initialize", "machine", "network", "optimizers", "recursions"],
    4: ["agreement", "checkpoints", "gradcheck", "evaluation", "footprint", "health", "history", "loss_scale"],
    5: ["training", "step", "functions", "explain", "exchange", "plots", "runs", "tensorboard"],
    6: ["benchmark", "cli", "estimators"],
    7: ["__init__", "__main__"],
}
LEVEL = {room: level for level, rooms in ROOMS.items() for room in rooms}

# Imports from one room to another that is not below it, each with its reason. One that nothing uses any more fails.
EXCEPTIONS = {
    ("training", "step"): "the loop repeats a step",
    ("backend", "devices"): "a backend is made by the name of its device",
    ("backend", "dispatch"): "a backend is a Backend",
    ("backend", "interop"): "that of another library is made by its name",
    ("interop", "dispatch"): "it is a Backend, too",
    ("workspace", "backend"): "the memory of a step is allocated by a backend",
    ("data", "backend"): "a batch is gathered on the device",
    ("data", "workspace"): "a batch fills a workspace",
    ("network", "initialize"): "a network draws its first parameters",
    ("recursions", "network"): "the recursions go through its layers",
    ("modelfile", "parameters"): "a file holds the views of theta by name",
    ("cli", "benchmark"): "a command runs it",
}

# What a definition may need to say its type. None of it computes.
OPS_MAY_IMPORT = {"__future__", "collections.abc", "dataclasses", "typing"}

# Importing deepxp must not import these: they are optional, slow to import, or both.
OPTIONAL = {"cupy", "numba", "scipy", "matplotlib", "sklearn", "onnx", "onnxruntime", "tensorboardX"}

# Code lines, without docstrings, comments and blank lines. What trains a network can be read in an hour; what makes it
# fast, and what stands around it, are rooms that a reader enters only for their own sake.
AROUND = {
    "benchmark",
    "bounded",
    "checkpoints",
    "cli",
    "data",
    "devices",
    "estimators",
    "exchange",
    "explain",
    "interop",
    "loss_scale",
    "machine",
    "memory",
    "pages",
    "plots",
    "runs",
    "safetensors",
    "tensorboard",
    "toml",
}
# 50 of them are the rules of float16 and its rates on the device, 40 tell arrays of other libraries apart, and 40 are
# for targets in their own unit
MOST_CODE_LINES = 2720
MOST_CODE_LINES_OF_KERNELS = (
    2570  # of which 130 multiply on a CPU, and 800 write, launch, multiply, record and send for a GPU, in any thread
)
# the bounds on what strangers hand in are 220 of them, scikit-learn's estimators 650, what shows a step is 950, what
# leaves for other programs and arrives from them 590, networks on torch, JAX and other libraries 340, and what shows a
# run (plots, runs, tensorboard, deepxp plot, and of pages what the benchmark did not have) 1050; columns of words, and
# tables described, are 390
MOST_CODE_LINES_AROUND = 9320
MOST_LINES_IN_A_FILE = 350  # everything counted

PACKAGE = Path(importlib.util.find_spec("deepxp").submodule_search_locations[0])  # finds it without importing it


class Import(NamedTuple):
    importer: str
    line: int
    imported: str
    eager: bool  # runs when the importer is imported


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file; a package's name stands for its __init__.py."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(importer: str, files: dict[str, Path]) -> Iterator[Import]:
    """Every import in the file of `importer`; what is imported is always the name of a module."""
    path = files[importer]
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def imported(node: ast.AST) -> list[str]:
        match node:
            case ast.Import(names=names):
                return [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                base = importlib.util.resolve_name("." * level + (module or ""), package)
                return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in files else base for alias in names]
            case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[name, *_]):
                match name:
                    case ast.Constant(value=str(text)):
                        return [importlib.util.resolve_name(text, package)]
                    case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
                        # f"deepxp.kernels.{name}" is some module of deepxp.kernels
                        return [importlib.util.resolve_name(text, package).rpartition(".")[0]]
        return []

    def walk(node: ast.AST, eager: bool) -> Iterator[Import]:
        for name in imported(node):
            yield Import(importer, node.lineno, name, eager)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            eager = False
        only_typed = isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in ast.iter_child_nodes(node):
            yield from walk(child, eager and not (only_typed and child in node.body))

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True)


def room(module: str) -> str:
    """The room of a module of deepxp; the room of deepxp itself is called __init__."""
    return f"{module}.__init__".split(".")[1]


def complaints(package: Path, exceptions: dict[tuple[str, str], str] | None = None) -> list[str]:
    """What is wrong with the layering of a package, as sentences; an empty list when nothing is."""
    exceptions = exceptions or {}
    files = modules(package)
    homeless = [name for name in files if room(name) not in LEVEL]
    found = [f"{name} has no room: give it a level in {Path(__file__).name}" for name in homeless]
    graph: dict[str, set[str]] = {name: set() for name in files}
    used = set()
    for name in files.keys() - set(homeless):
        for importer, line, imported, _ in imports(name, files):
            where = f"{importer}:{line} imports {imported}"
            here = room(importer)
            there = room(imported) if imported.split(".")[0] == "deepxp" else None
            if here == "ops" and there != "ops":
                if imported not in OPS_MAY_IMPORT:
                    found.append(f"{where}: ops imports nothing but its own modules and {sorted(OPS_MAY_IMPORT)}")
                continue
            if there is None:
                continue
            up = LEVEL.get(there, -1) - LEVEL[here]
            if here != there and up >= 0:
                used.add((here, there))
                if (here, there) not in exceptions:
                    found.append(f"{where}: {there} (level {LEVEL[there]}) is not below {here} (level {LEVEL[here]})")
                    continue
            if up <= 0 and imported != importer:
                graph[importer].add(imported)
    rooms = {room(name) for name in files}
    found += [f"the exception {pair} is not used" for pair in exceptions.keys() - used if set(pair) <= rooms]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append("a circle of imports: " + " <- ".join(error.args[1]))
    return sorted(found)


def needed_to_import(package: Path) -> set[str]:
    """The top-level packages other than deepxp that run when deepxp is imported, whether they are installed or not."""
    files = modules(package)
    external, seen, waiting = set(), set(), ["deepxp"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.split(".")[0] != "deepxp":
            external.add(name.split(".")[0])
        elif name in files:
            waiting += [found.imported for found in imports(name, files) if found.eager]
            waiting += [name.rpartition(".")[0] or "deepxp"]
    return external


def code_lines(source: str) -> int:
    """The number of lines that hold code: no docstrings, comments or blank lines."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def imported_by(statement: str, folder: Path) -> set[str]:
    """Which of OPTIONAL a fresh interpreter imports with `statement`; empty stand-ins are there for all of them."""
    for name in OPTIONAL:
        (folder / f"{name}.py").touch()
    path = os.pathsep.join([str(folder), str(PACKAGE.parent)])
    script = f"{statement}\nimport sys\nprint(*sorted(set(sys.modules) & {OPTIONAL!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# --- deepxp itself ---------------------------------------------------------------------------------------------------


def test_imports_only_go_down():
    assert complaints(PACKAGE, EXCEPTIONS) == []


def test_importing_deepxp_needs_numpy_and_nothing_else():
    assert needed_to_import(PACKAGE) - set(sys.stdlib_module_names) <= {"numpy"}


def test_importing_deepxp_leaves_the_optional_packages_alone(tmp_path):
    assert imported_by("import deepxp", tmp_path) == set()
    assert imported_by("import deepxp, numba", tmp_path) == {"numba"}


def test_what_trains_a_network_can_be_read_in_an_hour():
    lines = {name: code_lines(path.read_text(encoding="utf-8")) for name, path in modules(PACKAGE).items()}
    around = {name: n for name, n in lines.items() if room(name) in AROUND}
    kernels = {name: n for name, n in lines.items() if room(name) == "kernels"}
    print(
        sum(lines.values()) - sum(around.values()) - sum(kernels.values()), sum(around.values()), sum(kernels.values())
    )
    assert sum(lines.values()) - sum(around.values()) - sum(kernels.values()) <= MOST_CODE_LINES, lines
    assert sum(kernels.values()) <= MOST_CODE_LINES_OF_KERNELS, kernels
    assert sum(around.values()) <= MOST_CODE_LINES_AROUND, around


def test_no_file_needs_much_scrolling():
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in {".py", ".cu"}]
    long = {path.name: n for path in files if (n := len(path.read_text("utf-8").splitlines())) > MOST_LINES_IN_A_FILE}
    assert long == {}, "split by concept"


def test_nothing_is_called_utils():
    assert [path for path in PACKAGE.rglob("*") if path.stem in {"util", "utils", "helpers", "misc", "common"}] == []


# --- the checker is fed wrong answers --------------------------------------------------------------------------------

SOUND = {
    "__init__.py": "import deepxp.cli\nfrom deepxp.network import Network\n",
    "errors.py": "",
    "ops/__init__.py": "from .dense import dense",
    "ops/dense.py": "from __future__ import annotations\nfrom collections.abc import Callable\nfrom . import losses",
    "ops/losses.py": "",
    "kernels/__init__.py": "",
    "kernels/numba.py": "import numba\nfrom ..ops.dense import dense\nfrom deepxp import errors",
    "backend.py": "from importlib import import_module\ndef load(name): import_module(f'deepxp.kernels.{name}')",
    "kernels/numpy.py": "",
    "network.py": "import numpy\nfrom . import ops\nfrom .kernels import numpy\nif TYPE_CHECKING: import numba",
    "cli/__init__.py": "from deepxp.cli.main import main",
    "cli/main.py": "from deepxp import backend\ndef main():\n    import matplotlib\n    import deepxp.network",
}


def plant(folder: Path, changes: dict[str, str]) -> Path:
    package = folder / "deepxp"
    for name, source in (SOUND | changes).items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source, encoding="utf-8")
    return package


def test_a_sound_tree_draws_no_complaint(tmp_path):
    assert complaints(plant(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("novelty.py", "", "deepxp.novelty has no room"),
        ("novelty/deep/__init__.py", "", "deepxp.novelty.deep has no room"),
        ("backend.py", "import deepxp.network", "backend:1 imports deepxp.network: network (level 3) is not below"),
        ("backend.py", "from deepxp import network", "backend:1 imports deepxp.network: network"),
        ("backend.py", "from deepxp.network import Network", "backend:1 imports deepxp.network: network"),
        ("backend.py", "from . import network", "backend:1 imports deepxp.network: network"),
        ("kernels/numba.py", "from ..backend import Backend", "kernels.numba:1 imports deepxp.backend: backend"),
        ("kernels/__init__.py", "from ..cli import main", "kernels:1 imports deepxp.cli.main: cli (level 6)"),
        ("backend.py", "def f():\n    from .network import Network", "backend:2 imports deepxp.network"),
        ("backend.py", "class C:\n    async def f():\n        import deepxp.cli", "backend:3 imports deepxp.cli"),
        ("backend.py", "if TYPE_CHECKING:\n    from .network import Network", "backend:2 imports deepxp.network"),
        ("backend.py", "import_module('deepxp.network')", "backend:1 imports deepxp.network"),
        ("backend.py", "importlib.import_module('.network', __package__)", "backend:1 imports deepxp.network"),
        ("backend.py", "import_module(f'deepxp.cli.{name}')", "backend:1 imports deepxp.cli: cli"),
        ("network.py", "from deepxp import Network", "network:1 imports deepxp: __init__ (level 7)"),
        ("optimizers.py", "from .network import Network", "network (level 3) is not below optimizers (level 3)"),
        ("ops/losses.py", "import numpy as np", "ops.losses:1 imports numpy: ops imports nothing but"),
        ("ops/losses.py", "from math import exp", "ops.losses:1 imports math: ops imports nothing but"),
        ("ops/losses.py", "from ..errors import DataError", "ops.losses:1 imports deepxp.errors: ops imports nothing"),
        ("ops/losses.py", "from deepxp.ops.dense import dense", "a circle of imports: "),
    ],
)
def test_a_planted_mistake_is_caught(tmp_path, file, source, complaint):
    found = complaints(plant(tmp_path, {file: source}))
    assert len(found) == 1
    assert complaint in found[0]


def test_an_exception_covers_its_pair_and_fails_when_it_is_not_used(tmp_path):
    pairs = {("optimizers", "network"): "a reason"}
    assert complaints(plant(tmp_path, {"optimizers.py": "from .network import Network"}), pairs) == []
    assert complaints(plant(tmp_path, {"optimizers.py": ""}), pairs) == [
        "the exception ('optimizers', 'network') is not used"
    ]


def test_exceptions_do_not_excuse_a_circle(tmp_path):
    pairs = {("optimizers", "network"): "a reason", ("network", "optimizers"): "a reason"}
    circle = {"optimizers.py": "from .network import Network", "network.py": "from .optimizers import Adam"}
    (complaint,) = complaints(plant(tmp_path, circle), pairs)
    assert complaint.startswith("a circle of imports: ")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("network.py", "from .kernels import numba"),
        ("network.py", "class C:\n    try:\n        import numba\n    except ImportError:\n        pass"),
        ("network.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import numba"),
        ("cli/__init__.py", "import numba"),
        ("kernels/__init__.py", "import numba"),  # runs before deepxp.kernels.numpy does
    ],
)
def test_an_optional_package_at_module_level_is_caught(tmp_path, file, source):
    assert needed_to_import(plant(tmp_path, {})) == {"numpy", "importlib", "collections", "__future__"}
    assert "numba" in needed_to_import(plant(tmp_path, {file: source}))


def test_only_code_is_counted():
    counted = "x = 1  # code\ny = (\n    2\n)\ndef f():\n    return '''a\n    b'''\n"
    source = f'"""A\ndocstring."""\n\n# a comment\n{counted}\n\ndef g(): \n    """Another."""'
    assert code_lines(source) == 8
