"""One update by Adam of a flat vector: of 2.2 million parameters, on a GPU of more than its cache holds."""

from harness.rounds import Entry
from sections.setting import Setting
from sections.targets import GPU_ADAM, row

SIZE, ON_GPU_SIZE = 2_200_000, 64_000_000
MOVED = 7 / 2  # Adam reads theta, g, m and v and writes theta, m and v; a copy reads one array and writes one
COPY = "a plain copy's bandwidth"
CPU, ON_GPU = ("deepxp", "deepxp (NumPy alone)", "PyTorch eager"), ("deepxp (GPU)", "PyTorch eager")


def run(setting: Setting) -> tuple[dict, list[dict]]:
    """Times, and the row."""
    names = ON_GPU if setting.device == "gpu" else CPU
    size = ON_GPU_SIZE if setting.device == "gpu" else SIZE
    with setting.ready("Adam", names, "adam", size=size) as built:
        entries = [Entry(name, contender, "adam") for name, contender in built.items()]
        if setting.device == "gpu" and names[0] in built:
            entries.append(Entry(COPY, built[names[0]], "copy"))
        times = setting.turns("Adam", entries)
    for label, time in times.items():
        print(f"    {label:32} {time.median * 1e3:10.4f} ms", flush=True)
    result = {"size": size, "ms": {label: [1e3 * t for t in time.rounds] for label, time in times.items()}}
    rows = []
    if names[0] in times and "PyTorch eager" in times:
        limits = (0.5, 0.4) if setting.device == "cpu" else (None, None)
        what = f"Adam, {size / 1e6:g} M parameters"
        rows = [row(what, "PyTorch, fused", times[names[0]].over(times["PyTorch eager"]), *limits)]
    if COPY in times and names[0] in times:
        shares = tuple(MOVED * share for share in times[COPY].over(times[names[0]]))
        rows.append(row(f"Adam, {size / 1e6:g} M parameters", COPY, shares, None, GPU_ADAM, unit="of", at_least=True))
    return result, rows
