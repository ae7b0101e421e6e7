"""A contender is a process of its own that is asked, over a pipe, to build something and to time it.

Every contender is the leader of its own process group, so that a compiler it started ends with it, and so that it can
be stopped while another one is timed: a BLAS goes on spinning for a while after a product, and would take the cores.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from harness import BENCH
from harness.machine import THREAD_VARIABLES


class ContenderError(Exception):
    """Why a contender is left out."""


class Contender:
    """The process of one contender, from `start` to `kill`; `ask` waits for its answer, up to a limit in seconds."""

    def __init__(self, name: str, command: list[str], threads: int, limit: float, variables: Mapping[str, str]) -> None:
        self.name, self.limit = name, limit
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(variables)
        search = [str(BENCH), str(BENCH.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(search)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            start_new_session=True,
        )
        self.pending = b""
        self.ended = ""  # why it was

    def ask(self, **request: object) -> dict:
        """The answer to a request. Raises ContenderError, after ending the process, where there is none."""
        self.send(**request)
        return self.answer()

    def send(self, **request: object) -> None:
        """Ask without waiting; several contenders may so prepare at the same time."""
        if self.ended:
            raise ContenderError(self.ended)
        self.resume()
        with contextlib.suppress(BrokenPipeError):  # `answer` finds out why
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> dict:
        """The answer to the last request."""
        line = self._line(time.monotonic() + self.limit)
        reply = json.loads(line)
        if "error" in reply:
            raise self._end(reply["error"])
        return reply

    def _line(self, deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    number = self.process.pid
                    raise self._end(f"no answer within {self.limit:.0f} s; process {number} was ended")
                received = os.read(self.process.stdout.fileno(), 65536)
                if not received:
                    status = self.process.wait()
                    raise self._end(f"its process ended with status {status}: {self._last_words()}")
                self.pending += received
        line, _, self.pending = self.pending.partition(b"\n")
        return line

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _end(self, reason: str) -> ContenderError:
        self.ended = reason
        self.kill()
        return ContenderError(reason)

    def stop(self) -> None:
        """Hold the process where it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process and what it started."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


def start(
    name: str, threads: int, limit: float, python: str | None = None, variables: Mapping[str, str] | None = None
) -> Contender:
    """The process of the contender of this name, with `python` or the Python that runs."""
    return Contender(name, [python or sys.executable, str(BENCH / "worker.py"), name], threads, limit, variables or {})
