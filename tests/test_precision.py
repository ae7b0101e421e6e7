"""Shorter forms of float32 for the products of a GPU: what is rounded, what is not, and that training holds up."""

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.kernels import cupy as kernels
from deepxp.kernels import precision
from deepxp.ops.dense import dense_forward, input_gradient, weight_gradient

BITS = {"tf32": 10, "bf16": 7, "fp16": 10}  # after the point


def nearest(x, bits):
    """x rounded to so many bits after the point, by arithmetic in float64."""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1)


@pytest.fixture(params=BITS)
def kind(request, monkeypatch):
    install(monkeypatch)
    return request.param


def test_the_names_are_those_that_there_are_kernels_for():
    from deepxp.backend import PRECISIONS

    assert tuple(precision.KERNELS) == PRECISIONS


def test_the_bits_of_bfloat16_are_the_nearest_ties_to_even(monkeypatch):
    install(monkeypatch)
    import cupy as cp

    tie, odd_tie = 1 + 2.0**-8, 1 + 3 * 2.0**-8
    x = np.array([0.0, -0.0, 1.0, tie, odd_tie, tie + 2**-20, -tie, 3e38, 3.4e38, np.inf, -np.inf, np.nan, 1e-38, 0.1])
    x = np.concatenate([x, np.random.default_rng(0).standard_normal(500) * 10.0 ** np.arange(-25, 25).repeat(10)])
    x = x.astype(np.float32)
    bits = cp.empty(x.shape, np.uint16)
    kernels.to_bfloat16(cp, cp.asarray(x), bits)
    found = (bits.get().astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        expected = nearest(x, 7)
    expected[8] = np.inf  # beyond the greatest bfloat16
    expected[np.isnan(x)] = np.nan
    assert_array_equal(found, expected.astype(np.float32))
    assert np.signbit(found[1])


def test_float16_is_the_nearest_too_from_the_least_to_the_greatest(monkeypatch):
    install(monkeypatch)
    import cupy as cp

    rng = np.random.default_rng(0)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)  # every finite one that is not < 0
    ties = (halves[:-1] + halves[1:]) / 2
    special = np.array([65504, 65519.99, 65520, 1e38, 3e-8, 2.0**-25, 1e-40, np.inf, np.nan], np.float32)
    x = np.concatenate([halves, ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e9)), special])
    x = np.concatenate([x, -x, rng.standard_normal(1001).astype(np.float32) * 2.0 ** rng.integers(-30, 17, 1001)])
    x = x.astype(np.float32)
    out, again = cp.empty(x.shape, np.float16), cp.empty(x.shape, np.float16)
    kernels.to_float16(cp, cp.asarray(x), out)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    assert_array_equal(out.get(), expected)
    assert_array_equal(np.signbit(out.get())[~np.isnan(x)], np.signbit(x)[~np.isnan(x)])
    factors = cp.empty(2, np.float32)
    kernels.to_scaled_float16(cp, cp.asarray(x / 1024), cp.asarray(np.float32(1024.0)), 3, again, factors)
    normal = np.abs(x) > 1e-34
    assert_array_equal(again.get()[normal], expected[normal])
    assert_array_equal(factors.get(), np.array([1 / 3072, 0], np.float32))


