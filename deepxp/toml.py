"""Writes settings as TOML 1.0, which `tomllib` reads back equal; the standard library has only the reader.

Source: https://toml.io/en/v1.0.0
"""

import json
import re
from collections.abc import Mapping

from deepxp.errors import ConfigError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(config: Mapping[str, object]) -> str:
    """One `key = value` a line, in the order given; a mapping becomes a [table], after the values beside it.

    Values are str, bool, int, float (inf and nan too), lists and tuples of these, and mappings; None is left out, as
    TOML has no word for it. Raises ConfigError for any other value, for None in a list, for a key that is not text, and
    for text that is not valid Unicode.
    """
    return "".join(_table((), config))


def _table(path: tuple[str, ...], config: Mapping[str, object]) -> list[str]:
    tables = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_key, path))}]\n"] if path else []
    for key, value in config.items():
        if value is not None and key not in tables:
            lines.append(f"{_key(key)} = {_value(key, value)}\n")
    for key, table in tables.items():
        # A key after a [table] would belong to it, hence the tables come last; the blank line is for the reader.
        lines += ["\n"] * bool(lines) + _table((*path, key), table)
    return lines


def _key(key: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{key!r} cannot be a key of TOML; use text")
    return key if BARE_KEY.fullmatch(key) else _string("a key", key)


def _value(key: str, value: object) -> str:
    match value:
        case str():
            return _string(key, value)
        case bool():  # before int, of which it is a kind
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float():  # NumPy's float64 is one too, and its own repr is not a number
            return float.__repr__(value)
        case list() | tuple():
            return f"[{', '.join(_value(key, item) for item in value)}]"
    raise ConfigError(f"{key} = {value!r} cannot be written as TOML; use text, numbers, true, false or lists of these")


def _string(key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{key} = {text!r} is not valid Unicode; TOML files hold nothing else") from error
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
