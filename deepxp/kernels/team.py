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
import os
import sys
import threading
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from deepxp.kernels import blas
from deepxp.kernels.atomics import add, call_integer, exchange, load, pause, replace
from deepxp.kernels.compile import kept
from deepxp.kernels.native import WORDS, call

MOST = 16  # threads of a team; more were never tried
LINE = 16  # words of two cache lines: processors fetch them in pairs
GENERATION, ARRIVED, JOB, HELD, STATUS = (LINE * i for i in range(5))  # places in the state of a team
READY, CLAIMED, ASLEEP, CALLED = range(4)  # what a thread of a team is: looking for work, about to get it, ...
PATIENCE = 50_000  # looks for work before a thread falls asleep, some 1.5 ms; and for one to wake up
HEAD = 7  # words at the start of a program
LOOK = 0.025  # us
WORTH = 80.0  # us of work from which on a program is worth the team: on a busy machine it is a risk
BREAK = 16  # programs that one thread does after the others came too late; twice as many after the next time
POLITE = 5_000  # looks, some 0.15 ms, before the core is offered to others


def _native(function: Any) -> Any:
    """Compiled, and kept on disk until any file of the kernels changes."""
    return kept(function, options={"nogil": True})


@_native
def _wait(spins: int, politely: int) -> int:
    """One look in vain."""
    pause()
    if politely != 0 and spins % POLITE == POLITE - 1:
        call_integer(politely, 0)
    return spins + 1