def test_the_operands_of_every_product_are_rounded_and_nothing_else(kind):
    gpu, rng = dx.backend("gpu", kind), np.random.default_rng(1)
    W, A_prev, dZ, b = (rng.standard_normal(s).astype(np.float32) for s in ((5, 4), (9, 4), (5, 9), (5, 1)))
    A_prev = A_prev.T  # samples are rows in memory, as in A[0]
    w, a, d = (nearest(x, BITS[kind]) for x in (W, A_prev, dZ))
    with gpu.active():
        Z, dW, dA = (gpu.empty(shape, "float32") for shape in ((5, 9), (5, 4), (4, 9)))
        device = [gpu.asarray(x) for x in (W, A_prev.T, dZ, b)]
        device[1] = device[1].T
        relu = dx.Network((4, 5, 2), backend=gpu).g[1]
        gpu[dense_forward](device[0], device[3], device[1], relu, Z, Z)
        gpu[weight_gradient](device[2], device[1], dW)
        gpu[input_gradient](device[0], device[2], dA)
        assert_allclose(Z.get(), np.maximum(w @ a + b, 0), rtol=2e-6, atol=1e-6)
        assert_allclose(dW.get(), d @ a.T / 9, rtol=2e-6, atol=1e-6)
        assert_allclose(dA.get(), w.T @ d, rtol=2e-6, atol=1e-6)
        assert not np.allclose(Z.get(), np.maximum(W @ A_prev + b, 0), rtol=1e-5, atol=1e-5)


def test_float64_is_not_shortened(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 40)), rng.integers(0, 3, 40)
    thetas = []
    for backend in (dx.backend("gpu", kind), dx.backend("gpu")):
        net = dx.Network((6, 5, 3), backend=backend, dtype="float64")
        dx.train(net, X, y, epochs=2, batch_size=8)
        thetas.append(net.theta.get())
    assert_array_equal(*thetas)


def test_the_digits_are_learned_as_well_as_in_float32(kind):
    X, y = dx.data.digits().X[:700].T, dx.data.digits().y[:700].astype(np.int64)
    accuracies = []
    for backend in (dx.backend("gpu", kind), dx.backend("gpu")):
        scaler = dx.data.Scaler.fit(X.T, "range")
        net = dx.Network((64, 24, 10), backend=backend, seed=0, scaler=scaler)
        dx.train(net, X[:, :600], y[:600], epochs=6, batch_size=50, optimizer=dx.Adam(5e-3))
        assert net.theta.dtype == np.float32
        accuracies.append(dx.evaluate(net, X[:, 600:], y[600:])["accuracy"])
    assert accuracies[1] > 0.85
    assert abs(accuracies[0] - accuracies[1]) <= 0.04


def test_a_step_in_a_shorter_form_is_recorded_too(kind):
    rng = np.random.default_rng(0)
    net = dx.Network((6, 5, 3), backend=dx.backend("gpu", kind))
    step = dx.TrainingStep(net, dx.Adam(), 8)
    for _ in range(6):
        step(rng.standard_normal((6, 8)), rng.integers(0, 3, 8))
    (recorded,) = step._recorded.values()
    assert recorded.graph is not None


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.parametrize("kind", BITS)
def test_on_the_cpu_it_has_no_meaning(device, kind, monkeypatch):
    install(monkeypatch, driver=0)
    with pytest.raises(dx.ConfigError, match=f"precision '{kind}' is an arithmetic of GPUs, and the device is the cpu"):
        dx.backend(device, kind)
    assert dx.backend(device, "fp32").name == "cpu"


def test_a_precision_that_does_not_exist():
    with pytest.raises(dx.ConfigError, match="one of fp32, tf32, bf16, fp16, got 'fp8'"):
        dx.backend("cpu", "fp8")


def test_the_command_line_takes_it(monkeypatch, tmp_path, capsys):
    from deepxp.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "--device", "cpu", "--precision", "tf32", "--epochs", "1"]) == 2
    assert "is an arithmetic of GPUs" in capsys.readouterr().err
    install(monkeypatch)
    for number, kind in enumerate(("bf16", "fp16"), 1):
        assert main(["train", "--device", "gpu", "--precision", kind, "--epochs", "1", "--hidden", "8", "-q"]) == 0
        folder = tmp_path / "runs" / f"digits-{number}"
        assert f'precision = "{kind}"' in (folder / "config.toml").read_text("utf-8")
        told = "".join(path.read_text("utf-8") for path in folder.glob("*.[cj]s*"))
        assert ("loss_scale" in told) == ("overflowed" in told) == (kind == "fp16")
