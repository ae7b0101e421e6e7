"""`deepxp info`: what a bug report asks for."""

import hashlib
import platform
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepxp import machine, modelfile
from deepxp.cli import config, describe
from deepxp.cli.folder import model_in
from deepxp.cli.options import Settings
from deepxp.cli.report import Report, size
from deepxp.devices import cupy_wheels, devices
from deepxp.memory import available
from deepxp.version import __version__

OPTIONAL = ("numba", "llvmlite", "scipy", "matplotlib", "tensorboardX", "scikit-learn", "onnx", "onnxruntime")


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
    for name, text in _lines(found):
        report.line(name, text)
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
    """deepxp and where it is from, the machine, versions and devices."""
    found = devices()
    return {
        "deepxp": __version__,
        "commit": machine.commit(),
        "place": machine.place(),
        "implementation": platform.python_implementation(),
        **machine.describe(found),
        "free_memory": available(),
        "numba_problem": machine.numba_problem(),
        "numba_cache": machine.numba_cache(),
        "environment": machine.environment(),
        "optional": {name: machine.version(name) for name in (*(cupy_wheels() or ("cupy",)), *OPTIONAL)},
        "devices": [vars(device) for device in found],
    }


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "deepxp", f"{found['deepxp']}, {_commit(found['commit'])}, in {found['place']}"
    yield "python", f"{found['python']} ({found['implementation']})"
    yield "system", found["system"]
    free = found["free_memory"]
    yield "memory", "unknown" if free is None else f"{size(free)} can be allocated"
    yield "numpy", found["numpy"]
    yield "blas", f"{found['blas']}, threads: {found['blas_threads']}"
    yield "kernels", f"{found['kernels']}, on up to {found['kernel_threads']} of {found['cores']} cores"
    if found["numba_problem"]:
        yield "", f"Numba is installed but not used: {found['numba_problem']}"
    if found["kernels"] == "numba":
        yield "numba cache", found["numba_cache"] or "no folder can be written to: every process compiles anew"
    yield "optional", _text(found["optional"])
    yield "environment", " ".join(f"{name}={value}" for name, value in found["environment"].items()) or "nothing set"
    for device in found["devices"]:
        yield device["name"], f"{'usable' if device['usable'] else 'not usable'}: {device['description']}"
        if not device["usable"]:
            yield "", device["reason"]
            yield "", f"to fix it: {device['fix']}"


def _commit(commit: str | None) -> str:
    if commit is None:
        return "of no commit that is known"
    return f"of commit {commit.rstrip('+')}{' and changes' if commit.endswith('+') else ''}"


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


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item or 'not installed'}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
