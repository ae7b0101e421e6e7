"""What the numbers say: from which m on a GPU is faster than the CPU, and what an engine of the CPU saves."""

import math
from collections.abc import Callable, Iterable, Sequence

from deepxp.benchmark.measure import PRODUCTS
from deepxp.benchmark.results import Cell, Crossover, Row
from deepxp.devices import Device

COMPARED = ("step", *PRODUCTS, "softmax", "loss")
ENGINES = {"numba": "the Numba kernels", "numpy": "the NumPy kernels", "definitions": "the definitions"}


def crossovers(rows: Sequence[Row], cells: Sequence[Cell]) -> tuple[Crossover, ...]:
    """Of each device that is not the CPU against the CPU as `--device cpu` runs it; none where either is missing."""
    cpu = next((row.name for row in rows if row.device == "cpu" and row.default), None)
    if cpu is None:
        return ()
    sizes = sorted({cell.n for cell in cells})
    return tuple(
        _crossover(cells, row.name, cpu, item, n, transfer)
        for row in rows
        if row.device != "cpu"
        for item in COMPARED
        for transfer in (False, True)
        for n in sizes
    )


def _crossover(cells: Sequence[Cell], device: str, cpu: str, item: str, n: int, transfer: bool) -> Crossover:
    """Where both were measured. A tie is not a win."""
    theirs = {c.m: c.seconds(item) for c in cells if (c.n, c.contender) == (n, cpu)}
    ours = {c.m: c.seconds(item, transfer=transfer) for c in cells if (c.n, c.contender) == (n, device)}
    both = {m: (ours[m], theirs[m]) for m in sorted(ours.keys() & theirs.keys())}
    faster = {m: a < b for m, (a, b) in both.items() if a is not None and b is not None}
    loses = [m for m, wins in faster.items() if not wins]
    after = [m for m in faster if m > max(loses, default=0)]
    wins = tuple(m for m, wins in faster.items() if wins)
    return Crossover(device, cpu, item, n, transfer, wins, tuple(loses), min(after, default=None))


def conclusions(
    rows: Sequence[Row], cells: Sequence[Cell], devices: Sequence[Device], found: Sequence[Crossover], asked: bool
) -> tuple[str, ...]:
    """The crossover of a training step for each GPU, or why there is none to name; then the engines of the CPU."""
    there = list(dict.fromkeys(row.device for row in rows))
    gpus = [row.name for row in rows if row.device != "cpu"]
    said = [_crossing([c for c in found if c.device == gpu and c.item == "step"]) for gpu in gpus if found]
    if not said:
        said = [f"There is no crossover to name: only {_and(there)} was measured{_why(there, devices, asked)}"]
    return (*said, *_engines(rows, cells), *_noise(cells))


def _crossing(steps: Sequence[Crossover]) -> str:
    alone, moved = (_phrases(c for c in steps if c.transfer is transfer) for transfer in (False, True))
    again = "the same with the transfer of the batch" if alone == moved else f"with the transfer of the batch {moved}"
    return f"A training step is faster on {steps[0].device} than on {steps[0].against} {alone}; {again}."


def _phrases(steps: Iterable[Crossover]) -> str:
    by_phrase: dict[str, list[int]] = {}
    for step in steps:
        by_phrase.setdefault(phrase(step), []).append(step.n)
    return ", ".join(f"at n = {_and(map(str, sizes))} {said}" for said, sizes in by_phrase.items())


def phrase(found: Crossover) -> str:
    """`from m = 128 on`, and what else there may be to say."""
    if not found.wins and not found.loses:
        return "at no m that both were measured at"
    if not found.wins:
        return f"at no m up to {max(found.loses)}"
    if not found.loses:
        return f"at every m from {found.wins[0]} on"
    if found.from_m is None:
        return f"only at m = {_and(map(str, found.wins))}"
    before = [m for m in found.wins if m < found.from_m]
    return f"from m = {found.from_m} on" + (f" (and at m = {_and(map(str, before))})" if before else "")


def _why(there: Sequence[str], devices: Sequence[Device], asked: bool) -> str:
    if asked:
        return ", as asked for."
    if "cpu" not in there:
        return "."
    reasons = [
        f"{device.name} is not usable: {device.reason} To fix it: {device.fix}."
        for device in devices
        if not device.usable
    ]
    return ". " + " ".join(reasons)


def _engines(rows: Sequence[Row], cells: Sequence[Cell]) -> list[str]:
    on_cpu = [row for row in rows if row.device == "cpu"]
    if len(on_cpu) < 2:
        return []
    best = next((row for name in ENGINES for row in on_cpu if row.engine == name), on_cpu[0])
    parts = []
    for row in on_cpu:
        ratios = _ratios(cells, best.name, row.name) if row is not best else []
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            parts.append(f"{mean:.2f} of the time that {ENGINES.get(row.engine, row.engine)} need ({_range(ratios)})")
    if not parts:
        return []
    return [f"On the CPU a training step with {ENGINES.get(best.engine, best.engine)} takes {_and(parts)}."]


def _noise(cells: Sequence[Cell]) -> list[str]:
    """That other programs were in the way, where many a median is far above the best round."""
    items = [item for cell in cells for item in cell.items.values() if item.rounds > 2]
    unsteady = sum(item.seconds > 2 * item.low_seconds for item in items)
    if 10 * unsteady <= len(items):
        return []
    return [
        f"Other programs were using this machine: {unsteady} of {len(items)} medians are more than twice the best "
        "round. Repeat with nothing else running before you rely on the times; where cores are shared, "
        "OPENBLAS_NUM_THREADS=1 keeps threads from waiting for each other."
    ]


def _ratios(cells: Sequence[Cell], name: str, other: str) -> list[float]:
    of: Callable[[str], dict[tuple[int, int], float | None]] = lambda who: {  # noqa: E731
        (c.m, c.n): c.seconds("step") for c in cells if c.contender == who
    }
    ours, theirs = of(name), of(other)
    pairs = [(ours[key], theirs.get(key)) for key in ours]
    return [a / b for a, b in pairs if a and b]


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
