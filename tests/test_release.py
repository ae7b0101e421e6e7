"""The release command: what it refuses. Nothing is built and nothing is downloaded; the files are made here."""

import importlib
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

import deepxp

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
if not SCRIPTS.is_dir():
    pytest.skip("scripts/ is in the checkout and the sdist only", allow_module_level=True)

posix = pytest.mark.skipif(os.name != "posix", reason="the interpreters and commands made here are shell scripts")


@pytest.fixture(scope="module")
def releasing():
    """The modules of scripts/releasing, and scripts/release.py as `command`."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        names = ("problem", "ready", "contents", "pythons")
        modules = {name: importlib.import_module(f"releasing.{name}") for name in names}
        yield type("releasing", (), modules | {"command": importlib.import_module("release")})
    finally:
        sys.path[:] = [place for place in sys.path if place != str(SCRIPTS)]
        for name in [name for name in sys.modules if name.split(".")[0] in ("release", "releasing")]:
            del sys.modules[name]


# --- is it ready ------------------------------------------------------------------------------------------------------

PYPROJECT = """\
[project]
requires-python = ">=3.11"
dynamic = ["version"]
classifiers = [
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.11",
]
[tool.hatch.version]
path = "deepxp/version.py"
"""
FILES = {
    "deepxp/version.py": '"""The version."""\n\n__version__ = "1.2.0"\n',
    "pyproject.toml": PYPROJECT,
    "CHANGELOG.md": "## [Unreleased]\n\n## [1.2.0] - 2026-02-03\n\n- It flies.\n\n## [1.1.0] - 2026-01-01\n",
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\ndate-released: 2026-02-03\n",
}


def git(folder, *words):
    names = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, env=os.environ | names)


@pytest.fixture
def checkout(tmp_path):
    """A checkout that is ready to be released as 1.2.0."""
    root = tmp_path / "checkout"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    return root


def complaints(releasing, root):
    return [*releasing.ready.complaints(root, releasing.ready.version(root))]


def test_a_checkout_that_is_ready_draws_no_complaint(releasing, checkout):
    assert complaints(releasing, checkout) == []
    git(checkout, "tag", "v1.2.0")
    assert complaints(releasing, checkout) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CITATION.cff", "\nversion: 1.2.0", "\nversion: 1.1.0", "has version 1.1.0, deepxp/version.py 1.2.0: write"),
        ("CITATION.cff", "\nversion: 1.2.0", "", "CITATION.cff has version none"),
        ("CITATION.cff", "2026-02-03", "2026-02-04", "date-released 2026-02-04, CHANGELOG.md 2026-02-03: write"),
        ("CITATION.cff", "date-released: 2026-02-03", "", "date-released none"),
        (
            "CHANGELOG.md",
            "## [1.2.0] - 2026-02-03\n",
            "",
            "CHANGELOG.md has no section for 1.2.0: put '## [1.2.0] - 20",
        ),
        ("CHANGELOG.md", "- It flies.", "", "CHANGELOG.md says nothing of 1.2.0"),
        ("CHANGELOG.md", " - 2026-02-03", "", "has no date for 1.2.0: the heading is '## [1.2.0] - YYYY-MM-DD'"),
        ("CHANGELOG.md", " - 2026-02-03", " - 2026-02-30", "has no date for 1.2.0"),
        ("CHANGELOG.md", "d]\n", "d]\n\n- It swims.\n", "has changes under Unreleased: move them under [1.2.0]"),
        ("pyproject.toml", 'dynamic = ["version"]', 'version = "1.2.0"', "pyproject.toml has a version of its own"),
        ("pyproject.toml", '"deepxp/version.py"', '"deepxp/__init__.py"', "pyproject.toml has a version of its own"),
    ],
)
def test_what_does_not_agree_is_said_with_the_way_out(releasing, checkout, file, old, new, said):
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "two")
    found = complaints(releasing, checkout)
    assert [line for line in found if said in line], found
    assert len(found) == (2 if not new and "##" in old else 1)  # without its heading the text is Unreleased, too


def test_what_is_in_no_commit_is_no_release(releasing, checkout):
    (checkout / "CHANGELOG.md").write_text(FILES["CHANGELOG.md"] + "\n")
    assert ["CHANGELOG.md: commit it, or" in line for line in complaints(releasing, checkout)] == [True]
    for i in range(5):
        (checkout / f"new{i}").touch()
    (found,) = complaints(releasing, checkout)
    assert "differs from its commit in CHANGELOG.md, new0, new1, new2 and 2 more: commit it, or put it away" in found


def test_a_tag_is_one_commit(releasing, checkout):
    git(checkout, "tag", "-a", "v1.2.0", "-m", "1.2.0")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "two")
    assert complaints(releasing, checkout) == [
        "the tag v1.2.0 is another commit already: raise the version in deepxp/version.py"
    ]


def test_a_folder_within_another_checkout_is_none(releasing, checkout):
    inner = checkout / "inner"
    for name, text in FILES.items():
        (inner / name).parent.mkdir(parents=True, exist_ok=True)
        (inner / name).write_text(text)
    assert releasing.ready.commit(inner) == releasing.ready.time_of_commit(inner) == ""
    assert ["is not a checkout that git can read" in line for line in complaints(releasing, inner)] == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no version: write __version__ ="),
        ("__version__ = '1.2'", "says '1.2': write it as 1.2.3"),
        ("__version__ = '1.02.3'", "says '1.02.3'"),
        ("__version__ = version()", "cannot be read"),
        ("__version__ =", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_version_that_is_none(releasing, tmp_path, text, said):
    (tmp_path / "deepxp").mkdir()
    if text is not None:
        (tmp_path / "deepxp" / "version.py").write_text(text)
    with pytest.raises(releasing.problem.ReleaseError, match=said):
        releasing.ready.version(tmp_path)


def test_the_versions_of_python_stand_in_the_classifiers(releasing, checkout):
    assert releasing.ready.pythons(checkout) == ("3.11", "3.12")
    (checkout / "pyproject.toml").write_text(PYPROJECT.replace(">=3.11", ">=3.12"))
    with pytest.raises(releasing.problem.ReleaseError, match=r"'>=3\.12' and classifiers for 3\.11, 3\.12: make"):
        releasing.ready.pythons(checkout)


def test_the_version_of_deepxp_stands_in_one_place(releasing):
    assert releasing.ready.version(ROOT) == deepxp.__version__
    assert releasing.ready.pythons(ROOT)[0] == "3.11"
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    section = releasing.ready.sections((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")).get(deepxp.__version__)
    assert [*releasing.ready.of_citation(citation, deepxp.__version__, section)] == []
    assert not [line for line in releasing.ready.complaints(ROOT, deepxp.__version__) if "of its own" in line]


# --- what is in the files ---------------------------------------------------------------------------------------------

METADATA = b"Metadata-Version: 2.4\nName: deepxp\nVersion: 1.2.0\nRequires-Dist: numpy>=2.0\n"
EXTRA = b"Provides-Extra: fast\nRequires-Dist: numba; extra == 'fast'\n"
PACKAGE = dict.fromkeys(
    [
        f"deepxp/{name}"
        for name in ("__main__.py", "py.typed", "data/digits.npz", "data/DIGITS.md", "kernels/a.cu", "x.css")
    ],
    b"1",
)
INFO = "deepxp-1.2.0.dist-info"
WHEEL = PACKAGE | {
    f"{INFO}/METADATA": METADATA + EXTRA,
    f"{INFO}/entry_points.txt": b"",
    f"{INFO}/licenses/LICENSE": b"",
}
NAME = "deepxp-1.2.0-py3-none-any.whl"
BESIDE = (
    *("pyproject.toml", "noxfile.py", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
    *("SECURITY.md", "tests/conftest.py", "tests/golden/p.json", "tests/cupy_double/c.py", "tests/hostile/h.py"),
    *("tests/test_x.py", "docs/d.md", "bench/b.py", "bench/gpu/prove.sh", "scripts/s.py"),
)
COMMIT = PACKAGE | dict.fromkeys(BESIDE, b"2")
SDIST = COMMIT | {"PKG-INFO": METADATA + EXTRA}


def write_wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def write_sdist(path, files, folder="deepxp-1.2.0/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def without(files, name):
    assert name in files
    return {other: content for other, content in files.items() if other != name}


def test_a_whole_wheel_and_sdist_draw_no_complaint(releasing, tmp_path):
    wheel = releasing.contents.of_wheel(write_wheel(tmp_path / NAME, WHEEL))
    sdist = releasing.contents.of_sdist(write_sdist(tmp_path / "deepxp-1.2.0.tar.gz", SDIST))
    assert (wheel, sdist) == (WHEEL, SDIST)
    assert [*releasing.contents.complaints_of_wheel(NAME, wheel, PACKAGE, "1.2.0")] == []
    assert [*releasing.contents.complaints_of_sdist("deepxp-1.2.0.tar.gz", sdist, COMMIT, "1.2.0")] == []


@pytest.mark.parametrize(
    ("wheel", "package", "said"),
    [
        (without(WHEEL, "deepxp/py.typed"), PACKAGE, "lacks deepxp/py.typed of the package in the sdist"),
        (without(WHEEL, "deepxp/py.typed"), without(PACKAGE, "deepxp/py.typed"), "lacks deepxp/py.typed: look at"),
        (without(WHEEL, "deepxp/kernels/a.cu"), without(PACKAGE, "deepxp/kernels/a.cu"), "lacks deepxp/kernels/*.cu"),
        (without(WHEEL, "deepxp/x.css"), without(PACKAGE, "deepxp/x.css"), "lacks deepxp/*.css"),
        (without(WHEEL, f"{INFO}/licenses/LICENSE"), PACKAGE, "lacks *.dist-info/licenses/LICENSE"),
        (without(WHEEL, f"{INFO}/entry_points.txt"), PACKAGE, "lacks *.dist-info/entry_points.txt"),
        (WHEEL | {"tests/test_x.py": b""}, PACKAGE, "has tests/test_x.py, which the package in the sdist has not"),
        (WHEEL | {"deepxp/__pycache__/a.nbi": b""}, PACKAGE, "has deepxp/__pycache__/a.nbi, which"),
        (WHEEL | {"deepxp/py.typed": b"other"}, PACKAGE, "has other bytes than the package in the sdist in deepxp/py"),
        (WHEEL | {f"{INFO}/METADATA": METADATA.replace(b"1.2.0", b"1.1.0")}, PACKAGE, "says it is version 1.1.0"),
        (WHEEL | {f"{INFO}/METADATA": METADATA + b"Requires-Dist: numba\n"}, PACKAGE, "needs numpy>=2.0, numba, and"),
        (WHEEL | {f"{INFO}/METADATA": b"Version: 1.2.0\n"}, PACKAGE, "needs nothing, and the promise is NumPy alone"),
        (
            WHEEL | {"deepxp/big": bytes(11 * 10**5)},
            PACKAGE | {"deepxp/big": bytes(11 * 10**5)},
            "installs 1.10 MB, and the prom",
        ),
    ],
)
def test_a_wheel_that_is_not_the_package(releasing, wheel, package, said):
    found = [*releasing.contents.complaints_of_wheel(NAME, wheel, package, "1.2.0")]
    assert [line for line in found if said in line], found


@pytest.mark.parametrize(
    ("sdist", "commit", "said"),
    [
        (without(SDIST, "tests/test_x.py"), COMMIT, "lacks tests/test_x.py of the commit"),
        (without(SDIST, "docs/d.md"), without(COMMIT, "docs/d.md"), "lacks docs/*.md: look at"),
        (without(SDIST, "CITATION.cff"), without(COMMIT, "CITATION.cff"), "lacks CITATION.cff: look at"),
        (without(SDIST, "PKG-INFO"), COMMIT, "lacks PKG-INFO"),
        (SDIST | {"secret": b""}, COMMIT, "has secret, which the commit has not: take it away, commit it, or let"),
        (SDIST | {"LICENSE": b"other"}, COMMIT, "has other bytes than the commit in LICENSE: commit them"),
        (SDIST | {"PKG-INFO": METADATA.replace(b"1.2.0", b"1.1.0")}, COMMIT, "says it is version 1.1.0"),
    ],
)
def test_an_sdist_that_is_not_the_commit(releasing, sdist, commit, said):
    found = [*releasing.contents.complaints_of_sdist("deepxp-1.2.0.tar.gz", sdist, commit, "1.2.0")]
    assert [line for line in found if said in line], found


def test_files_with_the_name_of_another_version(releasing):
    (found,) = releasing.contents.complaints_of_wheel("deepxp-1.1.0-py3-none-any.whl", WHEEL, PACKAGE, "1.2.0")
    assert found == "the wheel is called deepxp-1.1.0-py3-none-any.whl, not deepxp-1.2.0-py3-none-any.whl"
    (found,) = releasing.contents.complaints_of_sdist("deepxp-1.1.0.tar.gz", SDIST, COMMIT, "1.2.0")
    assert found == "the sdist is called deepxp-1.1.0.tar.gz, not deepxp-1.2.0.tar.gz"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (WHEEL, None),
        (WHEEL | {"deepxp/py.typed": b"now"}, "has other bytes, in deepxp/py.typed: what"),
        (dict(reversed(WHEEL.items())), "has other bytes, in the order, the dates or the modes of its files"),
    ],
)
def test_what_is_built_twice_is_the_same(releasing, tmp_path, files, said):
    (tmp_path / "second").mkdir()
    first, second = write_wheel(tmp_path / NAME, WHEEL), write_wheel(tmp_path / "second" / NAME, files)
    found = [*releasing.contents.complaints_of_repetition(first, second)]
    assert [said in line for line in found] == ([True] if said else [])


# --- interpreters and commands ----------------------------------------------------------------------------------------


def interpreter(path, says):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty PATH, an empty pyenv and no uv."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path


@posix
def test_an_interpreter_is_found_where_it_works(releasing, places):
    find = releasing.pythons.find
    assert find("3.8") is None
    interpreter(places / "path" / "python3.8", "exit 127")  # a shim of a version that is not chosen
    assert find("3.8") is None
    for name in ("3.8.2", "3.8.10", "3.8.11"):
        interpreter(places / "pyenv" / "versions" / name / "bin" / "python3.8", f"echo 3.8 {name}")
    interpreter(places / "pyenv" / "versions" / "3.8.11" / "bin" / "python3.8", "echo 3.9 3.9.1")  # is another one
    assert find("3.8").parts[-3] == "3.8.10"
    interpreter(places / "path" / "python3.8", "echo 3.8 3.8.3")
    assert find("3.8").parent.name == "path"


@posix
def test_an_interpreter_that_is_missing_is_named_and_not_left_out_silently(releasing, places):
    interpreter(places / "path" / "python3.8", "echo 3.8 3.8.3")
    interpreter(places / "path" / "python3.10", "echo 3.10 3.10.3")
    promised = ("3.8", "3.9", "3.10")
    with pytest.raises(releasing.problem.ReleaseError) as caught:
        releasing.pythons.chosen(promised, [])
    assert str(caught.value) == (
        "Python 3.9 is neither on the PATH nor with pyenv or uv: install it (`pyenv install 3.9`), or take less: "
        "--python 3.8 --python 3.10"
    )
    found, left_out = releasing.pythons.chosen(promised, ["3.10", "3.8"])
    assert (list(found), left_out) == (["3.8", "3.10"], ["3.9"])
    with pytest.raises(
        releasing.problem.ReleaseError, match=r"does not promise to run on 2\.7, but on 3\.8, 3\.9, 3\.10"
    ):
        releasing.pythons.chosen(promised, ["2.7"])


def test_this_interpreter_is_found(releasing):
    assert releasing.pythons.find(f"3.{sys.version_info.minor}") == Path(sys.executable)


def test_a_command_that_fails_is_one_line_after_what_it_said(releasing, capsys):
    code = "print('a\\n' * 99 + 'the end'); raise SystemExit(3)"
    with pytest.raises(releasing.problem.ReleaseError) as caught:
        releasing.problem.run([sys.executable, "-c", code], "the build", limit=60, out="mend it")
    assert str(caught.value) == "the build failed with exit code 3; what it said last stands above; mend it"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == releasing.problem.SHOWN and said[-1] == "the end"
    with pytest.raises(releasing.problem.ReleaseError, match="the build: no-such-program cannot be started: No such"):
        releasing.problem.run(["no-such-program"], "the build", limit=60)


def test_a_command_gets_a_clean_environment(releasing, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    code = "import os; print(os.environ.get('PYTHONPATH'), os.environ['EXTRA'], os.getcwd())"
    said = releasing.problem.run([sys.executable, "-c", code], "it", limit=60, env={"EXTRA": "more"}, cwd=tmp_path)
    assert said.split() == ["None", "more", str(tmp_path.resolve())]


@posix
def test_a_command_that_hangs_is_ended_with_its_children(releasing, tmp_path):
    child = f"import pathlib, time; time.sleep(2); pathlib.Path({str(tmp_path / 'alive')!r}).touch()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(releasing.problem.ReleaseError, match=r"the build took more than 0\.8 s"):
        releasing.problem.run([sys.executable, "-c", code], "the build", limit=0.8)
    time.sleep(1.6)
    assert not (tmp_path / "alive").exists()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(releasing, checkout, monkeypatch, tmp_path):
    """The command in the checkout that is ready, where building and testing has been done already."""
    wheel, sdist = write_wheel(tmp_path / NAME, WHEEL), write_sdist(tmp_path / "deepxp-1.2.0.tar.gz", SDIST)
    steps = []
    monkeypatch.setattr(releasing.command, "ROOT", checkout)
    monkeypatch.setattr(releasing.command, "TOOLS", ())
    monkeypatch.setattr(releasing.command, "build", lambda scratch, version: (sdist, wheel))
    for name in ("look", "smoke", "test"):
        monkeypatch.setattr(releasing.command, name, lambda *given, name=name: steps.append(name))
    monkeypatch.setattr(releasing.pythons, "find", lambda version: Path(f"python{version}"))
    (checkout / ".git" / "info" / "exclude").write_text("dist/\n")
    releasing.command.steps = steps
    return releasing.command


def test_a_release_leaves_its_files_and_says_what_is_next(command, checkout, capsys):
    assert command.main([]) == 0
    assert command.steps == ["look", "smoke", "smoke", "test"]
    out = capsys.readouterr().out
    assert sorted(path.name for path in (checkout / "dist").iterdir()) == [NAME, "deepxp-1.2.0.tar.gz"]
    assert "Smoke-tested on Python 3.11, 3.12.\n" in out and "Nothing was tagged or uploaded. Next:" in out
    assert f"python -m twine upload dist/deepxp-1.2.0.tar.gz dist/{NAME}\n" in out and "git tag -a v1.2.0" in out


def test_fewer_pythons_are_said_in_the_summary(command, capsys):
    assert command.main(["--python", "3.12"]) == 0
    assert command.steps == ["look", "smoke", "test"]
    assert "Smoke-tested on Python 3.12, as asked; not on 3.11.\n" in capsys.readouterr().out


def test_a_rehearsal_says_what_is_not_ready_and_leaves_nothing(command, checkout, capsys):
    (checkout / "new").touch()
    assert command.main(["--rehearsal", "--without-tests"]) == 0
    out, err = capsys.readouterr()
    assert "not ready: the working tree differs from its commit in new: commit it" in out and err == ""
    assert command.steps == ["look", "smoke", "smoke"] and not (checkout / "dist").exists()


def test_what_is_not_ready_ends_a_release_before_anything_is_built(command, checkout, capsys):
    (checkout / "new").touch()
    (checkout / "CITATION.cff").write_text("version: 0.0.1\n")
    assert command.main([]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and all(line.startswith("release: error: ") for line in err)
    assert command.steps == [] and not (checkout / "dist").exists()


def test_a_checkout_that_changes_meanwhile_is_not_what_was_built(command, checkout, monkeypatch, capsys):
    monkeypatch.setattr(command, "test", lambda *given: (checkout / "new").touch())
    assert command.main([]) == 1
    assert "the checkout has changed meanwhile" in capsys.readouterr().err
    assert not (checkout / "dist").exists()


def test_a_tool_that_is_missing_is_named(command, monkeypatch, capsys):
    monkeypatch.setattr(command, "TOOLS", ("json", "no_such_tool"))
    assert command.main([]) == 1
    assert "error: no_such_tool cannot be imported by" in capsys.readouterr().err


def test_a_release_does_not_leave_out_its_tests(command, capsys):
    with pytest.raises(SystemExit):
        command.main(["--without-tests"])
    assert "--without-tests is for --rehearsal" in capsys.readouterr().err


def test_the_tests_that_the_sdist_runs_are_there(releasing):
    assert [name for name in releasing.command.QUICK if not (ROOT / "tests" / f"test_{name}.py").exists()] == []
