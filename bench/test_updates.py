"""One update of a vector by each rule; Adam beside torch's fused one."""

import numpy as np
import pytest

from deepxp.ops.updates import update
from deepxp.optimizers import OPTIMIZERS as DEEPXPS
from own import OPTIMIZERS as OWN

OPTIMIZERS = DEEPXPS | OWN


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_update(timed, engine, rng, rule, size, dtype):
    xp, optimizer = engine.backend, OPTIMIZERS[rule]()
    theta, g = (xp.asarray(rng.standard_normal(size), dtype) for _ in range(2))
    state = tuple(xp.zeros((size,), dtype) for _ in range(optimizer.states))
    step, rates = xp[update], list(optimizer.rates(1e-6, 1))
    timed(
        lambda: step(optimizer.rule, theta, g, state, rates),
        table=f"{rule}, {size} parameters, {dtype}",
        row=engine.name,
        bytes=theta.nbytes * (3 + 2 * optimizer.states),
    )


def test_torch_adam(timed, rng, size, dtype):
    torch = pytest.importorskip("torch")
    theta = torch.nn.Parameter(torch.from_numpy(rng.standard_normal(size).astype(dtype)))
    theta.grad = torch.from_numpy(rng.standard_normal(size).astype(dtype))
    timed(
        torch.optim.Adam([theta], lr=1e-6, fused=True).step,
        table=f"adam, {size} parameters, {dtype}",
        row="cpu, torch fused",
        bytes=7 * size * np.dtype(dtype).itemsize,
    )
