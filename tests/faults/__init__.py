"""Trainings in processes of their own that are killed: by the test at a moment it chooses, or by a fault planted in a
call. `Trainer` forks each of them from a process that has imported everything, so that one costs milliseconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import deepxp

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(deepxp.__file__).parents[1]),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Trainer:
    """A process that forks trainings in `folder`, one after the other."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("child.py"))],
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdout.readline()

    def start(self, *argv, fault=None):
        """The process id of `deepxp ARGV`, in which SIGKILL comes at `fault`: a point of child.py and its count."""
        self.process.stdin.write(json.dumps({"argv": argv, "fault": fault}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        """How the training that was started last ended: its exit code, or minus the signal that killed it."""
        return int(self.process.stdout.readline())

    def run(self, *argv, fault=None):
        self.start(*argv, fault=fault)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)
