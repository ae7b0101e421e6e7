"""Everything that only a GPU can prove, in parts: tests, training, peers, the benchmark grid, compute-sanitizer.

Each part is a process with a time limit of its own; one that fails or hangs is ended, with all that it started, and the
others go on. At the end there is a table, one JSON and one log, which name the device, its driver, the versions and the
commit. The exit status is 0 where every part passed that could run, and a GPU was there.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import BENCH, RESULTS, machine, results
from tables import table, verdicts

ROOT = BENCH.parent
SECONDS = {False: 465, True: 200}  # for all parts together; by --quick
LEAST = 5  # seconds; a part that has fewer left is not begun
GRACE = 5  # seconds for a part at its limit to end what it started
ANSWER = 150  # seconds; the first use of a GPU may load its driver and every library from a cold disk
TESTS = (
    "tests/gpu",
    "tests/test_checkpoints.py",
    "tests/test_recursions.py",
    "tests/test_random.py",
    "tests/test_cupy_double.py",
    "tests/test_estimators.py",
    "tests/test_evaluation.py",
    "tests/test_examples.py",
    "tests/test_extremes.py",
    "tests/test_golden.py",
    "tests/test_health.py",
    "tests/test_loss_scale.py",
    "tests/test_single_precision.py",
    "tests/test_training.py",
)
DIGITS, MNIST = 0.95, 0.975  # of the test samples right after the training below

PROBE = """
import json, deepxp
gpus = [device for device in deepxp.devices() if device.name != "cpu"]
usable = next((gpu for gpu in gpus if gpu.usable), None)
if usable is None:
    print(json.dumps({"reason": f"{gpus[0].reason} To fix it: {gpus[0].fix}"}))
else:
    import cupy
    run = cupy.cuda.runtime
    properties = run.getDeviceProperties(int(usable.name.partition(":")[2]))
    print(json.dumps({
        "gpu": properties["name"].decode(), "memory": properties["totalGlobalMem"],
        "capability": f"{properties['major']}.{properties['minor']}", "devices": run.getDeviceCount(),
        "driver_cuda": run.driverGetVersion(), "runtime_cuda": run.runtimeGetVersion(), "cupy": cupy.__version__,
    }))
"""
CHECKED = """
import sys, cupy, pytest
cupy.cuda.set_allocator(None)  # without a pool every array has bounds that the sanitizer knows
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Part:
    """`judge(output)` is (passed, what is told of it); passed is None where it turns out that it cannot be run here."""

    name: str
    limit: float
    command: Sequence[str]
    judge: Callable[[str], tuple[bool | None, str]]
    missing: str = ""  # why it cannot be run here


@dataclass(frozen=True)
class Outcome:
    """What became of a part: passed, failed, timed out or skipped."""

    name: str
    status: str
    seconds: float
    told: str


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tests, the digits and the smallest comparison")
    parser.add_argument("--mnist", type=Path, metavar="FILE.npz", help="x_train, y_train, x_test, y_test")
    parser.add_argument("--only", default="", metavar="PART,PART", help="these parts")
    parser.add_argument(
        "--seconds", type=float, help=f"for all parts (default: {SECONDS[False]}, quick {SECONDS[True]})"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for the JSON and the log; default: bench/results, with a GPU only"
    )
    return parser.parse_args(arguments)


