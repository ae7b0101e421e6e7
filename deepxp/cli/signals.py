"""Ctrl-C and SIGTERM while a network is trained."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

NOTICE = b"\ndeepxp: stopping after this step; once more aborts at once\n"


class StoppedBySignal(KeyboardInterrupt):
    """A run that ended between two steps, because of the signal `number`."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


class Signals:
    """While it is entered, the first of the signals calls `stop` and is kept in `number`; the second ends the process.

    A signal that was ignored, as in a job that `nohup` began, stays so; outside of the main thread nothing is changed.
    """

    def __init__(self, stop: Callable[[], object], *, quiet: bool) -> None:
        self._stop, self._quiet = stop, quiet
        self._before: dict[int, Any] = {}
        self.number: int = signal.SIGINT

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._first)
        return self

    def _first(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._stop()
        if not self._quiet:
            os.write(2, NOTICE)  # print is not for signal handlers: it may be what was interrupted

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
