"""What a benchmark found, as values, and as the JSON that `deepxp bench --json` writes.

    format              "deepxp-benchmark-1"
    deepxp, when        version; ISO 8601 with the offset from UTC
    machine             cpu, cores, system, python, numpy, blas, blas_threads, kernels, kernel_threads,
                        numba, cupy
    settings            m, n, dtype, rounds, least_seconds (of a round), limit_seconds (of one m and n),
                        peak_seconds; asked: the devices that were asked for, null for all that are usable
    devices             of every device: name, usable, description, reason, fix
    finding_seconds     what it took to find the devices: CuPy's import, and a kernel and a product on each GPU
    contenders          of every one: name, device, engine, default (what `--device` runs), start_seconds, and
                        peak: N, seconds, gflops, first_seconds of the best round of a square product, or null
    cells               of every (m, n) and contender:
        m, n, contender
        items           by name, W A | dZ A^T | W^T dZ | softmax | copy | loss | transfer | step:
                        first_seconds (the first call), seconds (the median of later ones), low_seconds, high_seconds,
                        rounds, repeats (calls in a round); of products gflops, percent_of_peak; of softmax and copy
                        gb_per_second; of softmax percent_of_copy. What does not apply is null.
        transfer_seconds        of a batch from the host to the device; 0 where they share memory, null if not measured
        step_with_transfer_seconds
        skipped         item: why it has no numbers
    crossovers          of every device that is not the CPU, item, n, and with `transfer` or without:
                        device, against (a contender on the CPU), wins and loses (the m at which it is faster, or not),
                        from_m: the least m from which on it always wins, or null
    conclusions         sentences

`loss` is softmax-cross-entropy with its gradient. All shapes are those of a layer of n units and n inputs for m
samples; a step trains n-n-n-10. GFLOP/s count 2 n n m operations; GB/s one reading and one writing of (n, m).
"""

from dataclasses import asdict, dataclass
from typing import Any

from deepxp.devices import Device

FORMAT = "deepxp-benchmark-1"


@dataclass(frozen=True)
class Settings:
    """What is measured and how long."""

    m: tuple[int, ...]
    n: tuple[int, ...]
    dtype: str
    rounds: int
    least_seconds: float
    limit_seconds: float
    peak_seconds: float
    asked: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Peak:
    """The best rate of a device in square products, that of one round: what it can do if nothing disturbs it."""

    N: int
    seconds: float
    gflops: float
    first_seconds: float


@dataclass(frozen=True)
class Row:
    """A contender, as it is told of in the results."""

    name: str
    device: str
    engine: str
    default: bool
    start_seconds: float
    peak: Peak | None


@dataclass(frozen=True)
class Measured:
    """An item of a cell."""

    first_seconds: float
    seconds: float
    low_seconds: float
    high_seconds: float
    rounds: int
    repeats: int
    gflops: float | None = None
    percent_of_peak: float | None = None
    gb_per_second: float | None = None
    percent_of_copy: float | None = None


@dataclass(frozen=True)
class Cell:
    """One (m, n) on one contender."""

    m: int
    n: int
    contender: str
    items: dict[str, Measured]
    skipped: dict[str, str]
    transfer_seconds: float | None
    step_with_transfer_seconds: float | None

    def seconds(self, item: str, *, transfer: bool = False) -> float | None:
        """Of the item, or of it after the transfer of a batch; None where it was not measured."""
        if item not in self.items or (transfer and self.transfer_seconds is None):
            return None
        return self.items[item].seconds + (self.transfer_seconds or 0.0 if transfer else 0.0)


@dataclass(frozen=True)
class Crossover:
    """From which m on a device is faster than a contender on the CPU, at one n."""

    device: str
    against: str
    item: str
    n: int
    transfer: bool
    wins: tuple[int, ...]
    loses: tuple[int, ...]
    from_m: int | None


@dataclass(frozen=True)
class Results:
    """All of it."""

    deepxp: str
    when: str
    machine: dict[str, Any]
    settings: Settings
    devices: tuple[Device, ...]
    finding_seconds: float
    contenders: tuple[Row, ...]
    cells: tuple[Cell, ...]
    crossovers: tuple[Crossover, ...]
    conclusions: tuple[str, ...]

    def cell(self, m: int, n: int, contender: str) -> Cell | None:
        """The cell, where there is one."""
        return next((c for c in self.cells if (c.m, c.n, c.contender) == (m, n, contender)), None)

    def as_dict(self) -> dict[str, Any]:
        """As the JSON has it."""
        return {"format": FORMAT} | asdict(self)
