"""Where a run is between two steps, beside its vectors."""

import math
from dataclasses import dataclass, field


@dataclass
class Position:
    """`steps` are done of `epoch`, which is counted from 0 in this run; `records` are the history."""

    epoch: int = 0
    steps: int = 0
    loss: float = 0.0  # the sum over the samples of the epoch, as far as it has been read
    seconds: float = 0.0  # that the epoch had taken
    skipped: tuple[int, int, int] = (0, 0, 0)  # of the epoch: steps looked at, steps left out, their samples
    best_loss: float = math.inf
    best_epoch: int = 0
    records: list[dict[str, float]] = field(default_factory=list)
