"""The interpreters of this machine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from releasing.problem import ReleaseError

LIMIT = 60  # seconds to start an interpreter and import what a venv needs
ASK = "import ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2], sys.version.split()[0])"


def chosen(promised: Sequence[str], asked: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """({version: interpreter} of all that are asked for, of the promised ones where none is; the promised ones that are
    not). Raises ReleaseError naming what is not on this machine."""
    if unknown := [name for name in asked if name not in promised]:
        raise ReleaseError(f"deepxp does not promise to run on {', '.join(unknown)}, but on {', '.join(promised)}")
    wanted = [name for name in promised if name in (asked or promised)]
    found = {name: find(name) for name in wanted}
    if missing := [name for name, path in found.items() if path is None]:
        have = [name for name in wanted if found[name]]
        less = f", or take less: {' '.join(f'--python {name}' for name in have)}" if have else ""
        raise ReleaseError(
            f"Python {', '.join(missing)} is neither on the PATH nor with pyenv or uv: install it "
            f"(`pyenv install {missing[0]}`){less}"
        )
    return {name: path for name, path in found.items() if path}, [name for name in promised if name not in wanted]


def find(version: str) -> Path | None:
    """An interpreter of a version such as 3.12 that can make virtual environments; None where there is none."""
    return next((path for path in _places(version) if _is(path, version)), None)


def _places(version: str) -> Iterator[Path]:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield Path(sys.executable)
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    for folder, pattern in ((pyenv, f"{version}.*"), (uv, f"cpython-{version}.*")):
        for place in sorted(folder.glob(pattern), key=_number, reverse=True):
            yield place / "bin" / f"python{version}"


def _number(place: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", place.name)))


def _is(path: Path, version: str) -> bool:
    """A shim of pyenv is there whether its Python may be used or not, and some systems split venv off."""
    try:
        ran = subprocess.run([path, "-I", "-c", ASK], capture_output=True, text=True, timeout=LIMIT)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0 and ran.stdout.split()[:1] == [version]
