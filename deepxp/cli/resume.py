"""`deepxp train --resume`: which run goes on, and with which settings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepxp.cli import config
from deepxp.cli.folder import CONFIG, RUNS
from deepxp.cli.options import ROWS, Settings
from deepxp.errors import ConfigError, DeepxpError

FREE = {"data", "labels", "device", "out", "checkpoint-every", "checkpoint-keep"}
"""What may change. Data may have moved: that they are the same is seen from themselves."""

CHOSEN = {"lr": None, "batch-size": None, "loss": "auto", "scale": "auto"}
"""What a run has chosen for itself, and how it was asked to."""


def settings(flags: Mapping[str, Any], file: str | None, name: str) -> Settings:
    """The settings of the run in --out, or of the last one of the data `name`, with what flags and file change of them.

    Raises ConfigError for a key that a run has to keep, and DeepxpError where there is no run.
    """
    asked = config.given(flags, file)
    folder = Path(asked["out"]) if asked.get("out") else _last(name)
    if not (folder / CONFIG).is_file():
        raise DeepxpError(f"{folder} holds no run that could go on; without --resume one begins there")
    was = config.settings({}, str(folder / CONFIG))
    changed = {}
    for key, value in asked.items():
        before = getattr(was, ROWS[key].name)
        if value == before or (key in CHOSEN and value == CHOSEN[key]):
            continue
        if key == "epochs" and (was.schedule != "constant" or value < before):
            hint = "only a run with --schedule constant can become longer, and none shorter"
            raise ConfigError(f"the run in {folder} is one of --epochs {before}, not {value}; {hint}")
        if key not in {*FREE, "epochs"}:
            raise ConfigError(
                f"the run in {folder} has {key} {_shown(before)}, not {_shown(value)}; go on with the former, "
                "or begin another run with another --out"
            )
        changed[ROWS[key].name] = value
    return replace(was, **changed | {"out": str(folder)})


def _last(name: str) -> Path:
    """The folder of the last numbered run of that name."""
    numbers = [path.name.removeprefix(f"{name}-") for path in RUNS.glob(f"{name}-*")]
    return RUNS / f"{name}-{max((int(n) for n in numbers if n.isdecimal()), default=1)}"


def _shown(value: Any) -> str:
    return "none" if value in (None, ()) else ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
