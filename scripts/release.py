"""A release, from the checkout to files that may be uploaded: `nox -s release [-- [--rehearsal] [--python 3.12 ...]]`.

The version stands in deepxp/version.py; everything that repeats it is held to that. The sdist and the wheel are built,
twice, and looked into; the wheel is installed into an empty environment of each Python that pyproject.toml promises,
and every command is run there once; the unpacked sdist runs tests of its own. The files are then in dist/. Nothing is
uploaded and nothing is tagged: the lines that do so are printed.

A rehearsal says what is not ready, goes on all the same, and leaves no files.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from releasing import contents, pythons, ready
from releasing.problem import ReleaseError, run

ROOT = Path(__file__).resolve().parent.parent
SMOKE = Path(__file__).resolve().parent / "releasing" / "smoke.py"
TOOLS = ("twine", "check_wheel_contents")
QUICK = ("release", "project", "data_digits", "derivation", "updates", "recursions", "machine")
"""Tests of the sdist that are run: of what stands beside the package, and of what trains."""

NO_COMMIT = "1577836800"  # 2020-01-01
INSTALL, BUILD, CHECK, SMOKE_LIMIT, TESTS = 900, 300, 120, 600, 900  # seconds
NETWORK = "see whether `python -m pip download numpy` works here"


def main(words: Sequence[str] | None = None) -> int:
    """0 where the files are in dist/ (or would be, in a rehearsal), 1 for what is wrong, said in one line."""
    try:
        release(arguments(words))
    except ReleaseError as error:
        print(f"release: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("release: stopped; nothing was left in dist/", file=sys.stderr)
        return 130
    return 0


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="3.X",
        help="only with this one; may be repeated (all promised)",
    )
    parser.add_argument("--rehearsal", action="store_true", help="go on with what is not ready, and leave no files")
    parser.add_argument("--without-tests", action="store_true", help="of the sdist; only in a rehearsal")
    asked = parser.parse_args(words)
    if asked.without_tests and not asked.rehearsal:
        parser.error("a release runs the tests of its sdist: --without-tests is for --rehearsal")
    return asked


def release(asked: argparse.Namespace) -> None:
    """All steps in their order."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="deepxp-release-") as folder:
        scratch = Path(folder)
        with step("the checkout"):
            version = ready.version(ROOT)
            missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
            if missing:
                raise ReleaseError(
                    f"{', '.join(missing)} cannot be imported by {sys.executable}: run `nox -s release`, or install "
                    'them with `python -m pip install ".[release]"`'
                )
            found, left_out = pythons.chosen(ready.pythons(ROOT), asked.python)
            commit = ready.commit(ROOT)
            allow(ready.complaints(ROOT, version), asked.rehearsal)
            tell(f"deepxp {version}, commit {commit[:12] or 'unknown'}, for Python {', '.join(found)}")
        with step("the sdist, and the wheel from it"):
            sdist, wheel = build(scratch, version)
        with step("what is in them"):
            look(sdist, wheel, version, commit, asked.rehearsal)
        for name, interpreter in found.items():
            with step(f"the wheel with NumPy alone, on Python {name}"):
                smoke(scratch, wheel, version, name, interpreter)
        first = next(iter(found))
        if not asked.without_tests:
            with step(f"the tests of the sdist, on Python {first}"):
                test(scratch, sdist, wheel, found[first])
        if asked.rehearsal:
            print(f"\nA rehearsal, {time.monotonic() - started:.0f} s: nothing is left of it.")
        else:
            finish((sdist, wheel), version, commit, found, left_out)


