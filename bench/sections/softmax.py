"""softmax of (C, m) against torch.softmax over either axis and against a plain copy, like with like.

softmax and torch.softmax return fresh memory, so their copy does, too; the loss of a training step fills memory that
exists, and so does the copy beside it.
"""

from harness.rounds import Entry
from sections.setting import Setting
from sections.targets import GPU_SOFTMAX, row

CLASSES, SAMPLES = (10, 100, 1000, 32000), (128, 1024, 10_000, 1_000_000)
LARGEST, BANDWIDTH_FROM = 160e6, 4e6  # bytes of an array
GPU_SAMPLES, GPU_LARGEST, GPU_BANDWIDTH_FROM = (128, 1024, 4096, 10_000, 100_000, 1_000_000), 600e6, 256e6


def run(setting: Setting) -> tuple[list[dict], list[dict]]:
    """Results a size, and the worst of them as rows."""
    on_gpu = setting.device == "gpu"
    samples, largest = (GPU_SAMPLES, GPU_LARGEST) if on_gpu else (SAMPLES, LARGEST)
    sizes = [(C, m) for C in CLASSES for m in samples if 4 * C * m <= largest]
    if setting.quick:
        sizes = (
            [(10, 1024), (100, 1_000_000), (1000, 100_000)] if on_gpu else [(10, 1024), (10, 1_000_000), (1000, 10_000)]
        )
    results = [result for C, m in sizes if (result := of_size(setting, C, m))]
    return results, gpu_rows(results) if on_gpu else rows_of(results)


def of_size(setting: Setting, C: int, m: int) -> dict | None:
    """Times of one size."""
    where, ours = f"softmax ({C}, {m})", "deepxp (GPU)" if setting.device == "gpu" else "deepxp"
    with setting.ready(where, (ours, "PyTorch eager"), "softmax", C=C, m=m) as built:
        entries = [
            Entry(f"{name} {case}", contender, case)
            for name, contender in built.items()
            for case in (("softmax", "loss", "copy", "fill") if name == ours else ("columns", "rows", "loss"))
        ]
        if ours not in built:
            return None
        times = setting.turns(where, entries)
    result = {
        "C": C,
        "m": m,
        "bytes": 4 * C * m,
        "ms": {label: [1e3 * t for t in time.rounds] for label, time in times.items()},
    }
    torch = [f"PyTorch eager {axis}" for axis in ("rows", "columns") if f"PyTorch eager {axis}" in times]
    soft, loss = times.get(f"{ours} softmax"), times.get(f"{ours} loss")
    if soft and torch:
        result["better_axis"] = better = min(torch, key=lambda name: times[name].median)
        result["over_torch"] = soft.over(times[better])
    if soft and f"{ours} copy" in times:
        result["of_copy"] = times[f"{ours} copy"].over(soft)
    if loss and f"{ours} fill" in times:
        result["loss_of_copy"] = times[f"{ours} fill"].over(loss)
    if loss and "PyTorch eager loss" in times:
        result["loss_over_torch"] = loss.over(times["PyTorch eager loss"])
    print(f"  ({C}, {m}): " + ", ".join(f"{k} {1e3 * t.median:.4g}" for k, t in times.items()) + " ms", flush=True)
    return result


def rows_of(results: list[dict]) -> list[dict]:
    """The worst size of each promise, by name."""
    rows = []
    if compared := [result for result in results if "over_torch" in result]:
        worst = max(compared, key=lambda result: result["over_torch"][0])
        name = f"softmax, the worst of {len(compared)} sizes: ({worst['C']}, {worst['m']})"
        rows.append(row(name, "the better torch.softmax", worst["over_torch"], 1.0, 0.9))
    large = [result for result in results if result["bytes"] > BANDWIDTH_FROM]
    for key, op in (("of_copy", "softmax"), ("loss_of_copy", "softmax-cross-entropy with dZ")):
        if copied := [result for result in large if key in result]:
            worst = min(copied, key=lambda result: result[key][0])
            name = f"{op}, the worst of {len(copied)} sizes over 4 MB: ({worst['C']}, {worst['m']})"
            rows.append(row(name, "a plain copy's bandwidth", worst[key], 0.6, 0.9, unit="of", at_least=True))
    return rows


def gpu_rows(results: list[dict]) -> list[dict]:
    """The worst sizes of the loss with dZ."""
    rows, what = [], "softmax-cross-entropy with dZ, the worst of"
    if compared := [result for result in results if "loss_over_torch" in result]:
        worst = max(compared, key=lambda result: result["loss_over_torch"][0])
        name = f"{what} {len(compared)} sizes: ({worst['C']}, {worst['m']})"
        rows.append(row(name, "torch's", worst["loss_over_torch"], None, GPU_SOFTMAX["over_torch"]))
    if copied := [r for r in results if r["bytes"] > GPU_BANDWIDTH_FROM and "loss_of_copy" in r]:
        worst = min(copied, key=lambda result: result["loss_of_copy"][0])
        name = f"{what} {len(copied)} sizes over 256 MB: ({worst['C']}, {worst['m']})"
        aim = GPU_SOFTMAX["of_copy"]
        rows.append(row(name, "a plain copy's bandwidth", worst["loss_of_copy"], None, aim, unit="of", at_least=True))
    return rows
