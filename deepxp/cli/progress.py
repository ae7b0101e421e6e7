"""How training goes: one line that is redrawn on a terminal, a line for each epoch elsewhere."""

import shutil
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

REDRAW = 0.1  # seconds between two drawings of the live line


class Progress:
    """`on_step` and `on_epoch` for `deepxp.training.train`. A stream of None says nothing.

    As a context manager it ends the live line, also when training is interrupted or fails.
    """

    def __init__(self, stream: TextIO | None, epochs: int, samples: int) -> None:
        self.stream, self.epochs, self.samples = stream, epochs, samples
        self.live = stream is not None and stream.isatty()
        self.started = time.monotonic()
        self.drawn, self.width = 0.0, 0
        self.done, self.watched = 0, ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.width and self.stream is not None:
            print(file=self.stream, flush=True)

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` of the epoch that is running; its loss so far."""
        now = time.monotonic()
        if not self.live or now - self.drawn < REDRAW:
            return
        self.drawn, elapsed = now, now - self.started
        fraction = (self.done + step / steps) / self.epochs
        self._draw(
            f"{self._epoch(self.done + 1)}  step {step:>{len(str(steps))}}/{steps}  loss {loss:<9.4g}{self.watched}"
            f"  {_rate(fraction * self.epochs * self.samples / max(elapsed, 1e-9))}"
            f"  {_time(elapsed / fraction * (1 - fraction))} left"
        )

    def on_epoch(self, record: Mapping[str, float]) -> None:
        """The record of an epoch that has ended."""
        if self.stream is None:
            return
        self.done = round(record["epoch"])
        self.watched = ""
        if "validation_loss" in record:
            self.watched = f"  validation loss {record['validation_loss']:<9.4g}"
        if "validation_accuracy" in record:
            self.watched += f"  accuracy {100 * record['validation_accuracy']:6.2f} %"
        if "validation_r2" in record:
            self.watched += f"  r2 {record['validation_r2']:7.4f}"
        text = f"{self._epoch(self.done)}  loss {record['loss']:<9.4g}{self.watched}"
        if self.live:
            self._draw(f"{text}  {_time(time.monotonic() - self.started)}")
        else:
            print(f"{text}  {record['seconds']:.2f} s", file=self.stream, flush=True)

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch:>{len(str(self.epochs))}}/{self.epochs}"

    def _draw(self, text: str) -> None:
        assert self.stream is not None
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self.width}}", end="", file=self.stream, flush=True)
        self.width = len(text)


def _rate(samples: float) -> str:
    return f"{samples / 1000:,.0f}k samples/s" if samples >= 10_000 else f"{samples:,.0f} samples/s"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
