"""docs/performance.md, and what README.md says of GPUs, from the result files: `python bench/performance.py`. Writes
what stands between the markers

    <!-- made by bench/performance.py: NAME -->
    <!-- end -->

and the figures beside the page. Text outside of the markers is left alone.
"""

import argparse
import re
import sys
from pathlib import Path
from statistics import median

from harness import BENCH, results
from tables import table, verdicts

PAGE, README = BENCH.parent / "docs" / "performance.md", BENCH.parent / "README.md"
MARKED = re.compile(r"(<!-- made by bench/performance\.py: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MISSING = "*Not measured yet.*"


def made_on(peers: dict | None, suite: dict | None) -> str:
    """Where the numbers come from."""
    lines = []
    for result, command in ((peers, "nox -s peers"), (suite, "nox -s bench")):
        if result is not None:
            found = result["machine"]
            kind = found.get("gpu", found["cpu"])
            versions = ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
            lines.append(
                f"- `{command}`: {kind}, {found['threads']} threads, commit {found['commit']}, {found['date']}; "
                f"load of the machine before the run {found['load_before']}; {versions}"
            )
    return "\n".join(lines) or MISSING


def promises(peers: dict | None, suite: dict | None) -> str:
    """The table of what was promised."""
    return verdicts(peers["table"]) if peers and peers["table"] else MISSING


def left_out(peers: dict | None, suite: dict | None) -> str:
    """Who did not run, and why."""
    if peers is None:
        return MISSING
    lines = [f"- {entry['contender']}, {entry['where']}: {entry['reason']}" for entry in peers["skipped"]]
    return "\n".join(lines) or "No contender was left out."


def steps(peers: dict | None, suite: dict | None) -> str:
    """Milliseconds a step, the contenders as columns."""
    if not peers or "steps" not in peers:
        return MISSING
    names = list(dict.fromkeys(name for result in peers["steps"] for name in result["ms"]))
    names = [name for name in names if "," not in name]
    rows = [
        [result["net"], *(median(result["ms"][name]) if name in result["ms"] else None for name in names)]
        for result in peers["steps"]
    ]
    return table(["net, ms a step", *names], rows)


def steps_from_numpy(peers: dict | None, suite: dict | None) -> str:
    """Milliseconds a step from a batch in NumPy to the loss on the host."""
    if not peers or not any("from_numpy" in result for result in peers.get("steps", [])):
        return MISSING
    end = ", NumPy batch in, loss out"
    names = list(dict.fromkeys(name for result in peers["steps"] for name in result["ms"] if name.endswith(end)))
    rows = [
        [
            result["net"],
            *(median(result["ms"][name]) if name in result["ms"] else None for name in names),
            result["from_numpy"]["ratio"][0] if result["from_numpy"] else None,
        ]
        for result in peers["steps"]
    ]
    head = ["net, ms a step", *(name.removesuffix(end) for name in names), "deepxp over the fastest peer"]
    return table(head, rows)


def cpu_summary(peers: dict | None, suite: dict | None) -> str:
    """The table above, shorter, for the README: deepxp beside the fastest of the others at each net."""
    made = steps_from_numpy(peers, suite)
    if peers is None or made == MISSING:
        return MISSING
    found = peers["machine"]
    return f"{found['cpu']}, {found['threads']} threads, commit {found['commit']}, {found['date']}:\n\n{made}"


def products(peers: dict | None, suite: dict | None) -> str:
    """The products of a step alone: deepxp's, through NumPy, and PyTorch's."""
    if not peers or "steps" not in peers:
        return MISSING
    rows = []
    for result in peers["steps"]:
        ms = {name: median(times) for name, times in result["ms"].items()}
        names = ("deepxp", "deepxp (NumPy alone)", "PyTorch eager")
        ours, *others = (ms.get(f"{name}, products alone") for name in names)
        if ours is not None:
            rate, share = result["flops"] / ours / 1e6, ms["deepxp"] / ours if "deepxp" in ms else None
            rows.append([result["net"], ours, *others, rate, *(other and ours / other for other in others), share])
    head = [
        "net",
        "deepxp's, ms",
        "NumPy's, ms",
        "PyTorch's, ms",
        "deepxp's GFLOP/s",
        "deepxp's over NumPy's",
        "over PyTorch's",
        "deepxp's step over its products",
    ]
    return table(head, rows)


def softmax(peers: dict | None, suite: dict | None) -> str:
    """The grid of softmax."""
    if not peers or "softmax" not in peers:
        return MISSING
    rows = []
    for result in peers["softmax"]:
        ms = {name: median(times) for name, times in result["ms"].items()}
        over, of_copy, loss = (result.get(key, [None])[0] for key in ("over_torch", "of_copy", "loss_of_copy"))
        torch = [ms.get(f"PyTorch eager {axis}") for axis in ("rows", "columns")]
        rows.append([f"{result['C']}, {result['m']}", ms.get("deepxp softmax"), *torch, over, of_copy, loss])
    head = [
        "C, m",
        "deepxp, ms",
        "torch rows, ms",
        "torch columns, ms",
        "over torch",
        "of a copy",
        "loss and dZ, of a copy",
    ]
    return table(head, rows)


def others(peers: dict | None, suite: dict | None) -> str:
    """Adam and MNIST."""
    lines = []
    if peers and peers.get("adam"):
        lines += [
            [f"Adam, {peers['adam']['size']} parameters", name, median(t)] for name, t in peers["adam"]["ms"].items()
        ]
    if peers and peers.get("mnist"):
        lines += [["an epoch of MNIST", name, 1e3 * median(t)] for name, t in peers["mnist"]["s"].items()]
    return table(["what", "contender", "ms"], lines) if lines else MISSING


def memory(peers: dict | None, suite: dict | None) -> str:
    """Bytes."""
    if not peers or not peers.get("memory"):
        return MISSING
    rows = [
        [
            result["net"],
            sum(result["peak"]["needed"].values()) / 1e6,
            result["peak"]["traced"] / 1e6,
            f"{result['over']:+.1%}",
            f"{result['over_strict']:+.1%}",
            result["allocated"]["transient"],
        ]
        for result in peers["memory"]
    ]
    return table(
        ["net", "needed, MB", "peak, MB", "more", "more, without dZ and dA as needed", "a warm step, bytes"], rows
    )


def kernels(peers: dict | None, suite: dict | None) -> str:
    """Each op at its largest size in float32: what the kernels gain over the definition."""
    if suite is None:
        return MISSING
    groups: dict[str, dict[str, dict]] = {}
    for entry in suite["benchmarks"]:
        op, _, size = entry["table"].partition(", ")
        if size.endswith("float32") and "products" not in op and "epoch" not in op and "," in entry["row"]:
            groups.setdefault(op, {}).setdefault(size, {})[entry["row"]] = entry["median"]
    rows = []
    for op, sizes in groups.items():
        size = list(sizes)[-1]
        found = sizes[size]
        times = [found.get(f"cpu, {engine}") for engine in ("definitions", "NumPy", "Numba")]
        if times[0]:
            gains = [times[0] / time if time else None for time in times[1:]]
            rows.append([op, size.removesuffix(", float32"), *(time and 1e3 * time for time in times), *gains])
    head = ["op, float32", "size", "definition, ms", "NumPy, ms", "Numba, ms", "gain, NumPy", "gain, Numba"]
    return table(head, rows) if rows else MISSING


def figures(peers: dict | None, suite: dict | None) -> str:
    """Time per sample over m and over n, with the floor."""
    entries = (
        [entry for entry in suite["benchmarks"] if "what" in entry and entry["dtype"] == "float32"] if suite else []
    )
    if not entries:
        return MISSING
    from figures import over

    lines = []
    for axis, other, name in (("m", "n", "batch size"), ("n", "m", "width of the layers")):
        path = PAGE.parent / f"time-per-sample-over-{axis}.svg"
        over(entries, axis, other, path)
        lines.append(f"![time per sample over the {name}]({path.name})")
    return "\n\n".join(lines)


BLOCKS = {
    "made-on": made_on, "promises": promises, "left-out": left_out, "steps": steps,
    "steps-from-numpy": steps_from_numpy, "cpu-summary": cpu_summary, "products": products, "softmax": softmax,
    "others": others, "memory": memory, "kernels": kernels, "figures": figures,
}  # fmt: skip


def gpu_page(proof: dict | None) -> str:
    """What was proved on a GPU, and on which; or that nothing was yet."""
    if proof is None:
        return MISSING
    found, peers = proof["machine"], proof["peers"]
    driver = f"driver {found['driver']}, " if found.get("driver") else ""
    on = f"`bench/gpu/prove.sh`: {found['gpu']}, {driver}commit {found['commit']}, {found['date']}"
    rows = [[part["name"], part["status"], f"{part['seconds']:.0f} s", part["told"]] for part in proof["parts"]]
    parts = [on, table(["part", "result", "took", "what it says"], rows)]
    if peers:
        parts += [made_on(peers, None), steps(peers, None), promises(peers, None), softmax_gpu(peers)]
    return "\n\n".join(part for part in parts if part and part != MISSING)


def gpu_summary(proof: dict | None) -> str:
    """The same in a few lines, for the README."""
    if proof is None:
        return "On a GPU: *not measured yet.*"
    found, tests = proof["machine"], next((p for p in proof["parts"] if p["name"] == "tests"), None)
    told = f"On {found['gpu']} (commit {found['commit']}, {found['date']}): " + (
        tests["told"] if tests else "no tests run"
    )
    rows = (proof["peers"] or {}).get("table", [])
    return f"{told}.\n\n{verdicts(rows)}" if rows else f"{told}."


def softmax_gpu(peers: dict) -> str:
    """The worst sizes are in the table above; here is the grid."""
    rows = [
        [f"{r['C']}, {r['m']}", *(r.get(key, [None])[0] for key in ("over_torch", "of_copy", "loss_of_copy"))]
        for r in peers.get("softmax", [])
    ]
    return table(["softmax C, m", "over torch", "of a copy", "loss and dZ, of a copy"], rows) if rows else ""


GPU_BLOCKS = {"gpu": gpu_page, "gpu-summary": gpu_summary}


def fill(text: str, peers: dict | None, suite: dict | None, gpu: dict | None) -> str:
    """The page with its marked parts made anew. Raises KeyError for a marker that nothing belongs to."""

    def made(match: re.Match) -> str:
        block = GPU_BLOCKS[match[2]](gpu) if match[2] in GPU_BLOCKS else BLOCKS[match[2]](peers, suite)
        return f"{match[1]}\n{block}\n\n{match[3]}"

    return MARKED.sub(made, text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="performance.py", description=__doc__.split(":")[0])
    for kind in ("peers", "suite", "gpu"):
        parser.add_argument(f"--{kind}", type=Path, help="a result file; default: the newest full one in bench/results")
    given = parser.parse_args(arguments)
    wanted = {"peers": ("peers", "cpu"), "suite": ("suite", "cpu"), "gpu": ("proof", "gpu")}
    found = {
        name: results.read(path) if (path := getattr(given, name)) else results.latest(*what)
        for name, what in wanted.items()
    }
    for page in (PAGE, README):
        page.write_text(fill(page.read_text(), found["peers"], found["suite"], found["gpu"]))
    told = [f"{name}: {result['machine']['date'] if result else 'none'}" for name, result in found.items()]
    print(f"written: {PAGE.name}, {README.name} ({', '.join(told)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
