"""The memory of a training step: the peak of making one and running it, and what a warm one allocates."""

import ctypes
import gc
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path

import deepxp as dx
from nets import LR, Start

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def needed(sizes, m, number=4):
    """Bytes: parameters, their gradient, two vectors of Adam, activations A[0..L] and labels, dZ[l] and dA[l-1]."""
    theta = sum(n * (n_prev + 1) for n_prev, n in pairwise(sizes))
    between = max(n_prev + n for n_prev, n in pairwise(sizes[1:])) if len(sizes) > 2 else sizes[-1]
    return {
        "parameters": number * theta,
        "gradient": number * theta,
        "optimizer": 2 * number * theta,
        "activations": (number * sum(sizes) + 4) * m,
        "dZ and dA": number * between * m,
    }


def peak(xp, data):
    """The greatest amount allocated at once from nothing to the end of the second step, beside what is needed."""
    start = Start.read(data)
    warm = dx.TrainingStep(dx.Network((4, 3, 2), backend=xp), dx.Adam(lr=LR), batch_size=2)
    warm(start.X[0, :2, :4].T, start.y[0, :2] % 2)  # what is compiled or loaded once for all nets
    sizes, m, theta = start.sizes, start.X.shape[1], start.theta
    X, y = start.X[0].copy().T, start.y[0].copy()
    del start, warm
    gc.collect()

    def run():
        net = dx.Network(sizes, backend=xp, theta=theta)
        step = dx.TrainingStep(net, dx.Adam(lr=LR), batch_size=m)
        step(X, y)
        step(X, y)

    resident = _resident_peak(run)
    gc.collect()
    tracemalloc.start()
    run()
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"traced": traced, "resident": resident, "needed": needed(sizes, m)}


def _resident_peak(run):
    """The growth of the process's resident memory at its peak, native allocations included; None off Linux."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, or it would be used again without being seen
        CLEAR.write_text("5")
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key):
    return 1024 * int(re.search(rf"^{key}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)[1])


def allocated(xp, data):
    """The most that a warm step holds for a while, and what it leaves behind, in bytes."""
    start = Start.read(data)
    net = dx.Network(start.sizes, backend=xp, theta=start.theta)
    step = dx.TrainingStep(net, dx.Adam(lr=LR), batch_size=start.X.shape[1])
    X, y = start.X[0].T, start.y[0]
    for _ in range(5):
        step(X, y)
    tracemalloc.start()
    step(X, y)  # what is traced once: interned numbers, caches of the tracer itself
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(10):
        step(X, y)
    after, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"transient": top - before, "kept": after - before}
