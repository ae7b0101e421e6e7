"""Tables of results in Markdown, which reads well on a terminal, too.

python bench/tables.py [FILE.json ...]    the tables of result files; of the newest ones without a name
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness import results

BETTER = {True: ">=", False: "<="}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned: the first to the left, numbers to the right."""
    cells = [list(header), *([_cell(x) for x in row] for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        filled = [x.rjust(w) if r else x.ljust(w) for x, w, r in zip(row, widths, right, strict=True)]
        return f"| {' | '.join(filled)} |"

    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join(line(row) for row in [cells[0], rule, *cells[1:]])


def _cell(x: object) -> str:
    if x is None:
        return ""
    return number(x) if isinstance(x, float) else str(x)


def number(x: float) -> str:
    """Three significant digits, without an exponent where that can be read."""
    if x == 0 or not 1e-4 <= abs(x) < 1e6:
        return f"{x:.3g}"
    digits = len(str(int(abs(x)))) if abs(x) >= 1 else 0
    places = max(0, 3 - digits) if digits else 3 - _exponent(x) - 1
    return f"{x:.{places}f}"


def _exponent(x: float) -> int:
    return int(f"{x:e}".split("e")[1])


def verdicts(rows: Sequence[dict]) -> str:
    """What was promised, and what was measured."""
    lines = []
    for row in rows:
        sign = BETTER[row["at_least"]]
        limits = ["" if row[key] is None else f"{sign} {row[key]:g}" for key in ("must", "aim")]
        spread = "" if row["low"] == row["high"] else f"{number(row['low'])} .. {number(row['high'])}"
        lines.append([row["what"], row["against"], *limits, number(row["measured"]), spread, row["verdict"]])
    return table(["what", "against", "must", "aim", "measured", "over the rounds", "verdict"], lines)


def suite_tables(result: dict) -> str:
    """A table for each size, in the order they ran, the engines as rows."""
    groups: dict[str, list[dict]] = {}
    for entry in result["benchmarks"]:
        groups.setdefault(entry["table"], []).append(entry)
    return "\n".join(f"{title}\n\n{of_size(entries)}\n" for title, entries in groups.items())


def of_size(entries: Sequence[dict]) -> str:
    """Times and rates of one size, and each time over the least."""
    best = min(entry["median"] for entry in entries)
    rows = [
        [
            entry["row"],
            1e3 * entry["median"],
            1e3 * entry["min"],
            entry.get("flop/s", 0) / 1e9 or None,
            entry.get("bytes/s", 0) / 1e9 or None,
            entry["median"] / best,
        ]
        for entry in entries
    ]
    return table(["", "median, ms", "least, ms", "GFLOP/s", "GB/s", "over the fastest"], rows)


def main(names: Sequence[str]) -> int:
    """Print the tables of result files."""
    found = [results.read(Path(name)) for name in names] or [
        result for kind in ("peers", "suite") for device in ("cpu", "gpu") if (result := results.latest(kind, device))
    ]
    for result in found:
        print(f"{result['kind']} on {result['machine']['cpu']}, commit {result['machine']['commit']}\n")
        print(suite_tables(result) if result["kind"] == "suite" else verdicts(result["table"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
