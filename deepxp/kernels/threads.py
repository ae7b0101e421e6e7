"""What the threads of a team do, in compiled code: they claim one another, play their parts of a program, and meet.

The state of a team is a block of words, each in a line of the cache of its own; see `atomics` for how they are read.
"""

from typing import Any

from deepxp.kernels.atomics import add, call_integer, exchange, load, pause, replace
from deepxp.kernels.compile import kept
from deepxp.kernels.native import WORDS, call

LINE = 16  # words of two cache lines: processors fetch them in pairs
GENERATION, ARRIVED, JOB, HELD, STATUS = (LINE * i for i in range(5))  # places in the state of a team
READY, CLAIMED, ASLEEP, CALLED = range(4)  # what a thread of a team is: looking for work, about to get it, ...
PATIENCE = 50_000  # looks for work before a thread falls asleep, some 1.5 ms; and for one to wake up
HEAD = 7  # words at the start of a program
POLITE = 5_000  # looks, some 0.15 ms, before the core is offered to others


def native(function: Any) -> Any:
    """Compiled, and kept on disk until any file of the kernels changes."""
    return kept(function, options={"nogil": True})


@native
def look(spins: int, politely: int) -> int:
    """One look in vain."""
    pause()
    if politely != 0 and spins % POLITE == POLITE - 1:
        call_integer(politely, 0)
    return spins + 1


@native
def meet(state: int, size: int, politely: int) -> int:
    """Wait until all threads of a team have arrived here; how many looks that took."""
    arrived = state + 8 * ARRIVED
    goal = (add(arrived, 1) // size + 1) * size
    spins = 0
    while load(arrived) < goal:
        spins = look(spins, politely)
    return spins


@native
def play(program: int) -> None:
    """All parts of every call, by one thread. A program is the words (functions, parts, fences, blocks, calls, most
    parts, looks to wait for)."""
    word = 8
    functions, parts, blocks = load(program), load(program + word), load(program + 3 * word)
    calls, most = load(program + 4 * word), load(program + 5 * word)
    for i in range(calls):
        for part in range(load(parts + word * i)):
            call(load(functions + word * i), blocks + word * WORDS * (i * most + part))


@native
def play_together(program: int, me: int, state: int, size: int, politely: int) -> int:
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
            waited += meet(state, size, politely)
    return waited


@native
def hold(state: int, politely: int) -> None:
    """Keep everybody from entering and leaving."""
    spins = 0
    while exchange(state + 8 * HELD, 1) != 0:
        spins = look(spins, politely)


@native
def release(state: int) -> None:
    """Let them go on."""
    exchange(state + 8 * HELD, 0)


@native
def enter(state: int, politely: int, get: int, put: int) -> None:
    """The BLAS computes on one thread from here on."""
    if get == 0:
        return
    held, before = state + 8 * (HELD + 1), state + 8 * (HELD + 2)
    hold(state, politely)
    if add(held, 1) == 0:
        exchange(before, call_integer(get, 0))
        call_integer(put, 1)
    release(state)


@native
def leave(state: int, politely: int, put: int) -> None:
    """And on as many as before, when the last one has left."""
    if put == 0:
        return
    held, before = state + 8 * (HELD + 1), state + 8 * (HELD + 2)
    hold(state, politely)
    if add(held, -1) == 1:
        call_integer(put, load(before))
    release(state)


@native
def claim(state: int, size: int, wait: int, politely: int) -> int:
    """The first thread that is not ready, or 0: then all of them wait for the next generation.

    A thread that falls asleep is called by what is done with the answer; its claim on the others is given up.
    """
    spins = 0
    for i in range(1, size):
        status = state + 8 * (STATUS + i)
        found = replace(status, READY, CLAIMED)
        while found != READY and spins < wait:
            spins = look(spins, politely)
            found = replace(status, READY, CLAIMED)
        if found != READY:
            for other in range(1, i):
                exchange(state + 8 * (STATUS + other), READY)
            return i
    return 0


@native
def lead(program: int, state: int, size: int, wait: int, politely: int, get: int, put: int) -> int:
    """Run a program with all threads; the number of one that sleeps where one does, and then nothing was done. -1 where
    it was done, but the others kept this thread waiting for longer than the work explains."""
    sleeping: int = claim(state, size, wait, politely)
    if sleeping != 0:
        return sleeping
    enter(state, politely, get, put)
    exchange(state + 8 * JOB, program)
    add(state + 8 * GENERATION, 1)
    waited = play_together(program, 0, state, size, politely)
    leave(state, politely, put)
    return -1 if waited > load(program + 8 * 6) else 0


@native
def alone(program: int, state: int, politely: int, get: int, put: int) -> None:
    """Run all parts of a program."""
    enter(state, politely, get, put)
    play(program)
    leave(state, politely, put)


@native
def serve(state: int, me: int, size: int, seen: int, politely: int) -> int:
    """Play my part of every program that comes; the generation of the last one when it is time to sleep."""
    generation, status = state + 8 * GENERATION, state + 8 * (STATUS + me)
    exchange(status, READY)
    while True:
        spins = 0
        while load(generation) == seen:
            spins = look(spins, politely)
            if spins > PATIENCE and replace(status, READY, ASLEEP) == READY:
                return seen
        seen = load(generation)
        program = load(state + 8 * JOB)
        exchange(status, READY)
        play_together(program, me, state, size, politely)
