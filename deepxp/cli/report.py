"""What a command says: lines for people, one JSON object for programs."""

import json
import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepxp.cli.wording import visible
from deepxp.errors import ConfigError, DeepxpError
from deepxp.network import Network

WIDTH = 12  # of the names that lines begin with


class Report:
    """Lines on stdout, or on stderr where stdout is for JSON; none where `quiet`."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.stream = None if quiet else sys.stderr if as_json else sys.stdout
        self.as_json = as_json

    def line(self, name: str, text: str = "") -> None:
        """`name      text`, or a line as it is."""
        if self.stream is not None:
            print(visible(f"{name:<{WIDTH}}{text}" if text else name), file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        """Something went wrong, and the command goes on: a line on stderr, also where `quiet`."""
        live = self.stream is not None and self.stream.isatty()
        print(f"{chr(10) * live}deepxp: warning: {' '.join(text.split())}", file=sys.stderr, flush=True)

    def result(self, values: Mapping[str, Any]) -> None:
        """The JSON object, if it was asked for."""
        if self.as_json:
            print(as_json(values))


def as_json(values: Any) -> str:
    """One line of JSON; it has no words for NaN and infinity, which become null."""
    return json.dumps(_finite(values), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(metrics: Mapping[str, float]) -> str:
    """`accuracy 97.77 %, f1 0.9776, loss 0.09312`: the loss last."""
    last = {"loss": metrics["loss"]} if "loss" in metrics else {}
    ordered = {name: value for name, value in metrics.items() if name != "loss"} | last
    return ", ".join(f"{name} {_number(name, value)}" for name, value in ordered.items())


def tell_unit(report: Report, net: Network) -> None:
    """The unit that numbers were learned in, and so that of the loss, where it is not their own."""
    if net.target_scaler is None:
        return
    known = zip(net.target_scaler.shift[:3], net.target_scaler.factor, strict=False)
    more = ", ..." if net.sizes[-1] > 3 else ""
    means = ", ".join(f"{mean:.4g} and {1 / factor:.4g}" for mean, factor in known) + more
    report.line("targets", f"mean and deviation are {means}: learned as (y - mean) / deviation")
    report.line("loss", "half of the squared error in that unit; r2, mae and rmse are of the numbers as they are")


def _number(name: str, value: float) -> str:
    if name == "accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:.4f}" if name in ("f1", "r2") else f"{value:.4g}"


def size(nbytes: float) -> str:
    """Bytes in the unit that keeps the number short."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def count(number: int, noun: str) -> str:
    """`1 class`, `1,797 samples`."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}"


def check_free(target: str | Path, *read: str | None, force: bool) -> None:
    """Raises ConfigError where `target` is a file that is `read`, DeepxpError where it is there and not to be forced.

    A link to nowhere is there, too.
    """
    for path in read:
        if path is not None and os.path.exists(target) and os.path.exists(path) and os.path.samefile(target, path):
            raise ConfigError(f"{target} is read itself; choose another file to write to")
    if os.path.lexists(target) and not force:
        raise DeepxpError(f"{target} exists already; choose another file, or --force to replace it")


def write_whole(path: Path, content: str | bytes) -> None:
    """The file whole, or as it was; text in UTF-8. Raises DeepxpError where it cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with part.open("wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DeepxpError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