def build(scratch: Path, version: str) -> tuple[Path, Path]:
    """(sdist, wheel): the wheel is built from the sdist. Both once more from the unpacked sdist, to the same bytes."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    builder = environment(scratch / "builder", Path(sys.executable), ["build>=1.2", *needs])
    when = {"SOURCE_DATE_EPOCH": ready.time_of_commit(ROOT) or NO_COMMIT}
    out = "correct it, and see `python -m build`"
    command: list[str | Path] = [
        builder,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
    ]  # the builder has nothing but what is declared
    run([*command, scratch / "dist", ROOT], "the build", limit=BUILD, env=when, out=out)
    made = sorted((scratch / "dist").iterdir())
    sdist, wheel = (scratch / "dist" / f"deepxp-{version}{end}" for end in (".tar.gz", "-py3-none-any.whl"))
    if set(made) != {sdist, wheel}:
        raise ReleaseError(f"the build made {', '.join(path.name for path in made)} for version {version}: {out}")
    unpacked = unpack(sdist, scratch / "again")
    for path in unpacked.rglob("*"):
        os.utime(path)  # as if written now
    run([*command, scratch / "second", unpacked], "the second build, from the sdist", limit=BUILD, env=when, out=out)
    for path in (sdist, wheel):
        refuse(contents.complaints_of_repetition(path, scratch / "second" / path.name))
    return sdist, wheel


def look(sdist: Path, wheel: Path, version: str, commit: str, rehearsal: bool) -> None:
    """Everything is in them, and nothing else."""
    in_sdist, in_wheel = contents.of_sdist(sdist), contents.of_wheel(wheel)
    tracked = contents.of_archive(archive(commit)) if commit else in_sdist
    package = {name: content for name, content in in_sdist.items() if name.startswith("deepxp/")}
    allow(contents.complaints_of_sdist(sdist.name, in_sdist, tracked, version), rehearsal)
    refuse(contents.complaints_of_wheel(wheel.name, in_wheel, package, version))
    tools = [sys.executable, "-m"]
    run([*tools, "twine", "check", "--strict", sdist, wheel], "twine check", limit=CHECK, out="correct what it names")
    run([*tools, "check_wheel_contents", wheel], "check-wheel-contents", limit=CHECK, out="correct what it names")
    sizes = wheel.stat().st_size, contents.size(in_wheel), contents.MOST
    packed, unpacked, most = (size / contents.MEGABYTE for size in sizes)
    tell(f"{wheel.name}: {packed:.2f} MB, {unpacked:.2f} MB unpacked, of {most:.1f} MB; {len(in_wheel)} files")
    tell(f"{sdist.name}: {sdist.stat().st_size / contents.MEGABYTE:.2f} MB, {len(in_sdist)} files")


def smoke(scratch: Path, wheel: Path, version: str, name: str, interpreter: Path) -> None:
    """The wheel in an empty environment, and every command in it once."""
    python = environment(scratch / f"plain-{name}", interpreter, [str(wheel)])
    run([python, "-m", "pip", "check"], "pip check", limit=CHECK, out="look at dependencies in pyproject.toml")
    elsewhere = scratch / f"elsewhere-{name}"
    elsewhere.mkdir()
    what, out = f"the smoke test on Python {name}", f"mend it, and try again with --python {name}"
    said = run([python, "-I", SMOKE, version], what, limit=SMOKE_LIMIT, cwd=elsewhere, out=out)
    for line in said.splitlines():
        tell(line)


def test(scratch: Path, sdist: Path, wheel: Path, interpreter: Path) -> None:
    """All tests can be collected from the unpacked sdist, and the quick ones pass there, with the installed wheel."""
    python = environment(scratch / "tests", interpreter, [f"{wheel}[test]"])
    unpacked = unpack(sdist, scratch / "tested")
    quick = [f"tests/test_{name}.py" for name in QUICK]
    pytest: list[str | Path] = [python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    out = "what a test reads must be in the sdist; `nox -s tests` runs all of them"
    run([*pytest, "--collect-only"], "collecting the tests of the sdist", limit=TESTS, cwd=unpacked, out=out)
    said = run([*pytest, *quick], "the tests of the sdist", limit=TESTS, cwd=unpacked, out=out)
    tell(said.splitlines()[-1])


def finish(files: Iterable[Path], version: str, commit: str, found: dict[str, Path], left_out: list[str]) -> None:
    """The files to dist/, and what to do with them."""
    if ready.commit(ROOT) != commit or ready.git(ROOT, "status", "--porcelain"):
        raise ReleaseError("the checkout has changed meanwhile, so it is not what was built: run this again")
    (ROOT / "dist").mkdir(exist_ok=True)
    print(f"\ndeepxp {version} is ready:")
    for file in files:
        shutil.copy(file, ROOT / "dist" / file.name)
        print(f"  dist/{file.name}  sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")
    less = f", as asked; not on {', '.join(left_out)}" if left_out else ""
    print(f"Smoke-tested on Python {', '.join(found)}{less}.")
    print("Nothing was tagged or uploaded. Next:")
    print(f'  git tag -a v{version} -m "deepxp {version}" {commit[:12]}')
    print(f"  git push origin v{version}")
    print(f"  python -m twine upload {' '.join(f'dist/{file.name}' for file in files)}")


def environment(folder: Path, interpreter: Path, needs: Sequence[str]) -> Path:
    """The Python of a new virtual environment that has what is needed."""
    run([interpreter, "-m", "venv", folder], "python -m venv", limit=INSTALL, out=f"see whether {interpreter} works")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run([python, "-m", "pip", "install", "--quiet", *needs], "pip install", limit=INSTALL, out=NETWORK)
    return python


def unpack(sdist: Path, folder: Path) -> Path:
    """The folder with what is in the sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def archive(commit: str) -> bytes:
    """The files of a commit as a tar file."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=CHECK).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ReleaseError(f"git archive failed ({error}): a release is made in a checkout of deepxp") from None


def allow(complaints: Iterable[str], rehearsal: bool) -> None:
    """In a rehearsal they are told; else they end the release."""
    if not rehearsal:
        return refuse(complaints)
    for complaint in complaints:
        tell(f"not ready: {complaint}")


def refuse(complaints: Iterable[str]) -> None:
    """All but the last are told, and that one ends the release."""
    found = list(complaints)
    for complaint in found[:-1]:
        print(f"release: error: {complaint}", file=sys.stderr)
    if found:
        raise ReleaseError(found[-1])


@contextmanager
def step(name: str) -> Iterator[None]:
    """Says what begins, and how long it took."""
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    yield
    tell(f"({time.monotonic() - started:.1f} s)")


def tell(text: str) -> None:
    """A line below the name of the step."""
    print(f"   {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
