"""What a bug report asks for, and lines of advice that can be followed wherever deepxp was installed from."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import deepxp
from deepxp import machine

PACKAGE = Path(deepxp.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def git(folder, *words):
    names = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | names
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, env=env
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of one commit with a package in it, which takes the place of deepxp's."""
    package = tmp_path / "deepxp"
    package.mkdir()
    (package / "file.py").write_text("1\n")
    (tmp_path / "other").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(machine, "PACKAGE", package)
    return tmp_path


def test_a_checkout_says_its_commit_and_whether_the_package_has_changed(checkout):
    head = git(checkout, "rev-parse", "HEAD")[:12]
    assert machine.commit() == head
    (checkout / "other").write_text("2\n")
    assert machine.commit() == head
    (checkout / "deepxp" / "new.py").write_text("2\n")
    assert machine.commit() == f"{head}+"


def test_a_checkout_without_git_or_a_commit_has_none_to_name(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert machine.commit() is None
    monkeypatch.undo()
    monkeypatch.setattr(machine, "PACKAGE", checkout / "elsewhere" / "deepxp")
    (checkout / "elsewhere").mkdir()
    git(checkout / "elsewhere", "init", "-q")
    assert machine.commit() is None


@pytest.mark.parametrize(
    ("said", "commit"),
    [
        ({"url": "u", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}, "0123456789ab"),
        ({"url": "file:///a", "dir_info": {}}, None),
        (None, None),
    ],
)
def test_an_installed_package_says_what_pip_knows(tmp_path, monkeypatch, said, commit):
    monkeypatch.setattr(machine, "PACKAGE", tmp_path / "site-packages" / "deepxp")
    distribution = SimpleNamespace(read_text=lambda name: None if said is None else json.dumps(said))
    monkeypatch.setattr(metadata, "distribution", lambda name: distribution)
    assert machine.commit() == commit


def test_paths_do_not_name_the_user(monkeypatch):
    monkeypatch.setenv("HOME", os.path.join(os.sep, "home", "ann"))
    monkeypatch.setenv("USERPROFILE", os.path.join(os.sep, "home", "ann"))
    home = os.path.expanduser("~")
    for path, said in (
        (os.path.join(home, "x"), os.path.join("~", "x")),
        (home, "~"),
        (home + "e", home + "e"),
        (os.pathsep.join([home, os.path.join(home, "x")]), os.pathsep.join(["~", os.path.join("~", "x")])),
        ("3", "3"),
    ):
        assert machine.homely(path) == said
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.path.join(home, "cache"))
    assert machine.environment()["NUMBA_CACHE_DIR"] == os.path.join("~", "cache")


def test_the_threads_of_the_blas_are_those_it_was_told():
    if not machine.address("openblas_get_config"):
        pytest.skip("NumPy brings no OpenBLAS here")
    code = "from deepxp.machine import blas; print(*blas(), sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    name, threads = ran.stdout.splitlines()
    assert re.match(r"OpenBLAS \d+\.\d+", name) and threads == "1"


def test_another_blas_is_named_with_the_variables_that_were_set(monkeypatch):
    monkeypatch.setattr(machine, "address", lambda name: 0)
    for name in machine.environment():
        monkeypatch.delenv(name)
    assert machine.blas()[1] == "its own choice"
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert machine.blas()[1] == "MKL_NUM_THREADS=3"
    assert machine.blas()[0] not in ("", "unknown")


def without_numba(expression):
    """What a process prints that cannot import Numba, whether it is installed or not."""
    code = f"import sys; sys.modules.update(numba=None, llvmlite=None)\nfrom deepxp import machine\nprint({expression})"
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.stdout.strip()


def test_without_numba_the_machine_is_described_all_the_same():
    assert without_numba("machine.engine(), machine.numba_cache(), len(machine.describe(()))").startswith(
        "('numpy', 1) None "
    )


def test_numba_that_does_not_import_is_told_with_its_reason():
    pytest.importorskip("numba", reason="Numba is not installed")
    assert machine.numba_problem() == ""
    assert Path(os.path.expanduser(machine.numba_cache())).is_dir()
    assert "halted; None in sys.modules" in without_numba("machine.numba_problem()")


def test_no_line_of_advice_takes_deepxp_from_a_registry():
    """It may have been installed from a checkout or a wheel: what is missing is installed by its own name."""
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, text in texts.items() if re.search(r"install ['\"]?deepxp\b", text)] == []


@pytest.mark.skipif(not PYPROJECT.exists(), reason="pyproject.toml is in the checkout and the sdist only")
def test_what_advice_names_is_what_an_extra_names():
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[><=]", requirement)[0] for extra in extras.values() for requirement in extra}
    said = set()
    for path in PACKAGE.rglob("*.py"):
        for hint in re.findall(r"""pip install ["']?([a-z][\w\[\]>=.{}-]*)""", path.read_text(encoding="utf-8")):
            said.add(re.split(r"[><=]", hint)[0])
    named = {hint for hint in said if "{" not in hint}
    assert {"cupy-cuda13x[ctk]", "numba", "matplotlib", "scikit-learn"} <= named
    assert named - wanted <= {"array-api-compat"}
