"""A whole epoch through `deepxp.train`: what it adds to its steps is making the memory, the order, and the batches."""

import deepxp as dx

SAMPLES = {True: 1024, False: 16_384}


def test_generated(timed, engine, request, rng, n, m, dtype):
    samples = SAMPLES[request.config.getoption("quick")]
    X, y = rng.standard_normal((samples, n)).astype(dtype), rng.integers(0, 10, samples)
    net = dx.Network((n, n, 10), backend=engine.backend, dtype=dtype)
    timed(
        lambda: dx.train(net, X.T, y, epochs=1, batch_size=m, optimizer=dx.Adam(lr=1e-6)),
        table=f"an epoch of {samples} samples, n-n-10, n = {n}, m = {m}, {dtype}",
        row=engine.name,
    )


def test_mnist(timed, engine, request, mnist):
    X, y = mnist
    if request.config.getoption("quick"):
        X, y = X[:12_800], y[:12_800]
    net = dx.Network((784, 256, 10), backend=engine.backend)
    timed(
        lambda: dx.train(net, X.T, y, epochs=1, batch_size=128),
        table=f"an epoch of MNIST, {len(X)} samples in uint8, 784-256-10, m = 128, float32",
        row=engine.name,
    )
