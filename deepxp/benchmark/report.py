"""The results as a page of HTML."""

from collections.abc import Callable, Sequence
from html import escape

from deepxp.benchmark import plots
from deepxp.benchmark.crossover import COMPARED
from deepxp.benchmark.measure import PRODUCTS
from deepxp.benchmark.results import Cell, Measured, Results
from deepxp.benchmark.tables import facts as facts_of
from deepxp.benchmark.tables import first_calls, from_m, missing_engine, net
from deepxp.pages.page import facts, page, section
from deepxp.pages.words import duration, number, percent

Column = tuple[str, Callable[[Cell], str]]
MISSING = "–"

STEP = "Forward, loss, backward and update of a network n-n-n-10, divided by m. Lower is better."
ABOVE = " Beside n: from which m on the GPU wins, transfer included."
PRODUCT = "GFLOP/s of what each device runs by default. Higher is better."
COPY = "A softmax has to read and write every number once, as a copy does. Higher is better."
ONCE = "What is paid once: opening a device and its engine, and the first call of every item, which compiles and loads."
HOW = """\
Every time is the median of repeated rounds of repeated calls; a round lasts at least {least}, so that the clock does
not matter, and at most {rounds} rounds were made within {limit} for each m and n. On a GPU the host waits for the
device before it reads the clock, at both ends of every round. The contenders take turns, in the opposite order every
other time, so that whatever slows the machine slows all of them.

The <em>first call</em> is reported apart: it compiles, loads libraries and allocates. The <em>transfer</em> is that of
one batch of m samples and their labels from the host's memory to the device's; on the CPU there is nothing to move.
The rest is <em>compute</em>.

A layer of n units with n inputs has three products, W A forward (with the bias), dZ Aᵀ and Wᵀ dZ
backward, of 2 n n m floating-point operations each. They run as the network runs them, and are compared with the best
round of a square product on the device, measured before, N x N with N doubled as long as it takes reasonable time.

A softmax and a plain copy read and write n x m numbers once; the copy is of an array of the same size, so that small
ones are copied within the cache. <em>With loss</em> is softmax-cross-entropy and its gradient.

A training step is forward, loss, backward and Adam of the network n-n-n-10 with relu, at a learning rate too small to
change a weight, so that every repetition does the same work."""


def html(results: Results) -> str:
    """The page."""
    cpu = results.machine["cpu"]
    gpus = [device.description.split(",")[0] for device in results.devices if device.name != "cpu" and device.usable]
    where = [cpu] * any(row.device == "cpu" for row in results.contenders)
    where += gpus * any(row.device != "cpu" for row in results.contenders)
    first, *more = results.conclusions
    return page(
        f"deepxp bench: {' and '.join(where)}",
        f"deepxp bench, {results.when[:16].replace('T', ' ')}",
        f"deepxp on {' and on '.join(where)}",
        first,
        more,
        (
            section(
                "A training step: time per sample",
                plots.time_per_sample(results),
                STEP + ABOVE * bool(results.crossovers),
            ),
            section("The products of a layer", plots.products(results), PRODUCT),
            section("softmax against a copy", plots.bandwidth(results), COPY),
            _crossovers(results),
            section("Every number", "".join(_of_n(results, n) for n in results.settings.n)),
            section("Starting", _starting(results), ONCE),
            section("How it was measured", _how(results)),
        ),
    )


def _of_n(results: Results, n: int) -> str:
    step: list[Column] = [
        ("compute", lambda cell: _time(cell.seconds("step"))),
        ("transfer", lambda cell: _time(cell.transfer_seconds)),
        ("together", lambda cell: _time(cell.step_with_transfer_seconds)),
        ("first call", lambda cell: _field(cell, "step", "first_seconds")),
        ("least", lambda cell: _field(cell, "step", "low_seconds")),
        ("greatest", lambda cell: _field(cell, "step", "high_seconds")),
        ("rounds", lambda cell: _field(cell, "step", "rounds")),
    ]
    product: list[Column] = [
        column
        for name in PRODUCTS
        for column in (
            (plots.transposed(name), lambda cell, name=name: _field(cell, name, "seconds")),
            ("GFLOP/s", lambda cell, name=name: _field(cell, name, "gflops")),
            ("% of peak", lambda cell, name=name: _field(cell, name, "percent_of_peak")),
        )
    ]
    soft: list[Column] = [
        ("softmax", lambda cell: _field(cell, "softmax", "seconds")),
        ("GB/s", lambda cell: _field(cell, "softmax", "gb_per_second")),
        ("copy GB/s", lambda cell: _field(cell, "copy", "gb_per_second")),
        ("% of copy", lambda cell: _field(cell, "softmax", "percent_of_copy")),
        ("with loss", lambda cell: _field(cell, "loss", "seconds")),
    ]
    return (
        f"<h3>n = {n}</h3>"
        + _table(results, n, f"A training step of {net(n)}", step)
        + _table(results, n, f"The products of a layer, {n} x {n}", product)
        + _table(results, n, f"softmax over {n} classes", soft)
        + _skipped(results, n)
    )


