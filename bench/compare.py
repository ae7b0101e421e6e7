"""Two runs of the suite beside each other: `python bench/compare.py OLD.json NEW.json`."""

import sys
from pathlib import Path
from statistics import median

from harness import results
from tables import number, table

NOTICEABLE = 1.25  # a ratio below which two runs on a shared machine differ by chance


def comparison(old: dict, new: dict) -> str:
    """The benchmarks of both runs whose times differ noticeably, and the median of all ratios."""
    before = {row["name"]: row for row in old["benchmarks"]}
    pairs = [(before[row["name"]], row) for row in new["benchmarks"] if row["name"] in before]
    if not pairs:
        return "the earlier run has no benchmark in common with this one"
    ratios = [(after["median"] / first["median"], first, after) for first, after in pairs]
    changed = sorted(
        (entry for entry in ratios if not 1 / NOTICEABLE < entry[0] < NOTICEABLE), key=lambda entry: -entry[0]
    )
    rows = [
        [f"{after['table']}: {after['row']}", 1e3 * first["median"], 1e3 * after["median"], number(ratio)]
        for ratio, first, after in changed
    ]
    head = (
        f"against {old['machine']['commit']} of {old['machine']['date']}: {len(pairs)} benchmarks in common, "
        f"the median of now / then is {number(median(ratio for ratio, *_ in ratios))}; "
        f"{len(rows)} differ by more than {NOTICEABLE}"
    )
    return f"{head}\n\n{table(['benchmark', 'then, ms', 'now, ms', 'now / then'], rows)}\n" if rows else f"{head}\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__)
        return 2
    print(comparison(*(results.read(Path(name)) for name in arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
