"""Fair rounds: the contenders take turns, each timed for a while, over and over, while the others are stopped.

A slow minute of the machine then meets all of them, and a ratio is formed within a round before the median is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from harness.contender import Contender, ContenderError


@dataclass(frozen=True)
class Entry:
    """Something to time: a case of a contender, under the label it has in the table."""

    label: str
    contender: Contender
    case: str = "step"


@dataclass(frozen=True)
class Times:
    """Seconds a call in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    def over(self, other: "Times") -> tuple[float, float, float]:
        """The ratio to another contender's times: its median over the rounds, the least and the greatest."""
        ratios = [mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)]
        return median(ratios), min(ratios), max(ratios)


def calls_for(ask: Callable[[int], float], seconds: float) -> int:
    """How many calls take about that long. The first ones warm up: memory is touched, what compiles compiles."""
    ask(1)
    calls, spent = 1, ask(1)
    while spent < seconds / 4 and calls < 10**6:
        calls = max(2 * calls, int(calls * seconds / max(spent, 1e-9) / 4))
        spent = ask(calls)
    return max(1, round(calls * seconds / spent))


def take_turns(
    entries: Sequence[Entry], rounds: int, seconds: float, drop: Callable[[str, str], None]
) -> dict[str, Times]:
    """The times of all entries that last; `drop(label, reason)` hears of the others."""

    def timed(entry: Entry, calls: int) -> float:
        for other in {other.contender for other in entries} - {entry.contender}:
            other.stop()
        answer = entry.contender.ask(do="time", case=entry.case, steps=calls)
        return answer["seconds"]

    running, calls, found = [], {}, {entry.label: [] for entry in entries}
    for entry in entries:
        try:
            calls[entry.label] = calls_for(lambda k, entry=entry: timed(entry, k), seconds)
            running.append(entry)
        except ContenderError as error:
            drop(entry.label, str(error))
    for turn in range(rounds):
        first = turn % max(1, len(running))
        for entry in running[first:] + running[:first]:
            try:
                if calls[entry.label] > 20:
                    timed(entry, calls[entry.label] // 20)  # its data and code are back in the cache, its threads awake
                found[entry.label].append(timed(entry, calls[entry.label]) / calls[entry.label])
            except ContenderError as error:
                drop(entry.label, str(error))
                running.remove(entry)
    return {entry.label: Times(tuple(found[entry.label])) for entry in running}
