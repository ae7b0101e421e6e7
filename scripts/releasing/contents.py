"""Is everything in the sdist and the wheel, and nothing else?

The sdist is the commit, file by file; the wheel is the package of the sdist, with what is known about it. What must be
there whatever the commit says is listed here, so that a file lost on the way is not lost silently.
"""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from fnmatch import fnmatch
from pathlib import Path

MEGABYTE = 10**6
MOST = 1.1 * MEGABYTE  # what a wheel may install
IN_WHEEL = (
    "deepxp/__main__.py",
    "deepxp/py.typed",
    "deepxp/data/digits.npz",
    "deepxp/data/DIGITS.md",
    "deepxp/kernels/*.cu",
    "deepxp/*.css",
    "*.dist-info/entry_points.txt",
    "*.dist-info/licenses/LICENSE",
)
IN_SDIST = (
    "PKG-INFO",
    "pyproject.toml",
    "noxfile.py",
    *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"),
    *("tests/conftest.py", "tests/golden/*.json", "tests/cupy_double/*.py", "tests/hostile/*.py"),
    *("docs/*.md", "bench/*.py", "bench/gpu/prove.sh", "scripts/*.py"),
)
MADE = {"PKG-INFO"}  # by the build; everything else is a file of the commit
NAMED = 4  # files that a sentence names

Files = Mapping[str, bytes]


def of_wheel(path: Path) -> Files:
    """Name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}


def of_sdist(path: Path) -> Files:
    """Name, without the folder that everything is in -> bytes."""
    return _of_tar(path.read_bytes(), strip=path.name.removesuffix(".tar.gz") + "/")


def of_archive(content: bytes) -> Files:
    """Name -> bytes of what `git archive` writes."""
    return _of_tar(content)


def _of_tar(content: bytes, strip: str = "") -> Files:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive.getmembers():
            if not member.isdir():
                file = archive.extractfile(member) if member.isfile() else None
                found[member.name.removeprefix(strip)] = file.read() if file else b""
    return found


def complaints_of_wheel(name: str, wheel: Files, package: Files, version: str) -> Iterator[str]:
    """`package` is what stands under deepxp/ in the sdist."""
    if name != f"deepxp-{version}-py3-none-any.whl":
        yield f"the wheel is called {name}, not deepxp-{version}-py3-none-any.whl"
    yield from _missing("the wheel", wheel, IN_WHEEL)
    info = f"deepxp-{version}.dist-info/"
    yield from _differ("the wheel", wheel, package, "the package in the sdist", lambda name: name.startswith(info))
    yield from _metadata("the wheel", wheel.get(f"{info}METADATA", b""), version)
    if (unpacked := size(wheel)) > MOST:
        yield (
            f"the wheel installs {unpacked / MEGABYTE:.2f} MB, and the promise is {MOST / MEGABYTE:.1f} MB: its "
            f"largest files are {', '.join(sorted(wheel, key=lambda name: -len(wheel[name]))[:NAMED])}"
        )


def complaints_of_sdist(name: str, sdist: Files, commit: Files, version: str) -> Iterator[str]:
    """`commit` is what git has."""
    if name != f"deepxp-{version}.tar.gz":
        yield f"the sdist is called {name}, not deepxp-{version}.tar.gz"
    yield from _missing("the sdist", sdist, IN_SDIST)
    yield from _differ("the sdist", sdist, commit, "the commit", MADE.__contains__)
    yield from _metadata("the sdist", sdist.get("PKG-INFO", b""), version)


def complaints_of_repetition(first: Path, second: Path) -> Iterator[str]:
    """The same bytes, built once more from the unpacked sdist."""
    if first.read_bytes() == second.read_bytes():
        return
    read = of_wheel if first.suffix == ".whl" else of_sdist
    one, other = read(first), read(second)
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    where = _some(names) if names else "the order, the dates or the modes of its files"
    yield f"{first.name} built once more has other bytes, in {where}: what is built must not depend on when and where"


def size(files: Files) -> int:
    """Bytes, unpacked."""
    return sum(map(len, files.values()))


def _missing(what: str, files: Files, patterns: tuple[str, ...]) -> Iterator[str]:
    lost = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in files)]
    if lost:
        yield f"{what} lacks {', '.join(lost)}: look at [tool.hatch.build] in pyproject.toml, and at .gitignore"


def _differ(what: str, files: Files, source: Files, of: str, made: Callable[[str], bool]) -> Iterator[str]:
    own = {name for name in files if not made(name)}
    if lost := sorted(source.keys() - own):
        yield f"{what} lacks {_some(lost)} of {of}: look at [tool.hatch.build] in pyproject.toml, and at .gitignore"
    if strange := sorted(own - source.keys()):
        yield f"{what} has {_some(strange)}, which {of} has not: take it away, commit it, or let .gitignore name it"
    if other := sorted(name for name in own & source.keys() if files[name] != source[name]):
        yield f"{what} has other bytes than {of} in {_some(other)}: commit them, and build again"


def _metadata(what: str, content: bytes, version: str) -> Iterator[str]:
    said = BytesParser().parsebytes(content)
    if said["Version"] != version:
        yield f"{what} says it is version {said['Version']}, deepxp/version.py {version}: build again"
    needs = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    if [line for line in needs if not line.startswith("numpy")] or not needs:
        yield f"{what} needs {', '.join(needs) or 'nothing'}, and the promise is NumPy alone: the rest is for extras"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