@_native
def _meet(state: int, size: int, politely: int) -> int:
    """Wait until all threads of a team have arrived here; how many looks that took."""
    arrived = state + 8 * ARRIVED
    goal = (add(arrived, 1) // size + 1) * size
    spins = 0
    while load(arrived) < goal:
        spins = _wait(spins, politely)
    return spins


@_native
def _play(program: int) -> None:
    """All parts of every call, by one thread. A program is the words (functions, parts, fences, blocks, calls, most
    parts, looks to wait for)."""
    word = 8
    functions, parts, blocks = load(program), load(program + word), load(program + 3 * word)
    calls, most = load(program + 4 * word), load(program + 5 * word)
    for i in range(calls):
        for part in range(load(parts + word * i)):
            call(load(functions + word * i), blocks + word * WORDS * (i * most + part))


@_native
def _play_together(program: int, me: int, state: int, size: int, politely: int) -> int:
    """My part of every call, meeting the others at every fence; how many looks I waited for them."""
    word, waited = 8, 0
    functions, parts, fences, blocks = (
        load(program), load(program + word), load(program + 2 * word), load(program + 3 * word),
    )  # fmt: skip
    calls, most = load(program + 4 * word), load(program + 5 * word)
    for i in range(calls):
        if me < load(parts + word * i):
            call(load(functions + word * i), blocks + word * WORDS * (i * most + me))
        if load(fences + word * i) != 0:
            waited += _meet(state, size, politely)
    return waited


@_native
def _enter(state: int, politely: int, get: int, put: int) -> None:
    """The BLAS computes on one thread from here on."""
    if get == 0:
        return
    lock, held, before = state + 8 * HELD, state + 8 * (HELD + 1), state + 8 * (HELD + 2)
    spins = 0
    while exchange(lock, 1) != 0:
        spins = _wait(spins, politely)
    if add(held, 1) == 0:
        exchange(before, call_integer(get, 0))
        call_integer(put, 1)
    exchange(lock, 0)


@_native
def _hold(state: int, politely: int) -> None:
    """Keep everybody from entering and leaving."""
    spins = 0
    while exchange(state + 8 * HELD, 1) != 0:
        spins = _wait(spins, politely)


@_native
def _release(state: int) -> None:
    exchange(state + 8 * HELD, 0)


@_native
def _leave(state: int, politely: int, put: int) -> None:
    """And on as many as before, when the last one has left."""
    if put == 0:
        return
    lock, held, before = state + 8 * HELD, state + 8 * (HELD + 1), state + 8 * (HELD + 2)
    spins = 0
    while exchange(lock, 1) != 0:
        spins = _wait(spins, politely)
    if add(held, -1) == 1:
        call_integer(put, load(before))
    exchange(lock, 0)


@_native
def _claim(state: int, size: int, wait: int, politely: int) -> int:
    """The first thread that is not ready, or 0: then all of them wait for the next generation.

    A thread that falls asleep is called by what is done with the answer; its claim on the others is given up.
    """
    spins = 0
    for i in range(1, size):
        status = state + 8 * (STATUS + i)
        found = replace(status, READY, CLAIMED)
        while found != READY and spins < wait:
            spins = _wait(spins, politely)
            found = replace(status, READY, CLAIMED)
        if found != READY:
            for other in range(1, i):
                exchange(state + 8 * (STATUS + other), READY)
            return i
    return 0


@_native
def _lead(program: int, state: int, size: int, wait: int, politely: int, get: int, put: int) -> int:
    """Run a program with all threads; the number of one that sleeps where one does, and then nothing was done. -1 where
    it was done, but the others kept this thread waiting for longer than the work explains."""
    sleeping: int = _claim(state, size, wait, politely)
    if sleeping != 0:
        return sleeping
    _enter(state, politely, get, put)
    exchange(state + 8 * JOB, program)
    add(state + 8 * GENERATION, 1)
    waited = _play_together(program, 0, state, size, politely)
    _leave(state, politely, put)
    return -1 if waited > load(program + 8 * 6) else 0


@_native
def _alone(program: int, state: int, politely: int, get: int, put: int) -> None:
    """Run all parts of a program."""
    _enter(state, politely, get, put)
    _play(program)
    _leave(state, politely, put)


@_native
def _serve(state: int, me: int, size: int, seen: int, politely: int) -> int:
    """Play my part of every program that comes; the generation of the last one when it is time to sleep."""
    generation, status = state + 8 * GENERATION, state + 8 * (STATUS + me)
    exchange(status, READY)
    while True:
        spins = 0
        while load(generation) == seen:
            spins = _wait(spins, politely)
            if spins > PATIENCE and replace(status, READY, ASLEEP) == READY:
                return seen
        seen = load(generation)
        program = load(state + 8 * JOB)
        exchange(status, READY)
        _play_together(program, me, state, size, politely)


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
        self._rest, self._break = 0, BREAK  # programs to do alone; and how many after the next delay
        try:
            for me in range(1, size):
                threading.Thread(target=self._serve, args=(me,), name=f"deepxp-{me}", daemon=True).start()
        except RuntimeError:  # the system has no more threads, or Python is about to end
            self._rest = sys.maxsize

    def _serve(self, me: int) -> None:
        seen = 0
        while True:
            seen = _serve(self.state, me, self.size, seen, self.politely)
            self._bell[me].get()
            while not self._bell[me].empty():
                self._bell[me].get()

    def held(self) -> int:
        """On how many threads the BLAS was before programs that have not ended; 0 where there are none."""
        return int(self._words[HELD + 2]) if self._words[HELD + 1] else 0

    def run(self, program: int) -> None:
        """Run the program at an address, and return when it is done."""
        if self._rest:
            self._rest -= 1
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
        _alone(program, self.state, self.politely, self._get, self._put)

    def _lead(self, program: int, wait: int) -> bool:
        """Run it with all threads, if they are awake; wake them where not."""
        answer = _lead(program, self.state, self.size, wait, self.politely, self._get, self._put)
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
        _hold(_made[0].state, _made[0].politely)  # nobody is between counting the programs and telling the BLAS


def _after_fork() -> None:
    if _made:
        _release(_made[0].state)


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
        late = int((work / 2 + 200) / LOOK)  # looks
        self._words[:HEAD] = (*(at + 8 * (HEAD + i * count) for i in range(4)), count, most, late)
        self._owners = [kernel for kernel, _ in calls], owners
        self._run, self._address = (_play if most == 1 else _together if work > WORTH else _apart), at

    def __call__(self) -> None:
        self._run(self._address)

    def reads(self, address: int, size: int) -> bool:
        """Does any word point into that memory? It is what `move` moves."""
        words = self._words[HEAD + 3 * self._count :]
        self._moving = np.flatnonzero((words >= address) & (words < address + size)) + HEAD + 3 * self._count
        self._offsets = self._words[self._moving] - address
        return bool(self._moving.size)

    def move(self, address: int) -> None:
        """Those words point there now."""
        self._words[self._moving] = self._offsets + address


def _apart(program: int) -> None:
    team().run_alone(program)


def _together(program: int) -> None:
    team().run(program)  # looked up every time: the child of a fork has one of its own
