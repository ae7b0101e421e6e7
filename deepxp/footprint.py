"""How many bytes a run needs, and what is said where there are not so many."""

import numpy as np

from deepxp.errors import OutOfMemoryError
from deepxp.network import Network
from deepxp.optimizers import Optimizer


def memory_need(net: Network, optimizer: Optimizer, batch_size: int) -> int:
    """The bytes that training allocates on the device beside the data: theta, its gradient, two copies of it, the
    optimizer's state with a copy, and the workspace of a batch."""
    number = np.dtype(net.dtype).itemsize
    vectors = 4 + 2 * optimizer.states
    L, n, m = net.L, net.sizes, batch_size
    kept = sum(n[l] for l in range(1, L) if net.g[l].reads == "Z")
    dropped = sum(n[l] for l in range(1, L) if net.keep[l])
    turns = max(n[1::2], default=0) + max(n[2::2], default=0)
    per_sample = number * (sum(n) + kept + dropped + turns + n[L] + 2) + 2 * dropped
    return number * vectors * int(net.theta.shape[0]) + per_sample * m


def check_memory(net: Network, optimizer: Optimizer, batch_size: int, free: int | None) -> None:
    """Raises OutOfMemoryError before anything is allocated for a step that cannot fit. theta is there already."""
    own = np.dtype(net.dtype).itemsize * int(net.theta.shape[0])
    need = memory_need(net, optimizer, batch_size) - own
    if free is None or need <= free:
        return
    least = memory_need(net, optimizer, 0) - own
    fits = (free - least) // (memory_need(net, optimizer, 1) - own - least)
    way_out = f"the largest batch that fits has {fits} samples" if fits > 0 else "no batch fits: take narrower layers"
    raise OutOfMemoryError(
        f"training with batches of {batch_size} needs {need / 1e6:,.1f} MB on {net.backend.name} beside the data, and "
        f"{free / 1e6:,.1f} MB are free; {way_out}"
    )
