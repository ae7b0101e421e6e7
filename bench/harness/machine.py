"""The machine by its kind, never by its name: processor, threads, versions, commit. No host names, no paths."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness import BENCH

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
PACKAGES = (
    "numpy", "numba", "llvmlite", "scipy", "torch", "jax", "jaxlib", "scikit-learn", "thinc", "blis",
    "cupy-cuda12x", "cupy-cuda13x", "triton",
)  # fmt: skip


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """The processor's model, with its widest vectors."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    words = flags[1].split() if flags else []
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in words), "")
    return " ".join(filter(None, (model[1] if model else platform.machine(), vectors)))


def versions() -> dict[str, str]:
    """Of the packages that compute, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def blas() -> str:
    """The libraries that multiply matrices in this process, with the threads they use."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        import numpy as np

        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{built['name']} {built.get('version', '')}".strip()
    pools = {
        f"{pool['internal_api']} {pool.get('version') or ''} x{pool['num_threads']}".replace("  ", " ")
        for pool in threadpool_info()
    }
    return ", ".join(sorted(pools))


def commit() -> str:
    """The commit of this checkout, with a + where the package's files differ from it; 'unknown' outside of one."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", BENCH, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "../deepxp")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe(threads: int) -> dict[str, object]:
    """What a result file says about where it was made."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def slug(device: str, threads: int) -> str:
    """The kind of machine as part of a file name."""
    words = re.sub(r"\((?:R|TM)\)|@.*|\bCPU\b|\bProcessor\b|[Vv]irtual|-Core", " ", device)
    return "-".join(re.findall(r"[a-z0-9]+", words.lower())) + f"-{threads}-threads"
