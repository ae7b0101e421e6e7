"""Do contenders compute the same thing? Their first losses must agree before anything is timed."""

from collections.abc import Mapping, Sequence
from math import inf, isfinite

TOLERANCE = 1e-4  # relative; float32 in another order of summation gives a few 1e-6


def disagreement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The greatest relative difference; infinity where one is not a finite number or the lengths differ."""
    if len(ours) != len(theirs) or not ours or not all(map(isfinite, (*ours, *theirs))):
        return inf
    return max(abs(a - b) / max(abs(a), abs(b), 1e-30) for a, b in zip(ours, theirs, strict=True))


def disagreeing(losses: Mapping[str, Sequence[float]], reference: str, tolerance: float = TOLERANCE) -> dict[str, str]:
    """Why contenders are left out: those whose losses are not the reference's."""
    found = {}
    for name, values in losses.items():
        difference = disagreement(losses[reference], values)
        if not difference <= tolerance:
            told = ", ".join(f"{value:.6g}" for value in values)
            wanted = ", ".join(f"{value:.6g}" for value in losses[reference])
            found[name] = f"does not compute the same: losses {told}, not {wanted}"
    return found
