"""JSON and TOML from strangers: size and depth are bounded before a parser sees the text.

Both parsers go one level down the interpreter's stack with each bracket, and TOML's takes time that grows with the
square of the parts of a dotted key.
"""

import json
import re
import tomllib
from collections.abc import Callable
from itertools import chain
from typing import Any

DEPTH = 32  # of brackets within brackets, and of the parts of a dotted key
TOML_BYTES = 2**14

# A string that is not closed runs to the end: were it none, the search would begin anew at each quote within it.
JSON_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z|\\)', re.DOTALL)
TOML_STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}|\Z|\\)|'
    r"'''(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)|"
    r'"(?:[^"\\\n]++|\\.)*+(?:"|$|\\)|' + r"'[^'\n]*+(?:'|$)|#[^\n]*+",
    re.DOTALL | re.MULTILINE,
)
BRACKET = re.compile(r"[\[\]{}]")
DOTTED = re.compile(rf"(?:^|[^\w \t.-])[ \t]*+(?:[\w-]++[ \t]*+\.[ \t]*+){{{DEPTH}}}", re.MULTILINE)


def from_json(
    text: str, most: int, hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None, what: str = "the text"
) -> Any:
    """The value of a JSON text of at most `most` characters. Raises ValueError for anything else."""
    if len(text) > most:
        raise ValueError(f"{what} has {len(text)} characters of JSON; there may be {most}")
    _check_depth(text, JSON_STRING, what)
    value = json.loads(text, object_pairs_hook=hook)
    if "\\u" in text:
        _check_text(value, what)
    return value


def from_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text of at most 16 KiB. Raises ValueError for anything else."""
    if len(text) > TOML_BYTES:
        raise ValueError(f"it has {len(text)} characters; there may be {TOML_BYTES}")
    _check_depth(text, TOML_STRING, "it")
    return tomllib.loads(text)


def _check_text(value: Any, what: str) -> None:
    """Raises ValueError for half a surrogate pair, which JSON can write, and nothing can write again."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} has half a character: {value!r:.80}") from None
    elif isinstance(value, list | dict):
        for each in chain(value, value.values()) if isinstance(value, dict) else value:
            _check_text(each, what)


def _check_depth(text: str, string: re.Pattern[str], what: str) -> None:
    bare, depth = string.sub("s", text), 0
    for bracket in BRACKET.finditer(bare):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEPTH:
            raise ValueError(f"{what} is nested deeper than {DEPTH} levels")
    if string is TOML_STRING and DOTTED.search(bare):
        raise ValueError(f"{what} has a key nested deeper than {DEPTH} levels")
