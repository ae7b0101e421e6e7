"""How many bytes a run needs, and what is said where there are not so many."""

from itertools import pairwise

import numpy as np

from deepxp.errors import OutOfMemoryError
from deepxp.network import CHUNK, Network
from deepxp.optimizers import Optimizer


def memory_need(net: Network, optimizer: Optimizer, batch_size: int) -> int:
    """The bytes that training allocates on the device beside the data: theta, its gradient, two copies of it, the
    optimizer's state with a copy, and the workspace of a batch."""
    return _vector(net) * (2 + optimizer.states) + need_of_a_step(net, optimizer, batch_size)


def need_of_a_step(net: Network, optimizer: Optimizer, batch_size: int) -> int:
    """What of that is allocated after a training step has been made: the copies, and the workspace."""
    number = np.dtype(net.dtype).itemsize
    L, n, m = net.L, net.sizes, batch_size
    kept = sum(n[l] for l in range(1, L) if net.g[l].reads == "Z")
    dropped = sum(n[l] for l in range(1, L) if net.keep[l])
    turns = max(n[1::2], default=0) + max(n[2::2], default=0)
    per_sample = number * (sum(n) + kept + dropped + turns + n[L] + 2) + 2 * dropped
    fixed = net.backend.overhead + _vector(net) * (2 + optimizer.states)
    if number == 4 and net.backend.precision in ("bf16", "fp16"):  # the operands of a product
        fixed += 2 * max(a * b for a, b in pairwise(n))
        per_sample += 2 * max(a + b for a, b in pairwise(n))
    return fixed + per_sample * m


def need_of_a_prediction(net: Network) -> int:
    """What an evaluation takes while it runs, at most: the inputs, layers and losses of one piece of the data."""
    number, n = np.dtype(net.dtype).itemsize, net.sizes
    return number * (sum(n) + 3 * n[-1] + 1) * max(1, CHUNK // max(n))


def _vector(net: Network) -> int:
    return np.dtype(net.dtype).itemsize * int(net.theta.shape[0])


def check_memory(net: Network, optimizer: Optimizer, batch_size: int, free: int | None) -> None:
    """Raises OutOfMemoryError before anything is allocated for a step that cannot fit. theta is there already."""
    if free is not None and memory_need(net, optimizer, batch_size) - _vector(net) > free:
        raise out_of_memory(net, optimizer, batch_size, free)


def out_of_memory(net: Network, optimizer: Optimizer, batch_size: int, free: int | None) -> OutOfMemoryError:
    """What was needed, what there was, and what would fit; `free` is what was free before the run."""
    own, name = _vector(net), net.backend.name
    need, least = (memory_need(net, optimizer, m) - own for m in (batch_size, 0))
    said = f"training with batches of {batch_size} needs {need / 1e6:,.1f} MB on {name} beside the data, "
    if free is None:
        return OutOfMemoryError(f"{said}more than there is; take a smaller batch_size or narrower layers")
    fits = (free - least) // (memory_need(net, optimizer, 1) - own - least)
    if fits < 1:
        way_out = "no batch fits: take narrower layers"
    elif fits < batch_size:
        way_out = f"the largest batch that fits has {fits} samples"
    else:
        way_out = f"a batch of {batch_size} would fit, but not beside the data that are there: take a smaller one"
    return OutOfMemoryError(f"{said}and {free / 1e6:,.1f} MB are free; {way_out}")
