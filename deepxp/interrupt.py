"""Ctrl-C while the command is still being imported ends it as later: one line and 130."""

import os
import signal
import sys
from types import FrameType


def is_command() -> bool:
    """Is this process the command `deepxp`, or `python -m deepxp`? Asked while the package is imported."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    as_module = name == "-m" and ("-m", "deepxp") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return as_module or name in ("deepxp", "deepxp.exe")


def _begin() -> None:
    """Until `end` the command stops at once; who imports the library keeps the handler that there is."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def end() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again, which the command catches."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"deepxp: stopped\n")
    os._exit(128 + number)


_begin()
