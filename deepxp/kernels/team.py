"""A few threads that run one program together: each does its part of every call, and they meet after it.

A matrix product of a small network takes some 50 us, and handing work to a sleeping thread takes as long. So the
threads of a team go on looking for work for a moment after they have done some, without the interpreter's lock, and
only then fall asleep. They stand in for the BLAS's own threads: while a program runs, every part is a product on one
thread, which on two cores was measured at 187 GFLOP/s where OpenBLAS's own two threads reached 115 (256 x 784 from
128 samples), and everything between the products is divided, too.

How a program is cut up does not depend on who runs it. Where the team is busy with the program of another Python
thread, and for a while after the others came too late because another process had their core, one thread does all
parts, one after the other, to the same bits.
"""

import ctypes
import math
import os
import threading
from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from deepxp.kernels import blas, threads
from deepxp.kernels.native import WORDS
from deepxp.kernels.threads import ASLEEP, CALLED, HEAD, HELD, LINE, PATIENCE, STATUS

MOST = 16  # threads of a team; more were never tried
LOOK = 0.025  # us
WORTH = 50.0  # us of work from which on a program is worth the team: on a busy machine it is a risk
BREAK = 2_000.0  # us of work that one thread does alone after the others came too late; twice that after the next time


class Team:
    """The threads of a process that run programs together: the caller's, and `size` - 1 that it keeps."""

    def __init__(self, size: int) -> None:
        self.size = size
        memory = np.zeros(LINE * 6 + size, np.int64)
        start = -memory.ctypes.data // 8 % LINE  # a line starts here
        self._words = memory[start:]
        self._status, self.state = self._words[STATUS:], self._words.ctypes.data
        self.politely = _yield()
        self._get, self._put = (blas.address(f"openblas_{verb}_num_threads") for verb in ("get", "set"))
        self._bell: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(size)]
        self._busy = threading.Lock()
        self._rest, self._break = 0.0, BREAK  # us of work to do alone; and how much after the next delay
        try:
            for me in range(1, size):
                threading.Thread(target=self._serve, args=(me,), name=f"deepxp-{me}", daemon=True).start()
        except RuntimeError:  # the system has no more threads, or Python is about to end
            self._rest = math.inf

    def _serve(self, me: int) -> None:
        seen = 0
        while True:
            seen = threads.serve(self.state, me, self.size, seen, self.politely)
            self._bell[me].get()
            while not self._bell[me].empty():
                self._bell[me].get()

    def held(self) -> int:
        """On how many threads the BLAS was before programs that have not ended; 0 where there are none."""
        return int(self._words[HELD + 2]) if self._words[HELD + 1] else 0

    def run(self, program: int, work: float) -> None:
        """Run the program at an address, some us of work, and return when it is done."""
        if self._rest > 0:
            self._rest -= work
        else:
            mine = False
            try:
                mine = self._busy.acquire(blocking=False)
                if mine and (self._lead(program, 0) or self._lead(program, PATIENCE)):
                    return
            finally:
                if mine:
                    self._busy.release()
        self.run_alone(program)

    def run_alone(self, program: int) -> None:
        """All parts of it, by this thread."""
        threads.alone(program, self.state, self.politely, self._get, self._put)

    def _lead(self, program: int, wait: int) -> bool:
        """Run it with all threads, if they are awake; wake them where not."""
        answer = threads.lead(program, self.state, self.size, wait, self.politely, self._get, self._put)
        if answer == 0:
            self._break = BREAK
            return True
        if answer < 0:  # another program has a core of the team's: one thread is faster now
            self._rest, self._break = self._break, min(2 * self._break, 64 * BREAK)
            return True
        for me in range(1, self.size):
            if self._status[me] in (ASLEEP, CALLED):  # CALLED: an interrupt may have come before the bell
                self._status[me] = CALLED
                self._bell[me].put(None)
        return False


