"""A whole training step of n-n-n-10 on m samples with Adam, and its own products alone: the floor under it."""

import pytest

import deepxp as dx
from contenders.ours import products_of
from nets import Net


@pytest.mark.parametrize("what", ["step", "its products alone"])
def test_step(timed, engine, rng, what, n, m, dtype):
    sizes = (n, n, n, 10)
    net = dx.Network(sizes, backend=engine.backend, dtype=dtype)
    train = dx.TrainingStep(net, dx.Adam(lr=1e-6), batch_size=m)
    X = engine.backend.asarray(rng.standard_normal((m, n)), dtype).T
    y = rng.integers(0, 10, m)
    step, products = (
        (lambda: train(X, y)),
        engine.backend.record(products_of(net, train), train.workspace(m, labels=True).X),
    )
    timed(
        step if what == "step" else products,
        table=f"{what} of n-n-n-10, n = {n}, m = {m}, {dtype}",
        row=engine.name,
        flops=Net(sizes, m).flops,
        what=what,
        n=n,
        m=m,
        dtype=dtype,
        engine=engine.name,
    )
