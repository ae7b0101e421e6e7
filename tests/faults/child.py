"""Reads a training a line from stdin, forks it, and answers with its process id and, when it has ended, its status.

A fault is (point, count): the training is killed where it comes to the point for that time. The points of a file that
is written are `write`, in the middle of its bytes; `fsync` and `replace`, before the call; `fsynced` and `replaced`,
after it; `unlink`, before an old one is removed.
"""

import builtins
import json
import os
import signal
import sys

from deepxp import safetensors
from deepxp.cli import main


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def plant(point, count):
    left = [count]

    def reached():
        left[0] -= 1
        return left[0] == 0

    class HalfWritten:
        """A file of which a piece of the second write, so of the tensors, reaches the disk."""

        def __init__(self, file):
            self.file, self.writes = file, 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.writes += 1
            if self.writes == 2 and reached():
                self.file.write(memoryview(data)[: len(data) // 2])
                self.file.flush()
                kill()
            return self.file.write(data)

    def opened(path, mode):
        file = builtins.open(path, mode)  # noqa: SIM115 - closed by who asked for it
        return HalfWritten(file) if "x" in mode else file

    def before(function):
        def call(*arguments, **options):
            if reached():
                kill()
            return function(*arguments, **options)

        return call

    def after(function):
        def call(*arguments, **options):
            function(*arguments, **options)
            if reached():
                kill()

        return call

    if point == "write":
        safetensors.open = opened
    elif point in ("fsync", "replace", "unlink"):
        setattr(os, point, before(getattr(os, point)))
    else:
        name = {"fsynced": "fsync", "replaced": "replace"}[point]
        setattr(os, name, after(getattr(os, name)))


def child(job):
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    sys.stdin.close()
    if job["fault"]:
        plant(*job["fault"])
    os._exit(main(job["argv"]))


sys.modules["matplotlib"] = None  # curves are drawn when all is saved, and take as long as the training
# what a training imports and compiles, in advance
main(["train", "--epochs", "1", "--hidden", "8", "--device", "cpu", "--dropout", "0.2", "--batch-size", "70", "-q",
      "--validation", "0.1", "--patience", "5", "--out", "warm"])  # fmt: skip
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        child(job)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
