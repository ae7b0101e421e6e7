"""The results as text: for every (m, n) a table with the contenders as rows."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from deepxp.benchmark.crossover import COMPARED
from deepxp.benchmark.measure import OUTPUTS, PRODUCTS
from deepxp.benchmark.results import Cell, Crossover, Measured, Results, Row

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
NAME, TIME, RATE, WIDTH = 17, 12, 12, 120


def number(x: float) -> str:
    """Three significant digits, at most three behind the point: 0.012, 1.23, 123, 12,345."""
    if x == 0:
        return "0"
    rounded = float(f"{x:.3g}")  # for its digits only: 9.996 is 10.0
    return f"{x:,.{min(3, max(0, 2 - math.floor(math.log10(abs(rounded)))))}f}"


def duration(seconds: float) -> str:
    """`1.23 ms`"""
    if seconds == 0:
        return "0"
    unit, name = next(((u, name) for u, name in UNITS if float(f"{seconds:.3g}") >= u), UNITS[-1])
    return f"{number(seconds / unit)} {name}"


def percent(x: float) -> str:
    """`87`, and of little a digit more: `0.4`."""
    return f"{x:.1f}" if x < 9.95 else f"{x:.0f}"


def net(n: int) -> str:
    """The network that a step trains."""
    return f"{n}-{n}-{n}-{OUTPUTS}"


def text(results: Results) -> str:
    """All of it."""
    lines = [*_machine(results), "", *_contenders(results), ""]
    for n in results.settings.n:
        for m in results.settings.m:
            lines += [*_cell(results, m, n), ""]
    lines += [*_crossovers(results.crossovers), *map(_wrapped, results.conclusions)]
    return "\n".join(lines)


def facts(results: Results) -> dict[str, str]:
    """What it was measured on."""
    found = results.machine
    packages = [f"{name} {found[key]}" for name, key in (("Numba", "numba"), ("CuPy", "cupy")) if found[key]]
    return {
        "machine": f"{found['cpu']}, {found['cores']} cores for this process; {found['system']}",
        "software": ", ".join(
            [f"deepxp {results.deepxp}", f"Python {found['python']}", f"NumPy {found['numpy']}", *packages]
        ),
        "blas": f"{found['blas']}, threads: {found['blas_threads']}; kernels on up to {found['kernel_threads']}",
        "precision": results.settings.dtype,
    } | {
        device.name: device.description if device.usable else f"not usable. {device.reason} To fix it: {device.fix}"
        for device in results.devices
        if device.name != "cpu"
    }


def missing_engine(results: Results) -> str | None:
    """What could be compared as well, if it were installed."""
    if any(row.device == "cpu" for row in results.contenders) and results.machine["numba"] is None:
        return "Numba is not installed, so its kernels are not compared: python -m pip install numba"
    return None


def _machine(results: Results) -> Iterator[str]:
    for name, value in facts(results).items():
        yield _wrapped(f"{name:<{NAME}}{value}", NAME)
    missing = missing_engine(results)
    if missing:
        yield missing


def _wrapped(line: str, indent: int = 0) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False)


def _contenders(results: Results) -> Iterator[str]:
    yield f"{'':<{NAME}}{'to start':>{TIME}}{'first calls':>{RATE}}   peak of square products"
    if results.finding_seconds and any(row.device != "cpu" for row in results.contenders):
        yield f"{'finding devices':<{NAME}}{duration(results.finding_seconds):>{TIME}}"
    for row in results.contenders:
        peak = "not measured"
        if row.peak:
            peak = f"{number(row.peak.gflops)} GFLOP/s at N = {row.peak.N}"
        seconds = first_calls(results, row)
        yield f"{row.name:<{NAME}}{duration(row.start_seconds):>{TIME}}{_or(seconds):>{RATE}}   {peak}"


def first_calls(results: Results, row: Row) -> float | None:
    """The seconds of the first call of every item in the first cell: what it is to compile, load and allocate."""
    first = next((cell for cell in results.cells if cell.contender == row.name), None)
    return sum(item.first_seconds for item in first.items.values()) if first and first.items else None


def _cell(results: Results, m: int, n: int) -> Iterator[str]:
    groups = (
        (f"a step of {net(n)}", 3 * TIME),
        ("products: GFLOP/s, % of peak", 3 * RATE),
        (f"softmax of ({n}, {m}): % of copy", 3 * RATE),
    )
    yield f"m = {m}, n = {n}"
    yield " " * NAME + "".join(f"  {_ruled(title, width - 2)}" for title, width in groups)
    heads = [f"{head:>{TIME}}" for head in ("compute", "transfer", "first call")]
    heads += [f"{head:>{RATE}}" for head in (*PRODUCTS, "time", "GB/s", "with loss")]
    yield " " * NAME + "".join(heads)
    why: dict[str, list[str]] = {}
    for row in results.contenders:
        cell = results.cell(m, n, row.name)
        if cell:
            yield _line(cell)
            for item, reason in cell.skipped.items():
                why.setdefault(f"{row.name}: {reason}", []).append(item)
    for reason, items in why.items():
        yield _wrapped(f"not measured on {reason} ({', '.join(items)})", 4)


def _ruled(title: str, width: int) -> str:
    return f"{title} ".ljust(width, "-")


def _line(cell: Cell) -> str:
    items = cell.items
    step, softmax = items.get("step"), items.get("softmax")
    words = [_or(cell.seconds("step")), _or(cell.transfer_seconds), _or(step.first_seconds if step else None)]
    line = f"{cell.contender:<{NAME}}" + "".join(f"{word:>{TIME}}" for word in words)
    line += "".join(f"{_rate(items.get(p), 'gflops', 'percent_of_peak'):>{RATE}}" for p in PRODUCTS)
    line += f"{_or(cell.seconds('softmax')):>{RATE}}{_rate(softmax, 'gb_per_second', 'percent_of_copy'):>{RATE}}"
    return line + f"{_or(cell.seconds('loss')):>{RATE}}"


def _or(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _rate(item: Measured | None, rate: str, of: str) -> str:
    if item is None or getattr(item, rate) is None:
        return "-"
    share = getattr(item, of)
    return f"{number(getattr(item, rate))} {'' if share is None else percent(share) + '%':>4}"


def _crossovers(found: Sequence[Crossover]) -> Iterator[str]:
    for device in dict.fromkeys(c.device for c in found):
        here = [c for c in found if c.device == device]
        sizes = sorted({c.n for c in here})
        yield f"the m from which on {device} is faster than {here[0].against}: alone / with the transfer of a batch"
        yield f"{'':<{NAME}}" + "".join(f"{f'n = {n}':>16}" for n in sizes)
        for item in COMPARED:
            words = [f"{from_m(_pick(here, item, n, False))} / {from_m(_pick(here, item, n, True))}" for n in sizes]
            yield f"{item:<{NAME}}" + "".join(f"{word:>16}" for word in words)
        yield ""


def _pick(found: Sequence[Crossover], item: str, n: int, transfer: bool) -> Crossover:
    return next(c for c in found if (c.item, c.n, c.transfer) == (item, n, transfer))


def from_m(found: Crossover) -> str:
    """The m, `never` where it loses at the largest, `-` where nothing was measured."""
    if found.from_m is not None:
        return str(found.from_m)
    return "never" if found.loses else "-"
