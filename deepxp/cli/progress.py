"""How training goes: one line that is redrawn on a terminal, a line for each epoch elsewhere."""

import shutil
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

PREPARING = "preparing (the first run on a machine compiles its kernels)"
REDRAW = 0.1  # seconds between two drawings of the live line


class Progress:
    """`on_step` and `on_epoch` for `deepxp.training.train`. A stream of None says nothing.

    As a context manager it ends the live line, also when training is interrupted or fails. The lines fit a terminal of
    80 columns.
    """

    def __init__(self, stream: TextIO | None, epochs: int, *, compiles: bool = False) -> None:
        self.stream, self.epochs = stream, epochs
        self.live = stream is not None and stream.isatty()
        self.started = time.monotonic()
        self.drawn, self.width = 0.0, 0
        self.done, self.watched, self.last = 0, "", ""
        self.compiles = compiles
        self.first: tuple[float, float] | None = None  # time and fraction of the first step that was reported

    def __enter__(self) -> "Progress":
        if self.live and self.compiles:
            self._draw(PREPARING, time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._draw(self.last, now=time.monotonic())
            print(file=self.stream, flush=True)

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` of the epoch that is running, and its loss so far."""
        now = time.monotonic()
        if not self.live:
            return
        fraction = (self.done + step / steps) / self.epochs
        if self.first is None:  # it compiles and warms up, so that nothing follows from its time
            self.first = now, fraction
        if now - self.drawn < REDRAW:
            return
        begun, before = self.first
        text = f"{self._epoch(self.done + 1)}  step {step:>{len(str(steps))}}/{steps}  loss {loss:<8.4g}{self.watched}"
        if fraction > before:
            text += f"  {_time((now - begun) / (fraction - before) * (1 - fraction))} left"
        self._draw(text, now)

    def on_epoch(self, record: Mapping[str, float]) -> None:
        """The record of an epoch that has ended."""
        if self.stream is None:
            return
        self.done = round(record["epoch"])
        text, watched = f"{self._epoch(self.done)}  loss {record['loss']:<8.4g}", ""
        if "validation_loss" in record:
            text += f"  validation loss {record['validation_loss']:<8.4g}"
        if "validation_accuracy" in record:
            watched = f"{100 * record['validation_accuracy']:6.2f} %"
            text += f"  accuracy {watched}"
        elif "validation_r2" in record:
            watched = f"r2 {record['validation_r2']:7.4f}"
            text += f"  {watched}"
        self.watched = f"  validation {watched}" if watched else ""
        if not self.live:
            print(f"{text}  {record['seconds']:.2f} s", file=self.stream, flush=True)
            return
        now = time.monotonic()
        self.last = f"{text}  {_time(now - self.started)}"
        if now - self.drawn >= REDRAW:
            self._draw(self.last, now)

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch:>{len(str(self.epochs))}}/{self.epochs}"

    def _draw(self, text: str, now: float) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self.width}}", end="", file=self.stream, flush=True)
        self.drawn, self.width = now, len(text)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
