"""The sweep: the peak of each device, then every (m, n), all contenders side by side."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from deepxp.benchmark.contenders import Contender
from deepxp.benchmark.crossover import conclusions, crossovers
from deepxp.benchmark.measure import (
    ITEMS,
    OUTPUTS,
    PRODUCTS,
    Batch,
    Call,
    Stopwatch,
    Timing,
    calls,
    out_of_memory,
    shares_memory,
    square_product,
)
from deepxp.benchmark.results import Cell, Measured, Peak, Results, Row, Settings
from deepxp.benchmark.tables import duration
from deepxp.devices import Device
from deepxp.machine import describe
from deepxp.network import Network
from deepxp.optimizers import Adam
from deepxp.step import TrainingStep

SMALLEST, LARGEST = 256, 8192  # N of the square products
OVERHEAD = 0.01  # of the limit: below it a time says little of a larger one
LEARNING_RATE = 1e-12  # too small to move a weight: every repetition does the same work

Progress = Callable[[float, str], object]
"""progress(fraction done, what is next)"""


def plan(
    *,
    m: Sequence[int] | None = None,
    n: Sequence[int] | None = None,
    dtype: str = "float32",
    quick: bool = False,
    limit: float | None = None,
    asked: Sequence[str] | None = None,
) -> Settings:
    """The settings of a run of about two minutes, or of twenty seconds; `limit` is that of each m and n."""
    sizes_m = tuple(sorted(set(m or ((32, 256, 2048) if quick else (32, 128, 512, 2048)))))
    sizes_n = tuple(sorted(set(n or ((64, 512) if quick else (64, 256, 1024)))))
    share = (12.0 if quick else 90.0) / (len(sizes_m) * len(sizes_n))
    return Settings(
        m=sizes_m,
        n=sizes_n,
        dtype=dtype,
        rounds=9 if quick else 15,
        least_seconds=0.002 if quick else 0.003,
        limit_seconds=share if limit is None else limit,
        peak_seconds=0.25 if quick else 1.0,
        asked=None if asked is None else tuple(asked),
    )


def run(
    settings: Settings,
    racing: Sequence[Contender],
    devices: tuple[Device, ...],
    clock: Callable[[], float],
    *,
    version: str,
    finding_seconds: float = 0.0,
    progress: Progress = lambda fraction, text: None,
) -> Results:
    """Measure everything and draw the conclusions."""
    watch = Stopwatch(clock, settings.rounds, settings.least_seconds)
    when = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    peaks: dict[str, Peak | None] = {}
    for contender in racing:
        if contender.default:
            progress(0.0, f"the largest product of {contender.device}")
            peaks[contender.device] = peak(watch, contender, settings)
    cells = Sweep(settings, racing, watch, peaks, progress).cells()
    rows = tuple(Row(c.name, c.device, c.engine, c.default, c.start_seconds, peaks.get(c.device)) for c in racing)
    found = crossovers(rows, cells)
    said = conclusions(rows, cells, devices, found, settings.asked is not None)
    return Results(
        version, when, describe(devices), settings, devices, finding_seconds, rows, tuple(cells), found, said
    )


def peak(watch: Stopwatch, contender: Contender, settings: Settings) -> Peak | None:
    """The best round in products of N x N matrices, N doubled until the next would take longer than `peak_seconds`."""
    best, first = None, None
    N = SMALLEST
    while N <= LARGEST:
        try:
            call = square_product(contender.backend, N, settings.dtype)
        except MemoryError:
            break
        timing = watch.compare({"": call}, settings.peak_seconds)[""]
        if isinstance(timing, str):
            break
        first = timing.first if first is None else first
        gflops = 2 * N**3 / timing.low / 1e9
        if best is None or gflops > best.gflops:
            best = Peak(N, timing.low, gflops, first)
        if 8 * timing.seconds > settings.peak_seconds:
            break
        N *= 2
    return best


class Sweep:
    """Every (m, n) on every contender, within the time limit of a cell."""

    def __init__(
        self,
        settings: Settings,
        racing: Sequence[Contender],
        watch: Stopwatch,
        peaks: dict[str, Peak | None],
        progress: Progress,
    ) -> None:
        self.settings, self.racing, self.watch, self.peaks, self.progress = settings, racing, watch, peaks, progress
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}  # (work, seconds) of the last measured

    def cells(self) -> list[Cell]:
        """In the order of n, then m, then the contenders."""
        cells: list[Cell] = []
        grid = [(n, m) for n in self.settings.n for m in self.settings.m]
        nets: dict[str, Network | str] = {}
        for done, (n, m) in enumerate(grid):
            if m == self.settings.m[0]:
                nets.clear()  # before the next are allocated
                nets |= self._networks(n)
            cells += self._side_by_side(m, n, nets, done / len(grid), 1 / len(grid))
        return cells

    def _networks(self, n: int) -> dict[str, Network | str]:
        """n-n-n-10 on each contender with the same weights, or why not."""
        made: dict[str, Network | str] = {}
        theta = None
        for contender in self.racing:
            try:
                net = Network((n, n, n, OUTPUTS), backend=contender.backend, dtype=self.settings.dtype, theta=theta)
            except MemoryError as error:
                made[contender.name] = out_of_memory(error)
                continue
            theta = contender.backend.asnumpy(net.theta) if theta is None else theta
            made[contender.name] = net
        return made

    def _side_by_side(self, m: int, n: int, nets: dict[str, Network | str], done: float, share: float) -> list[Cell]:
        batch = Batch(m, n, self.settings.dtype)
        ready: dict[str, dict[str, Call]] = {}
        skipped: dict[str, dict[str, str]] = {contender.name: {} for contender in self.racing}
        for contender in self.racing:
            net = nets[contender.name]
            try:
                if isinstance(net, str):
                    raise MemoryError(net.removeprefix("out of memory: "))
                ready[contender.name] = calls(contender.backend, batch, TrainingStep(net, Adam(lr=LEARNING_RATE), m))
            except MemoryError as error:
                skipped[contender.name] = dict.fromkeys(ITEMS, out_of_memory(error))
        timings: dict[str, dict[str, Timing]] = {contender.name: {} for contender in self.racing}
        deadline = self.watch.clock() + self.settings.limit_seconds
        for i, item in enumerate(ITEMS):
            self.progress(done + share * i / len(ITEMS), f"m = {m}, n = {n}: {item}")
            racing = {}
            for name, named in ready.items():
                expected = self._expected(name, item, m, n)
                if item in named and expected <= self.settings.limit_seconds:
                    racing[name] = named[item]
                elif item in named:
                    skipped[name][item] = (
                        f"would take about {duration(expected)}, the limit is {duration(self.settings.limit_seconds)}"
                    )
            limit = max(0.0, deadline - self.watch.clock()) / (len(ITEMS) - i)
            for name, timing in self.watch.compare(racing, limit).items():
                if isinstance(timing, str):
                    skipped[name][item] = timing
                else:
                    timings[name][item] = timing
                    self._seen[name, item] = (_work(item, m, n), timing.seconds)
        return [
            self._cell(m, n, contender, timings[contender.name], skipped[contender.name]) for contender in self.racing
        ]

    def _expected(self, name: str, item: str, m: int, n: int) -> float:
        """The seconds of one call, from the last that was measured; a short one is overhead, which does not grow."""
        work, seconds = self._seen.get((name, item), (1.0, 0.0))
        return seconds * _work(item, m, n) / work if seconds > OVERHEAD * self.settings.limit_seconds else seconds

    def _cell(self, m: int, n: int, contender: Contender, timings: dict[str, Timing], skipped: dict[str, str]) -> Cell:
        peak = self.peaks.get(contender.device)
        moved = 2 * m * n * (4 if self.settings.dtype == "float32" else 8) / 1e9
        items = {}
        for item, t in timings.items():
            gflops = 2 * n * n * m / t.seconds / 1e9 if item in PRODUCTS else None
            gb = moved / t.seconds if item in ("softmax", "copy") else None
            copied = moved / timings["copy"].seconds if item == "softmax" and "copy" in timings else None
            items[item] = Measured(
                t.first, t.seconds, t.low, t.high, t.rounds, t.repeats,
                gflops, 100 * gflops / peak.gflops if gflops and peak else None,
                gb, 100 * gb / copied if gb and copied else None,
            )  # fmt: skip
        transfer = (
            0.0 if shares_memory(contender.backend) else items["transfer"].seconds if "transfer" in items else None
        )
        cell = Cell(m, n, contender.name, items, skipped, transfer, None)
        return Cell(m, n, contender.name, items, skipped, transfer, cell.seconds("step", transfer=True))


def _work(item: str, m: int, n: int) -> float:
    """What the time of an item grows with."""
    return float(m * n * n if item in PRODUCTS or item == "step" else m * n)
