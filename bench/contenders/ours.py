"""deepxp: on its engines, and the products of a step alone."""

import numpy as np

import deepxp as dx
from contenders import Case
from contenders.memory import allocated, peak
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels
from deepxp.ops import activations, dense, losses, updates
from nets import LR, Start


def backend(engine):
    """NumPy alone, with its kernels; with Numba's; or the first GPU."""
    if engine == "gpu":
        return dx.backend("gpu")
    if engine == "numba":
        from deepxp.kernels import numba as kernels
    else:
        kernels = numpy_kernels
    return Backend("cpu", np, kernels)


def step(threads, engine, data, device):
    """A training step through its public name, and its products alone on the same memory."""
    start, xp = Start.read(data), backend(engine)
    net = dx.Network(start.sizes, backend=xp, theta=start.theta)
    train = dx.TrainingStep(net, dx.Adam(lr=start.lr), batch_size=start.X.shape[1])
    batches = [(xp.asarray(X).T, y) for X, y in zip(start.X, start.y, strict=True)]
    wait = lambda last: xp.synchronize()  # noqa: E731
    products = xp.record(products_of(net, train), train.workspace(train.batch_size, labels=True).X)
    return {
        "step": Case(train, batches, wait),
        "read": Case(lambda X, y: float(train(X.T, y)), list(zip(start.X, start.y, strict=True))),
        "products": Case(products, wait=wait),
    }


def products_of(net, train):
    """The products of a step, and nothing else: W A is the same op as W^T dZ, on the transposed view of W."""
    work = train.workspace(train.batch_size, labels=True)
    work.X[...] = 0.5
    # dZ[L] gets memory of its own: where layers share it, every run would go on from the last one's numbers, down to
    # subnormal ones, which are slow to multiply
    dZ = (*work.dZ[:-1], net.backend.xp.zeros_like(work.dZ[-1]) + 0.5)

    def products(xp):
        multiply, weights = xp[dense.input_gradient], xp[dense.weight_gradient]
        for l in range(1, net.L + 1):
            multiply(net.W[l].T, work.H[l - 1], work.Z[l])
        for l in range(net.L, 0, -1):
            weights(dZ[l], work.H[l - 1], train.gradient.dW[l])
            if l > 1:
                multiply(net.W[l], dZ[l], work.dA[l - 1])

    return products


def softmax(threads, engine, C, m, device):
    """softmax into fresh memory, its loss with labels into memory that exists, and two plain copies for each."""
    xp, rng = backend(engine), np.random.default_rng(0)
    Z = xp.asarray(rng.standard_normal((C, m), dtype=np.float32))
    y = xp.asarray(rng.integers(0, C, m, dtype=np.int32))
    classes = xp.asarray(np.arange(C, dtype=np.int32)[:, None])
    ell, dZ = xp.empty((m,), "float32"), xp.zeros((C, m), "float32")
    label_loss, soft = xp[losses.softmax_cross_entropy_labels], xp[activations.softmax]
    wait = lambda last: xp.synchronize()  # noqa: E731

    def fill():
        dZ[...] = Z

    return {
        "softmax": Case(lambda: soft(Z), wait=wait),
        "loss": Case(lambda: label_loss(Z, y, classes, ell, dZ), wait=wait),
        "copy": Case(Z.copy, wait=wait),
        "fill": Case(fill, wait=wait),
    }


def adam(threads, engine, size, device):
    """The update of one flat vector."""
    xp, rng = backend(engine), np.random.default_rng(0)
    theta, g = (xp.asarray(rng.standard_normal(size, dtype=np.float32)) for _ in range(2))
    state = tuple(xp.zeros((size,), "float32") for _ in range(2))
    optimizer, update, t = dx.Adam(lr=LR), xp[updates.update], iter(range(1, 10**9))

    def call():
        update(optimizer.rule, theta, g, state, optimizer.rates(LR, next(t)))

    def copy():
        state[0][...] = theta

    wait = lambda last: xp.synchronize()  # noqa: E731
    return {"adam": Case(call, wait=wait), "copy": Case(copy, wait=wait)}


def epoch(threads, engine, data, sizes, m, device):
    """`dx.train` for one epoch; it goes on from one call to the next, but makes its memory anew."""
    with np.load(data) as file:
        X, y = file["X"], file["y"]
    net = dx.Network(sizes, backend=backend(engine), seed=0)

    def call():
        return dx.train(net, X.T, y, epochs=1, batch_size=m, optimizer=dx.Adam(lr=LR)).loss[-1]

    return {"epoch": Case(call)}


def memory(threads, engine, data, device):
    """Bytes, not seconds: the peak up to the second step, and what a warm step allocates."""
    return {"peak": lambda: peak(backend(engine), data), "allocated": lambda: allocated(backend(engine), data)}


TASKS = {"step": step, "softmax": softmax, "adam": adam, "epoch": epoch, "memory": memory}
