"""From flags, a config file and the defaults to settings: a flag goes over the file, the file over the default."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from deepxp import toml
from deepxp.bounded import TOML_BYTES, from_toml
from deepxp.cli.options import ROWS, Settings
from deepxp.errors import ConfigError

NONE = "none"  # in a flag, takes back what a config file says


def settings(flags: Mapping[str, Any], file: str | None = None) -> Settings:
    """The settings of a run. Raises ConfigError for an unknown key and for a value that does not fit."""
    return Settings(**{ROWS[name].name: value for name, value in given(flags, file).items()})


def given(flags: Mapping[str, Any], file: str | None = None) -> dict[str, Any]:
    """What flags and the file say, by the names of the rows."""
    values = {} if file is None else _from_file(Path(file))
    for name, value in flags.items():
        values[name] = _read(f"--{name}", name, value)
    return values


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that does not exist."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def dumps(chosen: Settings) -> str:
    """The settings as a config file that repeats the run; the folder is left out, so that it repeats it elsewhere."""
    values = {name.replace("_", "-"): value for name, value in asdict(chosen).items() if name != "out"}
    return "# deepxp train --config FILE repeats this run, to the same bits on the same device.\n" + toml.dumps(values)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is a folder or a device, not a file")
        with path.open("rb") as file:
            found = from_toml(file.read(TOML_BYTES + 1).decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    values = {}
    for key, value in found.items():
        name = key.replace("_", "-")
        if name not in ROWS:
            hint = nearest(name, ROWS) or f"; there are {', '.join(ROWS)}"
            raise ConfigError(f"{path}: unknown key {key!r:.80}{hint}")
        values[name] = _read(f"{path}: {key}", name, value)
    return values


def _read(place: str, name: str, value: Any) -> Any:
    row = ROWS[name]
    if row.default is None and value == NONE:
        return None
    kind = row.metadata["kind"]
    try:
        return kind.read(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ConfigError(f"{place} must be {kind.allowed}, got {value!r:.200}") from None
