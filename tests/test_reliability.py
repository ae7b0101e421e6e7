"""docs/reliability.md: every promise names a test, every test that it names exists, and the figures in it hold."""

import ast
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import deepxp as dx
from deepxp.backend import Backend
from deepxp.data import digits

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"`(tests/\w+\.py)::(\w+)`")

needs_checkout = pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents are not beside these tests")


def named_in(path):
    return {node.name for node in ast.parse((ROOT / path).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@needs_checkout
def test_every_test_that_is_named_exists():
    named = NAMED.findall(DOCUMENT.read_text("utf-8"))
    assert len(named) > 40
    missing = [f"{path}::{name}" for path, name in named if name not in named_in(path)]
    assert missing == []


@needs_checkout
def test_every_promise_names_a_test():
    lines = DOCUMENT.read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "held by" not in line]
    bare = [row for row in rows if not set(row) <= set("| -") and not NAMED.search(row) and "not tested" not in row]
    assert len(rows) > 30 and bare == []


def epoch(engine, dtype="float32"):
    kernels = None if engine == "reference" else import_module(f"deepxp.kernels.{engine}")
    data = digits()
    net = dx.Network((64, 256, 128, 10), backend=Backend("cpu", np, kernels), seed=0, dtype=dtype)
    dx.train(net, data.X.T / 16, data.y, epochs=1, batch_size=64, optimizer=dx.SGD(lr=0.05))
    return net.theta


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_engines_end_an_epoch_close_to_each_other(engine):
    """Measured: 3e-8 between Numba and the definitions, 2.2e-7 from float32 to float64."""
    if engine == "numba":
        pytest.importorskip("numba", reason="the engine Numba is not installed")
    theta = epoch(engine)
    np.testing.assert_allclose(theta, epoch("reference"), rtol=0, atol=1e-5)
    np.testing.assert_allclose(theta, epoch("reference", "float64"), rtol=0, atol=1e-5)
