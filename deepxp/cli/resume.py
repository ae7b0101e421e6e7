"""`deepxp train --resume`: which run goes on, and with which settings."""

from collections.abc import Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path
from shlex import quote
from typing import Any

from deepxp.checkpoints.file import files
from deepxp.cli import config
from deepxp.cli.folder import DATA, LAST_GOOD, RUNS, failed, finished
from deepxp.cli.options import ROWS, Settings
from deepxp.errors import ConfigError, DeepxpError
from deepxp.runs.run import CONFIG, MODEL

FREE = {"data", "labels", "device", "out", "checkpoint-every", "checkpoint-keep", "keep-epochs"}
"""What may change. Data may have moved: that they are the same is seen from themselves."""

CHOSEN = {"lr": None, "batch-size": None, "loss": "auto", "scale": "auto"}
"""What a run has chosen for itself, and how it was asked to."""


def settings(flags: Mapping[str, Any], file: str | None, name: str) -> Settings:
    """The settings of the run in --out, or of the last unfinished one of the data `name`, with what flags and file
    change of them.

    Raises ConfigError for a key that a run has to keep, and DeepxpError where there is no run.
    """
    asked = config.given(flags, file)
    folder = Path(asked["out"]) if asked.get("out") else _last(name, asked.get("data"))
    if not (folder / CONFIG).is_file():
        raise DeepxpError(f"{folder} holds no run that could go on; without --resume one begins there")
    was = config.settings({}, str(folder / CONFIG))
    if (folder / MODEL).exists():
        raise finished(folder)
    if (folder / LAST_GOOD).exists():
        raise failed(folder)
    data = asked.get("data") or was.data
    if not files(folder) and not (folder / DATA).is_file() and not _same(data, was.data):
        raise ConfigError(
            f"the run in {folder} is one of {was.data or 'the digits'}, and saved nothing that would show {data} to be "
            "the same; begin another run with another --out, or this one anew with --force"
        )
    if was.data is not None and "data" not in asked and not Path(was.data).exists():
        raise ConfigError(
            f"{was.data}, the data of the run in {folder}, is not there any more; "
            f"give its new place: deepxp train NEW --resume --out {quote(str(folder))}"
        )
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


def _last(name: str, data: str | None) -> Path:
    """The folder of the last numbered run of that name that has no model yet: of those of this very data, or else of
    those with a checkpoint, which knows its data wherever they are."""
    numbers = [path.name.removeprefix(f"{name}-") for path in RUNS.glob(f"{escape(name)}-*")]
    found = [RUNS / f"{name}-{n}" for n in sorted((n for n in numbers if n.isdecimal()), key=int, reverse=True)]
    begun = [folder for folder in found if (folder / CONFIG).is_file() and not (folder / MODEL).exists()]
    bad = [folder for folder in begun if (folder / LAST_GOOD).exists()]
    begun = [folder for folder in begun if folder not in bad]
    for folder in begun:
        if _same(data, config.settings({}, str(folder / CONFIG)).data):
            return folder
    for folder in begun:
        if data is not None and files(folder):
            return folder
    for folder in bad:
        if _same(data, config.settings({}, str(folder / CONFIG)).data):
            raise failed(folder)
    if found and len(begun) < len(found):
        raise DeepxpError(f"no run of {data or 'the digits'} in {RUNS} is unfinished; without --resume one begins")
    raise DeepxpError(f"{RUNS} holds no run of {data or 'the digits'} that could go on; without --resume one begins")


def _same(data: str | None, other: str | None) -> bool:
    return data == other if data is None or other is None else Path(data).resolve() == Path(other).resolve()


def _shown(value: Any) -> str:
    return "none" if value in (None, ()) else ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
