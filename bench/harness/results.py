"""Result files: JSON in bench/results, named by what and on what kind of machine, with what is needed to judge them."""

import json
from pathlib import Path

from harness import RESULTS

SCHEMA = 1
REQUIRED = {"schema": int, "kind": str, "device": str, "quick": bool, "machine": dict}
MACHINE = {"cpu": str, "cores": int, "threads": int, "versions": dict, "commit": str, "date": str}


def check(result: dict) -> None:
    """Raises ValueError naming what a result lacks."""
    for table, wanted in ((result, REQUIRED), (result.get("machine", {}), MACHINE)):
        for key, kind in wanted.items():
            if not isinstance(table.get(key), kind):
                raise ValueError(f"a result needs {key!r}, {kind.__name__}, got {table.get(key)!r}")
    if result["schema"] != SCHEMA:
        raise ValueError(f"this file has schema {result['schema']}, these tools read schema {SCHEMA}")


def write(path: Path, result: dict) -> None:
    """Write a result, one entry of its lists a line."""
    check(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(result) + "\n")


def read(path: Path) -> dict:
    """A result that passes `check`."""
    result = json.loads(path.read_text())
    try:
        check(result)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    return result


def name(kind: str, device: str, slug: str, quick: bool) -> str:
    """The file name: peers-cpu-amd-epyc-avx-512-2-threads.json"""
    return f"{kind}-{device}-{slug}{'-quick' if quick else ''}.json"


def latest(kind: str, device: str, folder: Path = RESULTS) -> dict | None:
    """The newest full result of a kind on a device, or None."""
    found = [read(path) for path in sorted(folder.glob(f"{kind}-{device}-*.json"))]
    found = [result for result in found if not result["quick"]]
    return max(found, key=lambda result: result["machine"]["date"], default=None)


def _text(value: object, indent: str = "") -> str:
    if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
        inner = indent + "  "
        lines = [f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        inner = indent + "  "
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in value) + f"\n{indent}]"
    return json.dumps(value)
