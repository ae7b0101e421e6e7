"""Results that must not change by accident, as hashes.

Some are the same on every machine and every device: counters and orders, and a training whose numbers are all small
multiples of a power of two, so that no sum is ever rounded, in whatever order it is taken. The others depend on the
processor, the BLAS and the versions, and are kept for each platform that has been seen:

    python tests/test_golden.py        adds this platform to tests/golden/platforms.json, or says what differs there
"""

import hashlib
import json
import platform
import sys
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import deepxp as dx
from deepxp import rng
from deepxp.backend import Backend
from deepxp.data import digits

PLATFORMS = Path(__file__).parent / "golden" / "platforms.json"
ADD = "python tests/test_golden.py adds it"


def sha(*arrays):
    """Of the shapes, the types and the bits."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(dx.asnumpy(array))
        total.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:16]


# --- the same everywhere ----------------------------------------------------------------------------------------------


def test_the_random_bits_are_those_of_philox_everywhere():
    assert sha(rng.dropout_bits(7, 3, 2, 1, (5, 33))) == "83299f22bc5b2053"


def test_the_first_weights_and_the_orders_are_the_same_everywhere():
    assert sha(*[rng.order(7, epoch, 1000) for epoch in range(3)], rng.split(7, 1000)) == "481134baa6d8d477"
    weights = dx.Network((20, 30, 4), backend="cpu", seed=7).theta
    assert sha(np.round(weights, 5) + np.float32(0.0)) == "924462ee8b242113"


def whole(shape, most, seed):
    """Whole numbers between -most and most, by arithmetic alone."""
    count = int(np.prod(shape))
    return ((np.arange(count) * 7919 + seed * 104729) % (2 * most + 1) - most).reshape(shape).astype(np.float64)


def exact_training(backend, dtype):
    """A few steps in which every number is a whole multiple of a power of two and has fewer bits than the dtype."""
    sizes, m, steps = ((6, 5, 4, 3), 4, 1) if dtype == "float32" else ((6, 5, 3), 4, 2)
    weights = sum(n * p for p, n in pairwise(sizes))
    theta = np.concatenate([whole((weights,), 2, 1) / 2, whole((sum(sizes[1:]),), 1, 2)])
    net = dx.Network(sizes, "relu", "squared-error", backend=backend, dtype=dtype, theta=theta)
    step = dx.TrainingStep(net, dx.SGD(lr=2.0**-5), m)
    losses = [step(whole((6, m), 1, k), whole((3, m), 3, k)) for k in range(steps)]
    numbers = np.concatenate([dx.asnumpy(net.theta), dx.asnumpy(step.gradient.g), [float(J) for J in losses]])
    bits, unit = (24, 2.0**-16) if dtype == "float32" else (53, 2.0**-44)
    np.testing.assert_array_equal(numbers.astype(np.float64) / unit % 1.0, 0.0)  # a whole multiple
    assert 0 < np.abs(numbers).max() / unit < 2.0**bits and all(np.any(dx.asnumpy(dW)) for dW in step.gradient.dW[1:])
    return sha(net.theta, step.gradient.g, *[np.asarray(float(J)) for J in losses])


@pytest.mark.parametrize(("dtype", "wanted"), [("float64", "7cf62ab8d9c87852"), ("float32", "64bb71c7cd2d84b8")])
def test_a_training_without_rounding_has_the_same_bits_on_every_device(backend, dtype, wanted):
    assert exact_training(backend, dtype) == wanted


def test_the_updates_are_the_same_everywhere():
    """They are made of sums, products, quotients and roots, each rounded as IEEE 754 says."""
    from deepxp.ops import updates

    def vector(seed, low=-1.0):
        values = ((np.arange(500) * 2654435761 + seed * 40503) % 2**20 / 2**20).astype(np.float32)
        return values if low == 0 else 2 * values - 1

    rates = {
        "rate": 0.01,
        "mu": 0.9,
        "rho": 0.9,
        "eps": 1e-8,
        "beta1": 0.9,
        "beta2": 0.999,
        "scale": 1.5,
        "decay": 1e-3,
    }
    results = []
    for rule in (updates.sgd, updates.momentum, updates.nesterov, updates.rmsprop, updates.adam, updates.adamw):
        names = rule.__code__.co_varnames[1 : rule.__code__.co_argcount]
        arrays = [rates[n] if n in rates else vector(k, low=0 if n in "vs" else -1) for k, n in enumerate(names)]
        results += rule(np, *arrays)
    assert sha(*results) == "60f2822ff46b861d"


# --- the same on a platform -------------------------------------------------------------------------------------------


def blas():
    """The kernels that the BLAS chose for this processor, as threadpoolctl says; None where nothing says it."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    found = [
        info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas" and "numpy" in info["filepath"]
    ]
    return f"{found[0]['internal_api']} {found[0]['version']} {found[0].get('architecture')}" if found else None


def minor(package):
    return ".".join(metadata.version(package).split(".")[:2])


def key(engine):
    """What the results of an engine of the CPU depend on; None where it cannot be told."""
    core = blas()
    if core is None:
        return None
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    parts = [platform.machine(), core, f"numpy {minor('numpy')}", " ".join(simd), engine]
    if engine == "numba":
        from llvmlite import binding
        from numba import config

        from deepxp.kernels.team import size

        parts += [f"numba {minor('numba')}", config.CPU_NAME or binding.get_host_cpu_name(), f"a team of {size()}"]
    return "; ".join(parts)


def trained(engine):
    """The digits, learned a little, with dropout and a schedule, on one thread of the BLAS."""
    from importlib import import_module

    import threadpoolctl

    backend = Backend("cpu", np, import_module(f"deepxp.kernels.{engine}"))
    data = digits()
    with threadpoolctl.threadpool_limits(1, "blas"):
        net = dx.Network((64, 48, 32, 10), "gelu", backend=backend, seed=0, dropout=0.1)
        run = {"epochs": 2, "batch_size": 100, "optimizer": dx.Adam(lr=2e-3), "schedule": dx.Cosine(), "l2": 1e-4}
        history = dx.train(net, data.X.T / 16, data.y, clip_norm=1.0, **run)
        return sha(net.theta, net.predict_proba(data.X[:100].T / 16), np.array(history.loss))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_digits_are_learned_to_the_same_bits_as_before(engine):
    if engine == "numba":
        pytest.importorskip("numba", reason="the engine Numba is not installed")
    name, known = key(engine), json.loads(PLATFORMS.read_text())
    if name is None:
        pytest.skip("threadpoolctl, which tells the BLAS, is not installed, or does not know this one")
    if name not in known:
        pytest.skip(f"no hash is known for {name}; {ADD}")
    assert trained(engine) == known[name], f"results changed on {name}; if they should, {ADD}"


def test_learning_the_digits_twice_gives_the_same_bits():
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    assert trained("numpy") == trained("numpy")


def add():
    """Writes the hashes of this platform."""
    known = json.loads(PLATFORMS.read_text()) if PLATFORMS.exists() else {}
    for engine in ("numpy", "numba"):
        try:
            name, new = key(engine), trained(engine)
        except ImportError as error:
            print(f"{engine}: {error}")
            continue
        if name is None:
            sys.exit("threadpoolctl does not know this BLAS")
        print(f"{name}: {'as before' if known.get(name) == new else f'{known.get(name)} becomes {new}'}")
        known[name] = new
    PLATFORMS.parent.mkdir(exist_ok=True)
    PLATFORMS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    add()
