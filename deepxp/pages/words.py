"""Numbers and times in words, with the digits that a reader needs."""

import math

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


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


def round_number(value: float) -> str:
    """`50`, `0.5`"""
    return f"{value:,.15g}"