def _table(results: Results, n: int, caption: str, columns: Sequence[Column]) -> str:
    bodies = []
    for m in results.settings.m:
        cells = [cell for row in results.contenders if (cell := results.cell(m, n, row.name))]
        rows = [
            (f'<th scope="rowgroup" rowspan="{len(cells)}">{m}</th>' if cell is cells[0] else "")
            + f'<th scope="row">{escape(cell.contender)}</th>'
            + "".join(f"<td>{escape(read(cell))}</td>" for _, read in columns)
            for cell in cells
        ]
        bodies.append(f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody>")
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("m", "device", *(name for name, _ in columns)))
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>'
        f"{''.join(bodies)}</table></div>"
    )


def _skipped(results: Results, n: int) -> str:
    said = [
        f"{item} at m = {cell.m} on {cell.contender}: {reason}"
        for cell in results.cells
        if cell.n == n
        for item, reason in cell.skipped.items()
    ]
    return f'<p class="about">Not measured: {escape("; ".join(said))}.</p>' if said else ""


def _crossovers(results: Results) -> str:
    parts = []
    for device in dict.fromkeys(c.device for c in results.crossovers):
        here = [c for c in results.crossovers if c.device == device]
        sizes = list(dict.fromkeys(c.n for c in here))
        heads = "".join(f'<th scope="col">n = {n}</th><th scope="col">with transfer</th>' for n in sizes)
        rows = "".join(
            f'<tr><th scope="row">{escape(plots.transposed(item))}</th>'
            + "".join(
                f"<td>{escape(from_m(next(c for c in here if (c.item, c.n, c.transfer) == (item, n, moved))))}</td>"
                for n in sizes
                for moved in (False, True)
            )
            + "</tr>"
            for item in COMPARED
        )
        parts.append(
            f'<div class="scroll"><table class="named"><caption>The m from which on {escape(device)} is faster than '
            f'{escape(here[0].against)}</caption><thead><tr><th scope="col"></th>{heads}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    return section("Where the GPU begins to win", "".join(parts)) if parts else ""


def _starting(results: Results) -> str:
    heads = ("device", "to start", "first calls", "peak, GFLOP/s", "at N", "first product")
    rows = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{_time(row.start_seconds)}</td>'
        f"<td>{_time(first_calls(results, row))}</td>"
        + "".join(
            f"<td>{value}</td>"
            for value in (
                (number(row.peak.gflops), row.peak.N, duration(row.peak.first_seconds)) if row.peak else (MISSING,) * 3
            )
        )
        + "</tr>"
        for row in results.contenders
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    finding = f"<p>Finding and trying the devices took {_time(results.finding_seconds)}.</p>"
    table = f'<table class="named"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>{finding}'


def _how(results: Results) -> str:
    settings, missing = results.settings, missing_engine(results)
    text = HOW.format(
        least=plots.round_duration(settings.least_seconds),
        rounds=settings.rounds,
        limit=plots.round_duration(float(f"{settings.limit_seconds:.3g}")),
    )
    return _paragraphs(text) + (f"<p>{escape(missing)}</p>" if missing else "") + facts(facts_of(results))


def _paragraphs(text: str) -> str:
    joined = text.replace("\n\n", "</p><p>")
    return f"<p>{joined}</p>"


def _field(cell: Cell, item: str, name: str) -> str:
    measured: Measured | None = cell.items.get(item)
    value = getattr(measured, name, None)
    if value is None:
        return MISSING
    if name.endswith("seconds"):
        return duration(value)
    return str(value) if isinstance(value, int) else percent(value) if name.startswith("percent") else number(value)


def _time(seconds: float | None) -> str:
    return MISSING if seconds is None else duration(seconds)
