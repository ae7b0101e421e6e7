"""deepxp against other libraries on one machine: `python bench/peers.py`, or `nox -s peers`.

Every contender runs in a process of its own with the same number of threads. They take turns over several rounds, the
others held meanwhile; a ratio is formed within a round, and its median, least and greatest over the rounds are given.
Contenders that are not installed, fail, hang or compute something else are left out, by name and with the reason.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

try:
    import deepxp
except ImportError:  # not installed: the checkout's
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    import deepxp

from contenders import CONTENDERS
from harness import RESULTS, machine, results
from sections import adam, memory, mnist, softmax, steps
from sections.setting import Setting
from tables import verdicts

SECTIONS = {"steps": steps, "softmax": softmax, "adam": adam, "mnist": mnist, "memory": memory}
ON_GPU = ("steps", "softmax", "adam")


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers.py", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="of every contender; default: all cores")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas: %(default)s")
    parser.add_argument("--contenders", default="", help="only these, separated by commas")
    parser.add_argument("--nets", default="", help="only nets whose name contains one of these")
    parser.add_argument("--quick", action="store_true", help="the first nets, a small grid, short rounds")
    parser.add_argument("--rounds", type=int, help="default: 7, or 3 with --quick")
    parser.add_argument("--seconds", type=float, help="that a contender is timed in a round; default: 0.5, or 0.15")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds for any answer; default: %(default)s")
    parser.add_argument("--mnist", type=Path, metavar="FILE.npz", help="x_train and y_train, for the MNIST section")
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="the Python that has this contender"
    )
    parser.add_argument("--out", type=Path, help="the result file; default: bench/results, named by the machine's kind")
    given = parser.parse_args(arguments)
    given.only = given.only.split(",")
    if unknown := [name for name in given.only if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]!r}: choose from {', '.join(SECTIONS)}")
    given.contenders = tuple(filter(None, given.contenders.split(",")))
    if unknown := [name for name in given.contenders if name not in CONTENDERS]:
        parser.error(f"there is no contender {unknown[0]!r}: choose from {', '.join(CONTENDERS)}")
    if not 1 <= given.threads <= machine.cores():
        parser.error(f"--threads must lie in 1..{machine.cores()}, the cores of this machine, got {given.threads}")
    if wrong := [pair for pair in given.python if pair.partition("=")[0] not in CONTENDERS or "=" not in pair]:
        parser.error(f"--python takes NAME=PATH with the name of a contender, got {wrong[0]!r}")
    return given


def main(arguments: list[str] | None = None) -> int:
    given = options(arguments)
    found = machine.describe(given.threads)
    if given.device == "gpu":
        gpus = [device for device in deepxp.devices() if device.name != "cpu"]
        usable = next((device for device in gpus if device.usable), None)
        if usable is None:
            print(f"{gpus[0].reason} To fix it: {gpus[0].fix}", file=sys.stderr)
            return 1
        found["gpu"] = usable.description.partition(",")[0]
    kind = found.get("gpu", found["cpu"])
    print(f"{kind}, {given.threads} threads, commit {found['commit']}, load {found['load_before']}")
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            device=given.device,
            threads=given.threads,
            quick=given.quick,
            rounds=given.rounds or (3 if given.quick else 7),
            seconds=given.seconds or (0.15 if given.quick else 0.5),
            limit=given.limit,
            folder=Path(folder),
            contenders=given.contenders,
            pythons=dict(pair.split("=", 1) for pair in given.python),
            nets=tuple(filter(None, given.nets.split(","))),
            mnist=given.mnist,
        )
        result = {
            "schema": results.SCHEMA,
            "kind": "peers",
            "device": given.device,
            "quick": given.quick,
            "rounds": setting.rounds,
            "seconds": setting.seconds,
            "machine": found,
        }
        rows = []
        for name, section in SECTIONS.items():
            if name in given.only and (given.device == "cpu" or name in ON_GPU):
                print(f"== {name}", flush=True)
                result[name], promised = section.run(setting)
                rows += promised
    result["table"] = rows
    result["skipped"] = [dict(zip(("where", "contender", "reason"), entry, strict=True)) for entry in setting.skipped]
    found["versions"] = setting.versions | found["versions"]
    found["blas"] = setting.blas
    print(f"\n{verdicts(rows)}")
    for where, name, reason in setting.skipped:
        print(f"left out of {where}: {name}: {reason}")
    path = given.out or RESULTS / results.name("peers", given.device, machine.slug(kind, given.threads), given.quick)
    results.write(path, result)
    print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # contenders are ended on the way out
    sys.exit(main())
