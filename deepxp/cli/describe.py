"""`deepxp info DATA`: what a file of samples holds, and the line that would train on it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any, cast

import numpy as np

from deepxp import data
from deepxp.cli import apply, problem
from deepxp.cli.options import Settings
from deepxp.cli.report import count
from deepxp.data.places import by_row
from deepxp.data.readers.files import check_readable
from deepxp.data.readers.formats import ACCEPTED, format_of
from deepxp.data.readers.layout import Layout, check_no_header, delimiter_in
from deepxp.data.readers.numbers import GAPS, is_number, target_column
from deepxp.data.readers.options import Options, limit_of
from deepxp.data.readers.table import delimiter_of, records
from deepxp.data.readers.words import MOST, truths
from deepxp.errors import DataError

CELLS = 2**20  # of a table that are looked at
FEW, SHARE = 20, 20  # a column of so few words, or with a word in so many rows, is likely one of categories

Column = dict[str, Any]


def is_data(settings: Settings) -> bool:
    """Whether the file is of a format of samples, by its name or its first bytes. Raises DataError if there is none."""
    path = Path(str(settings.data))
    if path.suffix == ".safetensors" or (settings.delimiter is None and format_of(path) is None):
        if apply.is_other(str(path)):
            raise DataError(f"{path}: is neither a model nor of a known format; known are {ACCEPTED}")
        return False
    return True


def of_data(settings: Settings) -> dict[str, Any]:
    """What there is to say of the file, by name; of a table with `columns`, a dictionary each. Raises DataError."""
    path = Path(str(settings.data))
    check_readable(path)
    if settings.delimiter is None and format_of(path) != "table":
        return _of_arrays(settings)
    limit = limit_of(path.stat().st_size, settings.limit_bytes)
    found_rows = records(path, delimiter_of(path, settings.delimiter), limit)
    start, first = next(found_rows, (0, None))
    if first is None:
        raise DataError(f"{path}: has no rows, only blank lines or comments")
    rows = (record.cells for record in found_rows)
    other = delimiter_in(first[0]) if len(first) == 1 else None
    if other and settings.delimiter is None:
        return of_data(replace(settings, delimiter=other))
    header = settings.header == "yes" or (
        settings.header == "auto" and not any(is_number(cell) or truths(cell) for cell in first)
    )
    sample = [*([] if header else [first]), *islice(rows, max(2, CELLS // len(first)))]
    if not sample:
        raise DataError(f"{path}: has no rows after the header")
    names = first if header else map(str, range(1, len(first) + 1))
    cells = [[row[k].strip() for row in sample if k < len(row)] for k in range(len(first))]
    columns = [_column(name.strip(), own) for name, own in zip(names, cells, strict=True)]
    target = _target(settings, [column["name"] for column in columns])
    loss, before = "", list[str]()
    if target is not None:
        shape, asked = Layout(len(first), target, header), cast(Any, settings.header)
        check_no_header(cells[target], shape, Options(header=asked), f"{path}:{start}")
        try:
            y = target_column(cells[target], by_row, limit)
            loss = _loss(y)
            columns[target]["target"] = _targets(data.encode_targets(y, kind="numbers" if loss else None))
        except DataError as error:
            before.append(f"{error} (column {columns[target]['name']!r}, or name another with --target)")
    found = {"file": str(path), "header": header, "rows": len(sample) + sum(1 for _ in rows), "seen": len(sample)}
    found["columns"] = columns
    features = [k for k in range(len(columns)) if k != target]
    lacking = [columns[k]["name"] for k in features if _lacks(columns[k], cells[k])]
    if lacking:
        before.append(f"fill in the empty cells of {', '.join(lacking)}, or remove their rows; a feature needs a value")
    if all(_is_left_out(columns[k]) for k in features):
        before.append("add a column of numbers, or of words that come again; there is no other feature")
    found |= {"first": before} if before else {}
    return found | {"train": _command(settings, columns, features, loss, header=header)}


def _loss(y: np.ndarray) -> str:
    """The loss that has to be named for targets: whole numbers of too many values are no classes."""
    try:
        data.encode_targets(y)
    except DataError:
        if y.dtype.kind != "U" and len(np.unique(y)) > 1 and np.isfinite(y).all():
            return problem.SQUARED
        raise
    return ""


def _is_left_out(column: Column) -> bool:
    return column["kind"] == "nothing" or (column["kind"] == "text" and not column["categories"])


def _lacks(column: Column, cells: list[str]) -> bool:
    """Whether a feature has cells that train refuses. NA is a word where words are categories."""
    if column["kind"] == "text":
        return bool(column["categories"]) and "" in cells
    return column["kind"] != "nothing" and (column["empty"] > 0 or not np.isfinite(column.get("to", 0.0)))


def _column(name: str, cells: list[str]) -> Column:
    """The name of a column, its kind, and what those of its cells hold that are not empty."""
    filled = [cell for cell in cells if cell.lower() not in GAPS | {""}]
    found: Column = {"name": name, "empty": len(cells) - len(filled), "values": len(set(filled))}
    words = truths(filled[0]) if filled else None
    if words is not None and all(words.number(cell) is not None for cell in filled):
        return found | {"kind": f"{words}"}
    try:
        numbers = np.array([float(cell) for cell in filled])
    except ValueError:
        known = list(dict.fromkeys(filled))
        likely = 1 < len(known) <= min(MOST, max(FEW, len(filled) // SHARE))
        return found | {"kind": "text", "such as": known[:3], "categories": likely}
    if not filled:
        return found | {"kind": "nothing"}
    whole = bool((numbers == np.rint(numbers)).all())
    return found | {
        "kind": "whole numbers" if whole else "numbers",
        "from": float(numbers.min()),
        "to": float(numbers.max()),
    }


def _target(settings: Settings, names: list[str]) -> int | None:
    if settings.target in names:
        return names.index(settings.target)
    with suppress(ValueError):
        number = -1 if settings.target is None else int(settings.target)
        if 0 < abs(number) <= len(names):
            return (number - (number > 0)) % len(names)
    return None


def _command(settings: Settings, columns: list[Column], features: list[int], loss: str, *, header: bool) -> str:
    """The line that trains on the table: words that come again and again are categories, other text is left out."""
    names = [column["name"] for column in columns]
    text = [k for k in features if columns[k]["kind"] in ("text", "nothing")]
    words = ["deepxp", "train", str(settings.data), *(["--target", settings.target] if settings.target else [])]
    words += ["--delimiter", settings.delimiter.replace("\t", "tab")] if settings.delimiter else []
    words += ["--no-header"] if settings.header == "no" or (text and not header) else []
    words += ["--header"] if settings.header == "yes" else []
    for flag, left_out in (("--ignore", True), ("--categories", False)):
        chosen = [k for k in text if _is_left_out(columns[k]) is left_out]
        plain = [names[k] and "," not in names[k] and names.count(names[k]) == 1 for k in chosen]  # else its number
        shown = [names[k] if by_name else str(k + 1) for k, by_name in zip(chosen, plain, strict=True)]
        words += [flag, ",".join(shown)] if shown else []
    words += ["--loss", loss] if loss else []
    return " ".join(map(quote, words))


def _of_arrays(settings: Settings) -> dict[str, Any]:
    found = problem.load(settings)
    said: dict[str, Any] = {"file": found.name, "rows": len(found.X), "features": found.X.shape[1]}
    said |= {"type": str(found.X.dtype), "from": float(found.X.min()), "to": float(found.X.max())}
    if found.X_test is not None:
        said["test rows"] = len(found.X_test)
    if found.y is not None:
        said["targets"] = _targets(data.encode_targets(found.y, where=found.where_y))
    return said


def _targets(targets: data.Targets) -> str:
    noun = {"classes": "class", "probabilities": "class", "multilabel": "label"}.get(targets.kind, "number")
    return f"{count(targets.outputs, noun)} to predict"


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was found, as names and texts."""
    if "columns" not in found:
        yield from ((name, str(value)) for name, value in found.items())
        return
    header, rows, columns = found["header"], found["rows"], found["columns"]
    seen = "" if found["seen"] == rows else f"; the first {found['seen']:,} were looked at"
    yield "file", found["file"]
    yield "table", f"{'a' if header else 'no'} header, {count(rows, 'row')}, {count(len(columns), 'column')}{seen}"
    for column in columns:
        yield column["name"], _said(column)
    if len(columns) == 1:
        yield "", "the cells of a table are separated by commas, or by what --delimiter says"
    for text in found.get("first", ()):
        yield "first", text
    yield "to train", found["train"]


def _said(column: Column) -> str:
    text = str(column["kind"])
    if "from" in column:
        text += f" from {column['from']:.6g} to {column['to']:.6g}, {count(column['values'], 'value')}"
    if "such as" in column:
        text += f", {count(column['values'], 'value')} such as {', '.join(column['such as'])}"
    text += f"; the target, {column['target']}" if "target" in column else ""
    return text + (f"; {count(column['empty'], 'empty cell')}" if column["empty"] else "")
