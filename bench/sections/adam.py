"""One update by Adam of a flat vector of 2.2 million parameters."""

from harness.rounds import Entry
from sections.setting import Setting
from sections.targets import row

SIZE = 2_200_000
CPU, ON_GPU = ("deepxp", "deepxp (NumPy alone)", "PyTorch eager"), ("deepxp (GPU)", "PyTorch eager")


def run(setting: Setting) -> tuple[dict, list[dict]]:
    """Times, and the row."""
    names = ON_GPU if setting.device == "gpu" else CPU
    with setting.ready("Adam", names, "adam", size=SIZE) as built:
        times = setting.turns("Adam", [Entry(name, contender, "adam") for name, contender in built.items()])
    for label, time in times.items():
        print(f"    {label:32} {time.median * 1e3:10.4f} ms", flush=True)
    result = {"size": SIZE, "ms": {label: [1e3 * t for t in time.rounds] for label, time in times.items()}}
    rows = []
    if names[0] in times and "PyTorch eager" in times:
        limits = (0.5, 0.4) if setting.device == "cpu" else (None, None)
        rows = [row("Adam, 2.2 M parameters", "PyTorch, fused", times[names[0]].over(times["PyTorch eager"]), *limits)]
    return result, rows
