"""CPU and GPU compute the same: per layer, to what a sum in another order may differ by; and a recorded step is the
step, to the last bit. The GPU's error against float64 may be 4 times NumPy float32's own, plus 8 eps (|A| |B|)."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_graph import CASES, STEPS, graphs, plain, trained

import deepxp as dx
from deepxp import rng
from deepxp.agreement import compare
from deepxp.backend import Backend
from deepxp.kernels import cublas
from deepxp.ops.activations import ACTIVATIONS

NUMPY = Backend("numpy", np)
NETS = {
    "one of everything": ((1, 1, 1), 1, {"loss": "squared-error"}),
    "a single sample": ((7, 5, 3), 1, {}),
    "a warp": ((32, 32, 32), 32, {}),
    "a warp and one": ((33, 33, 33), 33, {}),
    "primes": ((131, 67, 37, 11), 101, {}),
    "many samples": ((3, 5, 2), 4099, {}),
    "many classes": ((5, 1009), 13, {}),
    "the digits": ((64, 256, 128, 10), 64, {}),
    "dropout": ((64, 65, 33, 10), 37, {"dropout": 0.5}),
    "several labels": ((9, 17, 5), 31, {"loss": "sigmoid-cross-entropy"}),
    "numbers": ((9, 17, 5), 31, {"loss": "squared-error"}),
    **{name: ((9, 33, 5), 29, {"hidden": name}) for name in ACTIVATIONS},
}


def data(net, m):
    random, n = np.random.default_rng(m), net.sizes[-1]
    X = random.standard_normal((net.sizes[0], m))
    if net.loss.name == "squared-error":
        return X, random.standard_normal((n, m))
    return X, random.integers(0, 2, (n, m)) if net.loss.name == "sigmoid-cross-entropy" else random.integers(0, n, m)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NETS)
def test_every_quantity_of_every_layer_agrees(gpu, case, dtype):
    sizes, m, options = NETS[case]
    net = dx.Network(sizes, backend=NUMPY, dtype=dtype, seed=3, **options)
    found = compare(net, gpu, *data(net, m))
    assert found.passed, f"\n{found}"


def test_the_first_weights_and_the_masks_are_those_of_the_cpu(gpu):
    nets = [dx.Network((19, 33, 7, 3), backend=backend, seed=5, dropout=(0.5, 0.25)) for backend in ("cpu", gpu)]
    assert_array_equal(nets[0].theta, dx.asnumpy(nets[1].theta))
    step = dx.TrainingStep(nets[1], dx.SGD(), 31)
    for i in range(STEPS):
        step(*data(nets[1], 31))
        work = step.workspace(31, labels=True)
        for l, n in ((1, 33), (2, 7)):
            assert_array_equal(dx.asnumpy(work.bits[l]), rng.dropout_bits(5, 0, i, l, (n, 31)))


def test_a_run_takes_the_samples_in_the_order_of_the_cpu(gpu):
    """In float64, where a run of two epochs has no time to drift."""
    X, y = np.random.default_rng(0).standard_normal((6, 103)), np.arange(103) % 3
    thetas = []
    for backend in ("cpu", gpu):
        net = dx.Network((6, 9, 3), backend=backend, dtype="float64", seed=2, dropout=0.25)
        dx.train(net, X, y, epochs=2, batch_size=10, optimizer=dx.AdamW(1e-2), clip_norm=1.0, l2=1e-3)
        thetas.append(dx.asnumpy(net.theta))
    np.testing.assert_allclose(*thetas, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_step_is_the_step_bit_for_bit(gpu, case):
    J, net, step = trained(gpu, **CASES[case])
    expected, reference, _ = trained(plain(gpu), **CASES[case])
    assert all(graph is not None for graph in graphs(step)), "nothing was recorded"
    assert_array_equal(J, expected)
    assert_array_equal(dx.asnumpy(net.theta), dx.asnumpy(reference.theta))


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 67, 1), (67, 1, 3), (31, 33, 32), (128, 257, 63), (5, 4099, 7)])
def test_products_of_any_views(gpu, size):
    p, k, q = size
    cp, random, eps = gpu.xp, np.random.default_rng(0), np.finfo(np.float32).eps
    A, B = random.standard_normal((p, k)).astype(np.float32), random.standard_normal((k, q)).astype(np.float32)
    exact, own = A.astype(np.float64) @ B / 3, A @ B * np.float32(1 / 3)
    allowed = 4 * np.abs(own - exact).max() + 8 * eps * (np.abs(A) @ np.abs(B)) / 3
    with gpu.active():
        a, b = gpu.asarray(A), gpu.asarray(B)
        lefts = {"rows": a, "columns": cp.asfortranarray(a), "part": cp.zeros((p + 1, k + 3), np.float32)[1:, 2:-1]}
        rights = {
            "rows": b,
            "columns": cp.asfortranarray(b),
            "part": cp.zeros((k + 3, q + 1), np.float32)[2:-1, 1:].T.T,
        }
        lefts["part"][...], rights["part"][...] = a, b
        flat = cp.zeros((p * q + 9,), np.float32)
        outs = {"rows": flat[4 : 4 + p * q].reshape(p, q), "columns": flat[4 : 4 + p * q].reshape(q, p).T}
        for left in lefts.values():
            for right in rights.values():
                for out in outs.values():
                    flat[...] = 7.0
                    cublas.product(cp, left, right, out, 1 / 3)
                    assert (np.abs(out.get() - exact) <= allowed).all()
                    assert_array_equal(flat.get()[[*range(4), *range(-5, 0)]], 7.0)


@pytest.mark.parametrize(("kind", "bits"), [("tf32", 10), ("bf16", 8), ("fp16", 11)])
def test_shorter_products_are_as_exact_as_they_say(gpu, kind, bits):
    """An operand may be off by 2^-bits of itself, both together by twice that: half a unit in the last place of
    bfloat16 and of float16, to which deepxp rounds; a whole one of tf32, to which the hardware may cut. The sums are
    float32."""
    short = dx.backend(gpu.name, kind)
    net = dx.Network((200, 90, 7), backend=short, seed=1)
    X, _ = data(net, 50)
    Z = dx.asnumpy(net.predict_proba(X[:, :1])), None
    assert np.isfinite(Z[0]).all()
    random = np.random.default_rng(0)
    for p, k, q in ((33, 200, 65), (256, 512, 256)):
        A, B = random.standard_normal((p, k)).astype(np.float32), random.standard_normal((k, q)).astype(np.float32)
        with short.active():
            out = short.empty((p, q), "float32")
            short.kernels.input_gradient(short.xp, short.asarray(A).T, short.asarray(B), out)
            error = np.abs(out.get() - A.astype(np.float64) @ B)
        assert (error <= 2.1 * 2.0**-bits * (np.abs(A) @ np.abs(B))).all()
    # it was shortened; at sizes that are no multiples of 4, cuBLAS may choose the full form
    assert error.max() > 1e-3


def test_the_digits_are_learned(gpu):
    digits = dx.data.digits()
    X, y = digits.X[:900].T, digits.y[:900].astype(np.int64)
    net = dx.Network((64, 32, 10), backend=gpu, seed=0, scaler=dx.data.Scaler.fit(digits.X, "range"))
    history = dx.train(net, X[:, :800], y[:800], epochs=8, batch_size=64, optimizer=dx.Adam(5e-3))
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert dx.evaluate(net, X[:, 800:], y[800:])["accuracy"] > 0.85
