"""What this machine is, and what of deepxp computes on it: a bug report asks for it, and a time means nothing without.

Nothing here names the machine or its user: paths begin with ~ where they are under the user's home.
"""

import ctypes
import json
import os
import platform
import re
import subprocess
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from deepxp.backend import cpu
from deepxp.devices import Device, cupy_wheels
from deepxp.kernels.blas import address, threads

VARIABLES = ("OPENBLAS_", "MKL_", "OMP_", "BLIS_", "VECLIB_", "NPY_", "NUMPY_", "NUMBA_", "CUDA_", "CUPY_")
PACKAGE = Path(__file__).parent
GIT_LIMIT = 10  # seconds


def describe(devices: tuple[Device, ...]) -> dict[str, Any]:
    """CPU, threads, BLAS, kernels and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    description = next((device.description for device in devices if device.name == "cpu"), platform.machine())
    name, blas_threads = blas()
    kernels, kernel_threads = engine()
    return {
        "cpu": re.sub(r", \d+ threads?$", "", description),
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": name,
        "blas_threads": blas_threads,
        "kernels": kernels,
        "kernel_threads": kernel_threads,
        "numba": version("numba"),
        "cupy": next((version(wheel) for wheel in cupy_wheels()), None),
    }


def blas() -> tuple[str, str]:
    """The BLAS that NumPy uses, and with how many threads as far as it tells."""
    if ask := address("openblas_get_config"):
        words = ctypes.CFUNCTYPE(ctypes.c_char_p)(ask)().decode().split()
        core = [word for word in words[2:] if "=" not in word and not word.isupper() and "64" not in word]
        return " ".join((*words[:2], *(f"({word})" for word in core))), str(threads())
    built: Any = np.show_config(mode="dicts")
    found = built.get("Build Dependencies", {}).get("blas", {})
    said = [f"{name}={value}" for name, value in environment().items() if name.endswith("_NUM_THREADS")]
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip(), ", ".join(said) or "its own choice"


def engine() -> tuple[str, int]:
    """What the CPU's kernels are written with here, numba or numpy, and on how many threads they run at most."""
    name = getattr(cpu().kernels, "__name__", "none").rpartition(".")[2]
    return name, import_module("deepxp.kernels.team").size() if name == "numba" else 1


def numba_problem() -> str:
    """Why Numba, which is installed, cannot be imported; empty where it can, or is not installed."""
    if version("numba") is None:
        return ""
    try:
        import_module("deepxp.kernels.numba")
    except ImportError as error:
        return " ".join(str(error).split())
    return ""


def numba_cache() -> str | None:
    """The folder where machine code is kept from one process to the next; None without Numba, or where none can be
    written to."""
    try:
        from numba.core.caching import FunctionCache

        from deepxp.kernels.compile import kept

        return homely(FunctionCache(kept).cache_path)
    except (ImportError, RuntimeError):
        return None


def commit() -> str | None:
    """The commit that this deepxp is of, as far as it is known: that of the checkout it is imported from, with a +
    where its files differ from it, or that which pip installed it from."""
    if (PACKAGE.parent / ".git").exists():
        changed = _git("status", "--porcelain", "--", PACKAGE.name)
        at = _git("rev-parse", "--short=12", "HEAD")
        return at and at + "+" * bool(changed)
    try:
        said = metadata.distribution("deepxp").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    found = json.loads(said or "{}").get("vcs_info", {}).get("commit_id")
    return None if found is None else str(found)[:12]


def place() -> str:
    """The folder that deepxp is imported from."""
    return homely(PACKAGE)


def environment() -> dict[str, str]:
    """The variables that are set and change what NumPy, Numba, CuPy and CUDA do."""
    return {name: homely(value) for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def homely(path: str | Path) -> str:
    """A path without the name of who is at home there."""
    home = os.path.expanduser("~")
    return re.sub(rf"(^|{os.pathsep}){re.escape(home)}(?=$|[{re.escape(os.sep + os.pathsep)}])", r"\1~", str(path))


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(PACKAGE.parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_LIMIT).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