def parts(given: argparse.Namespace, folder: Path) -> list[Part]:
    """What is run, the most important first."""
    python = sys.executable
    pytest_options = ("-q", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default", "--continue-on-collection-errors")
    report = folder / "tests.xml"

    def peers(name: str, limit: float, *words: str) -> Part:
        out = folder / f"peers-{name}.json"
        command = [python, str(BENCH / "peers.py"), "--device", "gpu", "--out", str(out)]
        command += ["--limit", f"{limit * 0.6:.0f}"]
        return Part(f"peers: {name}", limit, [*command, *words], lambda output: compared(out))

    def training(name: str, limit: float, least: float, *words: str, missing: str = "") -> Part:
        command = [python, "-m", "deepxp", "train", *words, "--device", "gpu", "--json", "--out", str(folder / name)]
        return Part(f"training: {name}", limit, command, lambda output: trained(output, least), missing)

    no_mnist = "" if given.mnist else "no file: give it with --mnist FILE.npz"
    sanitizer = shutil.which("compute-sanitizer")
    chosen = [
        Part("tests", 170, [python, "-m", "pytest", *TESTS, *pytest_options, f"--junitxml={report}"],
             lambda output: counted(report)),
        training("digits", 40, DIGITS, "--epochs", "30", "--seed", "0"),
        training("digits in fp16", 40, DIGITS, "--epochs", "30", "--seed", "0", "--precision", "fp16"),
        training("mnist", 45, MNIST, str(given.mnist), "--epochs", "8", "--hidden", "256", "--batch-size", "256",
                 missing=no_mnist),
        peers("small step", 100, "--only", "steps", "--quick", "--nets", "784-256-128"),
        peers("softmax", 70, "--only", "softmax", "--quick"),
        peers("Adam", 40, "--only", "adam", "--quick"),
    ]  # fmt: skip
    if not given.quick:
        grid = folder / "suite.json"
        checked = ["-k", "plain and float32 and not update", "tests/gpu/test_gpu_kernels.py", *pytest_options]
        chosen += [
            peers("large step", 110, "--only", "steps", "--quick", "--nets", "4096-"),
            Part("benchmark grid", 110,
                 [python, str(BENCH / "suite.py"), "--device", "gpu", "--quick", "--out", str(grid),
                  "--", "-W", "default"],
                 lambda output: measured(grid)),
            Part("compute-sanitizer", 100,
                 [sanitizer or "", "--error-exitcode", "9", "--report-api-errors", "no", python, "-c", CHECKED,
                  *checked],
                 sanitized, "" if sanitizer else "compute-sanitizer is not installed"),
        ]  # fmt: skip
    return [part for part in chosen if not given.only or any(word in part.name for word in given.only.split(","))]


# what the output of a part says


def counted(report: Path) -> tuple[bool, str]:
    """The tests, by pytest's own report. None passed is no proof."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    bad = number["failures"] + number["errors"]
    passed = number["tests"] - bad - number["skipped"]
    names = [
        case.get("name", "?")
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    told = f"{passed} passed, {bad} failed, {number['skipped']} skipped"
    return bad == 0 and passed > 0, told + (f": {', '.join(names[:3])}" if names else "")


def trained(output: str, least: float) -> tuple[bool, str]:
    """The accuracy of `deepxp train --json`."""
    result = json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))
    accuracy = result["test"]["accuracy"]
    told = f"accuracy {accuracy:.4f} after {result['epochs']} epochs in {result['seconds']:.1f} s on {result['device']}"
    return accuracy >= least and result["device"].startswith("gpu"), f"{told}; at least {least} wanted"


def compared(out: Path) -> tuple[bool, str]:
    """A comparison that took place; what was aimed at is in its table and is no reason to fail."""
    result = results.read(out)
    left = sorted({entry["contender"] for entry in result["skipped"]})
    met = sum(row["verdict"] in ("aim", "must") for row in result["table"])
    told = f"{met} of {len(result['table'])} aims met" + (f"; left out: {', '.join(left)}" if left else "")
    return "deepxp (GPU)" not in left and bool(result["table"]), told


def measured(out: Path) -> tuple[bool, str]:
    """The grid of the suite."""
    count = len(results.read(out)["benchmarks"])
    return count > 0, f"{count} benchmarks"


def sanitized(output: str) -> tuple[bool | None, str]:
    """The last word of compute-sanitizer."""
    if "Device not supported" in output:
        return None, "compute-sanitizer does not know this device"
    found = re.findall(r"ERROR SUMMARY: (\d+) errors?", output)
    return bool(found) and int(found[-1]) == 0, f"{found[-1]} errors" if found else "no summary was printed"


# running


def run(part: Part, log, seconds: float, folder: Path) -> Outcome:
    """A part in a process group of its own, ended at its limit; its output goes to the log."""
    if part.missing:
        return Outcome(part.name, "skipped", 0.0, part.missing)
    limit, started = min(part.limit, seconds), time.monotonic()
    if limit < LEAST:
        return Outcome(part.name, "skipped", 0.0, "no time is left for it")
    log.write(f"\n== {part.name}: {public(' '.join(word for word in part.command if chr(10) not in word))}\n")
    own = folder / "output.txt"
    with own.open("wb") as output:
        process = subprocess.Popen(
            part.command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
            process.terminate()  # what it started in sessions of their own only it can end
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        with contextlib.suppress(ProcessLookupError):  # what it started ends with it, in either case
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    text = public(own.read_text(errors="replace"))
    log.write(text)
    took = time.monotonic() - started
    if status is None:
        return Outcome(part.name, "timed out", took, f"ended after {limit:.0f} s")
    try:
        passed, told = part.judge(text)
    except Exception:  # it left nothing to judge: its last words are what there is
        lines = [line for line in text.splitlines() if line.strip()]
        return Outcome(part.name, "failed", took, f"status {status}: {lines[-1][:160] if lines else 'it said nothing'}")
    became = "skipped" if passed is None else "passed" if passed and status == 0 else "failed"
    return Outcome(part.name, became, took, told)


def public(text: str) -> str:
    """Without the places where this machine keeps things."""
    for place, name in (
        (sys.executable, "python3"),
        (str(ROOT), "."),
        (sys.prefix, "PYTHON"),
        (tempfile.gettempdir(), "TMP"),
    ):
        text = text.replace(place, name)
    return text


def probe() -> dict:
    """The GPU and its driver, or the reason why there is none."""
    asked = [sys.executable, "-c", PROBE]
    try:
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER, cwd=ROOT)
        except subprocess.TimeoutExpired:  # once more: what the first loaded is warm now
            done = subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER, cwd=ROOT)
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"reason": f"the GPU did not answer within {ANSWER} s, twice"}
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines()
        return {"reason": lines[-1] if lines else f"the probe ended with status {done.returncode}"}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = (
            subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.split("\n")[0].strip()
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(arguments)
    started = time.monotonic()
    budget = given.seconds or SECONDS[given.quick]
    found = machine.describe(machine.cores()) | probe()
    reason = found.pop("reason", None)
    title = f"{found['gpu']}, driver {found.get('driver', '?')}" if reason is None else "no usable GPU"
    told = f"{title}; commit {found['commit']}, Python {found['versions']['python']}, {found['date']}"
    print(told, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder, outcomes = Path(temporary), []
        with (folder / "log.txt").open("w") as log:
            log.write(f"{told}\n{json.dumps(found, indent=1)}\n")
            if reason is not None:
                log.write(f"{reason}\n")
            for part in parts(given, folder):
                if reason is not None:
                    outcome = Outcome(part.name, "skipped", 0.0, "no usable GPU")
                else:
                    outcome = run(part, log, budget - (time.monotonic() - started), folder)
                outcomes.append(outcome)
                print(f"  {outcome.name}: {outcome.status}, {outcome.seconds:.0f} s, {outcome.told}", flush=True)
            found_by = [results.read(path) for path in sorted(folder.glob("peers-*.json"))]
            rows, left = ([x for one in found_by for x in one[key]] for key in ("table", "skipped"))
            last = told_table(outcomes, rows, left, reason)
            log.write(f"\n{last}\n")
        where = given.out or (RESULTS if reason is None else None)
        if where is not None:
            keep(where, folder, found, outcomes, given.quick, reason)
    print(f"\n{last}")
    became = {outcome.status for outcome in outcomes}
    return 0 if reason is None and "passed" in became and became <= {"passed", "skipped"} else 1


def told_table(outcomes: Sequence[Outcome], rows: Sequence[dict], left: Sequence[dict], reason: str | None) -> str:
    """Every part with what became of it; above it what was aimed at, where something was measured, and by whom not."""
    lines = [[o.name, o.status, f"{o.seconds:.0f} s", o.told] for o in outcomes]
    said = [verdicts(rows)] if rows else []
    said += [f"NOT MEASURED: {one['contender']} in {one['where']}: {one['reason']}" for one in left]
    said.append(table(["part", "result", "took", "what it says"], lines))
    if reason is not None:
        said.append(f"Nothing was proved: {reason}")
    return "\n\n".join(said)


def keep(where: Path, folder: Path, found: dict, outcomes: Sequence[Outcome], quick: bool, reason: str | None) -> None:
    """One JSON and one log, named by the device."""
    result = {"schema": results.SCHEMA, "kind": "proof", "device": "gpu", "quick": quick, "machine": found}
    result["reason"] = reason
    result["parts"] = [vars(outcome) for outcome in outcomes]
    result["peers"] = merged([results.read(path) for path in sorted(folder.glob("peers-*.json"))])
    if (folder / "suite.json").exists():
        result["suite"] = results.read(folder / "suite.json")["benchmarks"]
    slug = machine.slug(found.get("gpu", "none"), found["threads"])
    name = results.name("proof", "gpu", slug, quick)
    results.write(where / name, result)
    shutil.copyfile(folder / "log.txt", where / Path(name).with_suffix(".log"))
    print(f"\nwritten: {name} and its log, into {where}")


def merged(found: Sequence[dict]) -> dict | None:
    """The parts of the comparison as one result of bench/peers.py."""
    if not found:
        return None
    whole = dict(found[0])
    for other in found[1:]:
        for key, value in other.items():
            if key in ("table", "skipped", "steps") and isinstance(value, list):
                whole[key] = whole.get(key, []) + value
            else:
                whole.setdefault(key, value)
    return whole


if __name__ == "__main__":
    sys.exit(main())
