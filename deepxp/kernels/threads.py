"""Long loops split over a few threads: compiled loops release the interpreter's lock.

A pool of the standard library's threads, not Numba's: its OpenMP layer goes on spinning after the loop and takes the
cores from the matrix products (measured: a step of 8 ms instead of 0.5), and its other layer aborts the process when
two Python threads enter it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

LEAST = 400_000  # numbers per thread below which handing the work over (70 us) costs more than it saves


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def count() -> int:
    """The threads of a long loop, at most 8: past a few, memory is the limit."""
    return min(8, cores())


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, count() - 1), thread_name_prefix="deepxp")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has the pool's object, but not its threads


def split(work: Callable[[int, int], object], length: int, numbers: int, unit: int = 1) -> None:
    """work(start, stop) over range(length), in as many pieces as `numbers` elements of work are worth; pieces start
    at multiples of `unit`."""
    pieces = min(count(), numbers // LEAST, length // unit)
    if pieces <= 1:
        work(0, length)
        return
    bounds = [length * i // pieces // unit * unit for i in range(pieces)] + [length]
    waiting = [_pool().submit(work, bounds[i], bounds[i + 1]) for i in range(1, pieces)]
    work(bounds[0], bounds[1])
    for future in waiting:
        future.result()
