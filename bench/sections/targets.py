"""What was promised of the CPU path, as rows: what, at most or at least how much, what was measured, the verdict."""

from collections.abc import Sequence

FASTEST_PEER = {  # net: (must, aim) of a training step over the fastest peer's
    "64-32-10 @ 32": (0.30, 0.20),
    "784-128-10 @ 64": (0.60, 0.50),
    "784-256-128-10 @ 128": (0.85, 0.75),
    "784-512-512-10 @ 512": (1.0, 0.9),
    "1024-1024-1024-100 @ 1024": (1.0, 0.9),
    "2048-2048-2048-2048-1000 @ 256": (1.0, 0.9),
}
NUMPY_ALONE = {"64-32-10 @ 32": 0.40, "784-128-10 @ 64": 1.0, "784-256-128-10 @ 128": 1.3}
OWN_PRODUCTS = dict.fromkeys(list(FASTEST_PEER)[3:], (1.10, 1.05))
GPU = {  # net: aim over (torch.compile, PyTorch eager); none is a must
    "784-256-128-10 @ 128": {"torch.compile": 1.0, "PyTorch eager": 0.25},
    "4096-4096-4096-1000 @ 8192": {"torch.compile": 1.0, "PyTorch eager": 1.0, "products alone": 1 / 0.95},
}
GPU_SOFTMAX = {
    "over_torch": 1.0,
    "of_copy": 0.8,
}  # its loss with dZ: over torch's, at every size; of a copy's bandwidth
GPU_ADAM = 0.85  # of a copy's bandwidth


def row(
    what: str,
    against: str,
    ratio: Sequence[float],
    must: float | None,
    aim: float | None,
    unit: str = "ratio",
    at_least: bool = False,
) -> dict[str, object]:
    """One row; `ratio` is (median, least, greatest) over the rounds, or one number."""
    measured, low, high = ratio if len(ratio) == 3 else (ratio[0],) * 3
    met = (lambda limit: measured >= limit) if at_least else (lambda limit: measured <= limit)
    if aim is not None and met(aim):
        verdict = "aim"
    elif must is not None and met(must):
        verdict = "must"
    else:
        verdict = "missed" if must is not None else "aim missed" if aim is not None else ""
    return {
        "what": what, "against": against, "must": must, "aim": aim, "measured": measured, "low": low, "high": high,
        "unit": unit, "at_least": at_least, "verdict": verdict,
    }  # fmt: skip
