"""`deepxp info`: what a bug report should say."""

import hashlib
import os
import platform
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from deepxp import modelfile
from deepxp.cli import config, describe
from deepxp.cli.folder import model_in
from deepxp.cli.options import Settings
from deepxp.cli.report import Report
from deepxp.devices import cupy_wheels, devices
from deepxp.version import __version__

OPTIONAL = ("numba", "matplotlib", "scikit-learn", "threadpoolctl")
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def run(arguments: Namespace) -> int:
    """Versions, packages, devices; of a model what its file holds; of data what they are."""
    report = Report(as_json=arguments.json)
    settings = config.settings(arguments.flags)
    if arguments.file is not None:
        settings = replace(settings, data=model_in(arguments.file))
        if describe.is_data(settings):
            return _data(report, settings)
    model = of_model(Path(str(settings.data)), settings.limit_bytes) if arguments.file else None
    found = of_machine()
    report.result(found | ({"model": model} if model else {}))
    if arguments.json:
        return 0
    for name, value in found.items():
        if name != "devices":
            report.line(name, _text(value))
    for device in found["devices"]:
        report.line(device["name"], f"{'usable' if device['usable'] else 'not usable'}: {device['description']}")
        if not device["usable"]:
            report.line("", device["reason"])
            report.line("", f"to fix it: {device['fix']}")
    if model:
        report.line("")
        for name, value in model.items():
            report.line(name, _text(value))
    return 0


def _data(report: Report, settings: Settings) -> int:
    found = describe.of_data(settings)
    report.result(found)
    said = [] if report.as_json else list(describe.lines(found))
    width = max((len(name) for name, _ in said), default=0) + 2
    for name, text in said:
        report.line(f"{name:<{width}}{text}")
    return 0


def of_machine() -> dict[str, Any]:
    """Versions and devices."""
    return {
        "deepxp": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "numpy": np.__version__,
        "blas": _blas(),
        "optional": {name: _version(name) for name in (*(cupy_wheels() or ("cupy",)), *OPTIONAL)},
        "devices": [vars(device) for device in devices()],
    }


def of_model(path: Path, limit_bytes: int | None = None) -> dict[str, Any]:
    """What a model file says; opened without building the network."""
    model, theta, _ = modelfile.read(path, limit_bytes)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "sizes": list(model.sizes),
        "hidden": list(model.hidden),
        "loss": model.loss,
        "dtype": model.dtype,
        "parameters": int(theta.size),
        "dropout": list(model.dropout),
        "scaler": model.scaler,
        "targets": model.target_scaler,
        "classes": None if model.classes is None else list(model.classes),
        "epochs": model.epochs,
        "seed": model.seed,
    }


def _blas() -> str:
    """The BLAS that NumPy was built with, and its threads."""
    try:
        built: Any = np.show_config(mode="dicts")
        blas = built["Build Dependencies"]["blas"]
        found = f"{blas['name']} {blas.get('version', '')}".strip()
    except (KeyError, TypeError):
        found = "unknown"
    return f"{found}, {_threads()}"


def _threads() -> str:
    try:
        pools = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        said = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
        return ", ".join(said) or "as many threads as it finds cores"
    used = {info["num_threads"] for info in pools if info["user_api"] == "blas"}
    return f"threads: {', '.join(map(str, sorted(used))) or 'unknown'}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item or 'not installed'}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
