"""From a definition to compiled code: its precision, the definitions that it calls, and what is kept on disk."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("numba", reason="Numba is not installed: the compiled kernels are not used")

from numba import njit

from deepxp.kernels import scalars
from deepxp.kernels.compile import body, fingerprint, kept, lasting
from deepxp.ops import activations, updates


def scaled(factor):
    def leaky(xp, Z):
        return xp.maximum(Z, factor * Z)

    return leaky


def applied(definition, dtype, x):
    xp, function = scalars.namespace(dtype), body(definition, dtype)

    def loop(x, y):
        for i in range(x.size):
            y[i] = function(xp, x[i])

    y = np.empty_like(x)
    kept(loop, definition, dtype)(x, y)
    return y


def test_constants_take_the_precision_of_the_data():
    xp, sigmoid = scalars.namespace("float32"), body(activations.sigmoid, "float32")

    @njit  # anew: what comes from the disk cannot be looked into
    def loop(x, y):
        for i in range(x.size):
            y[i] = sigmoid(xp, x[i])

    loop(np.ones(9, "float32"), np.ones(9, "float32"))
    assert "fpext float" not in next(iter(loop.inspect_llvm().values()))


def test_a_definition_may_call_another():
    Z = np.linspace(-3, 3, 50)
    assert_allclose(applied(activations.silu, "float64", Z), activations.silu(np, Z), rtol=1e-13)


def test_a_definition_may_close_over_a_number():
    Z = np.linspace(-3, 3, 50)
    for factor in (0.1, 0.2):
        assert_allclose(applied(scaled(factor), "float64", Z), scaled(factor)(np, Z), rtol=1e-15)


def test_what_a_definition_says_is_its_fingerprint():
    assert fingerprint(scaled(0.1)) == fingerprint(scaled(0.1))
    assert fingerprint(scaled(0.1)) != fingerprint(scaled(0.2))
    assert fingerprint(activations.relu) != fingerprint(activations.leaky_relu)
    assert fingerprint(updates.adam) != fingerprint(updates.adamw)


PROGRAM = """
import numpy as np
import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numba as kernels
import numba.core.caching as caching
found = []
load = caching.Cache.load_overload
def counted(self, *arguments):
    found.append((result := load(self, *arguments)) is not None)
    return result
caching.Cache.load_overload = counted
net = dx.Network((5, 4, {units}), hidden="{g}", backend=Backend("cpu", np, kernels), dtype="float64")
step = dx.TrainingStep(net, dx.Adam(), 6)
X = np.linspace(-1, 1, 30).reshape(5, 6)
for _ in range(3):
    J = step(X, np.arange(6) % {units})
print(sum(found), len(found), repr(float(J)))
"""


def run(folder, **values):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(**values)], env=environment, capture_output=True, text=True, check=True
    )
    hits, asked, J = result.stdout.split()
    return int(hits), int(asked), J


def test_a_second_process_compiles_nothing_and_computes_the_same(tmp_path):
    hits, asked, J = run(tmp_path, g="gelu", units=3)
    assert hits == 0 < asked
    # another net in between, so that the counters in Numba's names meet again in the third process
    run(tmp_path, g="tanh", units=3)
    hits, asked, again = run(tmp_path, g="gelu", units=3)
    assert hits == asked > 0
    assert again == J


def test_machine_code_is_kept_only_where_its_key_is_all_that_it_depends_on():
    def of_a_module(xp, Z):
        return np.pi * Z

    def nested(xp, Z):
        return (lambda x: x)(Z)

    for definition in (activations.silu, updates.adamw, scaled(0.1)):
        assert lasting(definition)
    for definition in (of_a_module, nested, scaled(np.ones(3))):
        assert not lasting(definition)


def test_functions_that_differ_in_a_string_differ():
    def first(x):
        """Says one thing."""
        return x if "a" == "a" else -x

    def other(x):
        """Says another."""
        return x if "a" == "a" else -x

    def third(x):
        return {"kind": "z"}["kind"] and x

    def fourth(x):
        return {"kind": "y"}["kind"] and x

    assert fingerprint(first) == fingerprint(other)
    assert fingerprint(third) != fingerprint(fourth)


TEXT = """
def bent(xp, Z):
    return Z / (1.0 + xp.abs(Z))


def bent_backward(xp, dA, Z):
    d = 1.0 + xp.abs(Z)
    return dA / (d * d)
"""


def test_machine_code_outlives_the_module_that_it_was_made_for(tmp_path):
    program = (
        "import sys, numpy as np, deepxp as dx, {name}\n"
        "net = dx.Network((4, 5, 3), dx.Activation('bent', {name}.bent, {name}.bent_backward), backend='cpu', seed=0)\n"
        "print(dx.train(net, np.ones((4, 6)), np.arange(6) % 3, epochs=1).loss)"
    )
    said = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(TEXT)
        environment = os.environ | {
            "NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        }  # fmt: skip
        command = [sys.executable, "-c", program.format(name=name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
