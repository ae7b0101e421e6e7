"""What a benchmark ran on: without it a time means nothing."""

import ctypes
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from deepxp.devices import Device, cupy_wheels

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def describe(devices: tuple[Device, ...]) -> dict[str, Any]:
    """CPU, threads, BLAS and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = next((device.description for device in devices if device.name == "cpu"), platform.machine())
    name, threads = blas()
    return {
        "cpu": re.sub(r", \d+ threads?$", "", cpu),
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": name,
        "blas_threads": threads,
        "kernel_threads": kernel_threads(),
        "numba": _version("numba"),
        "cupy": next((_version(wheel) for wheel in cupy_wheels()), None),
    }


def kernel_threads() -> int:
    """On how many threads deepxp's own kernels run at most: one without Numba."""
    try:
        from deepxp.kernels.team import size
    except ImportError:
        return 1
    return size()


def blas() -> tuple[str, str]:
    """The BLAS that NumPy uses, and with how many threads as far as it tells."""
    for folder in (Path(np.__file__).parent.parent / "numpy.libs", Path(np.__file__).parent / ".dylibs"):
        for path in sorted(folder.glob("*openblas64_*")):
            try:
                library = ctypes.CDLL(str(path))
                config, threads = library.scipy_openblas_get_config64_, library.scipy_openblas_get_num_threads64_
            except (OSError, AttributeError):
                continue
            config.restype = ctypes.c_char_p
            words = config().decode().split()
            core = [word for word in words[2:] if "=" not in word and not word.isupper() and "64" not in word]
            return " ".join((*words[:2], *(f"({word})" for word in core))), str(threads())
    built: Any = np.show_config(mode="dicts")
    found = built.get("Build Dependencies", {}).get("blas", {})
    said = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    name = f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
    return name, ", ".join(said) or "its own choice"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
