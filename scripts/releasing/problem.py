"""An error of one line with the way out; a command under a time limit."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOWN = 25  # lines of what a command that failed has said
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX")
"""Variables that would let another installation into an environment that is to be clean."""


class ReleaseError(Exception):
    """What is wrong, and what to do about it, in one line."""


def run(
    command: Sequence[str | Path],
    what: str,
    *,
    limit: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    out: str = "",
) -> str:
    """What the command prints. Raises ReleaseError saying that `what` failed and `out`, the way out, after the last
    lines that it printed; its children are ended with it when `limit` seconds have passed."""
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    clean |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "NO_COLOR": "1", **(env or {})}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:  # no pipe that a child keeps open
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise ReleaseError(f"{what}: {command[0]} cannot be started: {error.strerror}{way(out)}") from None
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        said.seek(0)
        text = said.read()
    if code == 0:
        return text
    print("\n".join(text.splitlines()[-SHOWN:]), file=sys.stderr, flush=True)
    ended = f"took more than {limit:g} s" if code is None else f"failed with exit code {code}"
    raise ReleaseError(f"{what} {ended}; what it said last stands above{way(out)}")


def way(out: str) -> str:
    """The way out as the end of a sentence."""
    return f"; {out}" if out else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
