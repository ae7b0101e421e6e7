"""The benchmark suite: runs it, prints a table for each size with the devices as rows, saves it, and compares it with
the earlier run on this kind of machine: `python bench/suite.py [--quick] [--mnist FILE.npz] [-- options of pytest]`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import deepxp
except ImportError:  # not installed: the checkout's
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    import deepxp

from compare import comparison
from engines import engines
from harness import BENCH, RESULTS, machine, results
from tables import suite_tables

NONE = 5  # what pytest says where no benchmark was chosen


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="suite.py", description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="a small grid; ends within two minutes")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    parser.add_argument("--mnist", type=Path, metavar="FILE.npz", help="x_train and y_train, for the epoch of MNIST")
    parser.add_argument("--compare", type=Path, metavar="FILE.json", help="default: the file this run replaces")
    parser.add_argument("--out", type=Path, help="the result file; default: bench/results, named by the machine's kind")
    given, pytest_options = parser.parse_known_args(arguments)
    found = machine.describe(machine.cores())
    if given.device == "gpu":
        found["gpu"] = gpu()
    kind = found.get("gpu", found["cpu"])
    name = results.name("suite", given.device, machine.slug(kind, found["threads"]), given.quick)
    path = given.out or RESULTS / name
    earlier = results.read(given.compare or path) if (given.compare or path).exists() else None
    benchmarks, failed = [], 0
    for engine in chosen(given.device):
        print(f"{engine}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw.json"
            status = run_pytest(raw, engine, given, pytest_options)
            if status == NONE:
                continue
            if status not in (0, 1) or not raw.exists() or not raw.stat().st_size:
                return status or 1
            benchmarks += json.loads(raw.read_text())["benchmarks"]
            failed = max(failed, status)
    if not benchmarks:
        print("no benchmark was chosen", file=sys.stderr)
        return NONE
    result = slim(benchmarks, given.device, given.quick, found)
    print(suite_tables(result))
    results.write(path, result)
    if earlier is not None:
        print(comparison(earlier, result))
    print(f"written: {path.name}, {len(benchmarks)} benchmarks")
    return failed


def chosen(device: str) -> list[str]:
    """The engines of a device. On the CPU others come after them: what runs on no engine, such as PyTorch's step.

    Each has a process of its own: the threads that OpenBLAS leaves behind go on looking for work for a while, and would
    take the time of the engine that is measured next.
    """
    return [name for name in engines() if name.startswith(device)] + (["others"] if device == "cpu" else [])


def run_pytest(raw: Path, engine: str, given: argparse.Namespace, options: list[str]) -> int:
    """The exit status of pytest on this folder, for one engine."""
    command = [sys.executable, "-m", "pytest", str(BENCH), f"--ignore={BENCH / 'peers'}", "--benchmark-only", "-q"]
    command += [f"--benchmark-json={raw}", "--benchmark-quiet", "-r", "fE", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [f"--engine={engine}"] + ["--quick"] * given.quick + ([f"--mnist={given.mnist}"] if given.mnist else [])
    options = [option for option in options if option != "--"]
    return subprocess.run([*command, *options], env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""}).returncode


def gpu() -> str:
    """The kind of the first usable GPU. Exits with the reason where there is none."""
    found = [device for device in deepxp.devices() if device.name != "cpu"]
    usable = next((device for device in found if device.usable), None)
    if usable is None:
        sys.exit(f"{found[0].reason} To fix it: {found[0].fix}")
    return usable.description.partition(",")[0]


def slim(benchmarks: list[dict], device: str, quick: bool, found: dict) -> dict:
    """What pytest-benchmark wrote without what is the same in all: that is said once."""
    rows, common = [], {}
    for benchmark in benchmarks:
        extra, stats = benchmark["extra_info"], benchmark["stats"]
        common |= {key: extra.pop(key) for key in ("threads", "blas", "versions") if key in extra}
        times = {key: stats[key] for key in ("median", "min", "max", "iqr", "rounds")}
        rows.append({"name": benchmark["name"], **extra, **times})
    return {
        "schema": results.SCHEMA,
        "kind": "suite",
        "device": device,
        "quick": quick,
        "machine": found | common,
        "benchmarks": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