def _yield() -> int:
    """The address of the function that offers the core to others; 0 where there is none of that name."""
    function = getattr(ctypes.CDLL(None), "sched_yield", None) if os.name == "posix" else None
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function else 0


@cache
def size() -> int:
    """The threads of a team: as many as the process has cores, or a share of them, and the BLAS may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST, cores, _share(), blas.threads() or MOST))


def _share() -> int:
    """The cores that a container's quota comes to."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # none, or "max"
        return MOST


_making = threading.Lock()
_made: list[Team] = []  # at most one
_blas_before_fork = 0  # threads that the BLAS shall have again, in a child of a fork that came while a program ran


def team() -> Team:
    """The team of this process."""
    if not _made:
        with _making:
            if not _made:
                _restore()
                _made.append(Team(size()))
    return _made[0]


def _restore() -> None:
    global _blas_before_fork
    if _blas_before_fork:
        put = ctypes.PYFUNCTYPE(None, ctypes.c_int)(blas.address("openblas_set_num_threads"))
        _blas_before_fork, threads = 0, _blas_before_fork
        put(threads)


def _before_fork() -> None:
    if _made:
        threads.hold(_made[0].state, _made[0].politely)  # nobody is between counting the programs and telling the BLAS


def _after_fork() -> None:
    if _made:
        threads.release(_made[0].state)


def _in_child() -> None:
    """There are no threads here, and the BLAS may have been left on one."""
    global _blas_before_fork, _making
    _making = threading.Lock()
    if _made:
        left = _made.pop()
        _gone.append(left)  # its memory may be in the hands of a program
        _blas_before_fork = left.held()


_gone: list[Team] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class Program:
    """A list of calls, each a compiled kernel and the words of its parts. Keeps alive what the addresses point to."""

    def __init__(
        self, calls: Sequence[tuple[Any, Sequence[Sequence[int]]]], owners: Sequence[Any], work: float
    ) -> None:
        self.parts = [len(blocks) for _, blocks in calls]
        count, most = self._count, most = len(calls), max(self.parts)
        # between two calls of one part each the threads need not meet
        fences = [int(here > 1 or after > 1) for here, after in pairwise((*self.parts, most))]
        words = [0] * HEAD + [kernel.address for kernel, _ in calls] + self.parts + fences
        for _, blocks in calls:
            for block in blocks:
                words += block
                words += [0] * (WORDS - len(block))
            words += [0] * (WORDS * (most - len(blocks)))
        self._words = np.array(words, np.int64)
        at = self._words.ctypes.data
        late = int(
            (2 * work + 200) / LOOK
        )  # looks: many, for memory may take longer than the work that is counted here
        self._words[:HEAD] = (*(at + 8 * (HEAD + i * count) for i in range(4)), count, most, late)
        self.work = work  # us
        self._owners = [kernel for kernel, _ in calls], list(owners)
        together = partial(_together, work=work)
        self._run, self._address = (threads.play if most == 1 else together if work > WORTH else _apart), at

    def __call__(self) -> None:
        self._run(self._address)

    def pointers(self, X: np.ndarray) -> "Pointers":
        """The words that point into the memory of an array, and no longer keep it alive."""
        start, first = X.ctypes.data, HEAD + 3 * self._count
        inside = np.flatnonzero((self._words[first:] >= start) & (self._words[first:] < start + X.nbytes)) + first
        self._owners[1][:] = [owner for owner in self._owners[1] if not np.may_share_memory(owner, X)]
        return Pointers(self._words, inside, self._words[inside] - start)


class Pointers(NamedTuple):
    """The words of a program that point into one array."""

    words: np.ndarray
    places: np.ndarray
    offsets: np.ndarray

    def move(self, address: int) -> None:
        """They point into an array there now."""
        self.words[self.places] = self.offsets + address


def _apart(program: int) -> None:
    team().run_alone(program)


def _together(program: int, work: float) -> None:
    team().run(program, work)  # looked up every time: the child of a fork has one of its own
