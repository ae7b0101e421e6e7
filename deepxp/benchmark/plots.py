"""The figures of the report: panels side by side with one scale, and a legend above them."""

import math
from collections.abc import Sequence

from deepxp.benchmark.measure import PRODUCTS
from deepxp.benchmark.results import Measured, Results, Row
from deepxp.pages.axes import COLOURS, Axis, Level, Line, Point, log_axis, panel, steps
from deepxp.pages.page import Labelled, figure
from deepxp.pages.words import UNITS, duration, number, round_number


def colours(results: Results) -> dict[str, int]:
    """What a device runs by default first: the CPU and the first GPU have the same colours in every report."""
    rows = sorted(results.contenders, key=lambda row: (not row.default, row.device != "cpu"))
    return {row.name: i % COLOURS for i, row in enumerate(rows)}


def time_per_sample(results: Results) -> str:
    """Time per sample of a training step against m, a panel for each n."""
    colour, panels = colours(results), []
    moved = [row for row in results.contenders if row.device != "cpu"]
    for n in results.settings.n:
        lines = [_times(results, row, n, colour[row.name], transfer=False) for row in results.contenders]
        lines += [_times(results, row, n, colour[row.name], transfer=True) for row in moved]
        panels.append((n, [line for line in lines if line.points]))
    values = [point.y for _, lines in panels for line in lines for point in line.points]
    entries = _entries(results.contenders, colour)
    if moved:
        entries.append((None, True, "with the transfer of the batch"))
    y_axis = log_axis("a sample", values or [1.0], round_duration)
    return _figure(
        entries,
        [panel(f"n = {n}", lines, _m_axis(lines), y_axis, (), _note(results, n)) for n, lines in panels if lines],
    )


def round_duration(value: float) -> str:
    """Of a round number, without zeros behind the point: `50 µs`."""
    unit, name = next(((u, name) for u, name in UNITS if value >= u * (1 - 1e-9)), UNITS[-1])
    return f"{value / unit:g} {name}"


def transposed(product: str) -> str:
    """`dZ A^T` with a small T."""
    return product.replace("^T", "ᵀ")


def _times(results: Results, row: Row, n: int, colour: int, *, transfer: bool) -> Line:
    points = []
    for m in sorted(results.settings.m):
        cell = results.cell(m, n, row.name)
        seconds = cell and cell.seconds("step", transfer=transfer)
        if seconds:
            with_it = " with the transfer" if transfer else ""
            points.append(
                Point(m, seconds / m, f"{row.name}, m = {m}, n = {n}: {duration(seconds / m)} a sample{with_it}")
            )
    return Line(tuple(points), colour, colour, dashed=transfer)


def _note(results: Results, n: int) -> str:
    found = [c for c in results.crossovers if (c.item, c.n, c.transfer) == ("step", n, True)]
    return f"{found[0].device} wins from m = {found[0].from_m}" if found and found[0].from_m else ""


def products(results: Results) -> str:
    """GFLOP/s against m, a panel for each product, a line for each n, and the peak of each device."""
    colour = colours(results)
    rows = [row for row in results.contenders if row.default]
    peaks = [Level(row.peak.gflops, colour[row.name], f"peak {number(row.peak.gflops)}") for row in rows if row.peak]
    panels = []
    for product in PRODUCTS:
        lines = [
            _rates(results, row, n, product, colour[row.name], shape, f"n = {n}")
            for row in rows
            for shape, n in enumerate(results.settings.n)
        ]
        panels.append((product, [line for line in lines if line.points]))
    values = [point.y for _, lines in panels for line in lines for point in line.points] + [p.y for p in peaks]
    y_axis = log_axis("GFLOP/s", values or [1.0], round_number)
    return _figure(
        [*_entries(rows, colour), (None, True, "the largest square product")],
        [panel(transposed(product), lines, _m_axis(lines), y_axis, peaks) for product, lines in panels if lines],
    )


def bandwidth(results: Results) -> str:
    """GB/s of softmax against m, a panel for each n, and those of a copy of the same array."""
    colour, panels = colours(results), []
    copying = [row for row in results.contenders if row.default]
    for n in results.settings.n:
        lines = [_rates(results, row, n, "copy", colour[row.name], 0, copy=True) for row in copying]
        lines += [_rates(results, row, n, "softmax", colour[row.name], colour[row.name]) for row in results.contenders]
        panels.append((n, [line for line in lines if line.points]))
    values = [point.y for _, lines in panels for line in lines for point in line.points]
    y_axis = log_axis("GB/s", values or [1.0], round_number)
    return _figure(
        [*_entries(results.contenders, colour), (None, True, "a plain copy of the same array")],
        [panel(f"n = {n}", lines, _m_axis(lines), y_axis) for n, lines in panels if lines],
    )


def _rates(
    results: Results, row: Row, n: int, item: str, colour: int, shape: int, label: str = "", *, copy: bool = False
) -> Line:
    points = []
    for m in sorted(results.settings.m):
        cell = results.cell(m, n, row.name)
        measured = cell.items.get(item) if cell else None
        if measured:
            rate, unit = _rate(measured)
            points.append(Point(m, rate, f"{item} on {row.name}, m = {m}, n = {n}: {number(rate)} {unit}"))
    return Line(tuple(points), colour, shape, dashed=copy, marks=not copy, label=label)


def _rate(measured: Measured) -> tuple[float, str]:
    if measured.gflops is not None:
        return measured.gflops, "GFLOP/s"
    assert measured.gb_per_second is not None
    return measured.gb_per_second, "GB/s"


def _entries(rows: Sequence[Row], colour: dict[str, int]) -> list[Labelled]:
    return [(colour[row.name], False, row.name) for row in rows]


def _figure(entries: Sequence[Labelled], panels: Sequence[str]) -> str:
    return figure(entries, panels) if panels else "<p>Nothing was measured within the time limit.</p>"


def _m_axis(lines: Sequence[Line]) -> Axis:
    """Ticks at the m themselves where they are powers of two, else at 1, 2, 5."""
    sizes = sorted({point.x for line in lines for point in line.points})
    low, high = (sizes[0], sizes[-1]) if len(sizes) > 1 else (sizes[0] / 2, sizes[0] * 2)
    binary = all(math.log2(x).is_integer() for x in sizes)
    found = sizes if binary else steps(sizes[0], sizes[-1]) or sizes
    return Axis("m, samples in a batch", low, high, found, "{:g}".format)
