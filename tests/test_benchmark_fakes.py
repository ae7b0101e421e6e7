"""A world in which time is what the test says it is: backends that charge a clock for every operation.

Costs are exact: an operation takes a launch, and its floating-point operations or bytes at the rates of its device. A
device that is not the CPU works asynchronously: its time passes only when it is waited for.
"""

from dataclasses import fields, replace

import numpy as np
import pytest

import deepxp as dx
from deepxp.benchmark.contenders import Contender, contenders, find
from deepxp.benchmark.results import Settings
from deepxp.benchmark.run import run

FAST = {"launch": 2**-17, "flops": 2**36, "bytes": 2**38, "transfer": 2**-13, "bus": 2**33, "compile": 2**-4}
SLOW = {"launch": 2**-20, "flops": 2**30, "bytes": 2**33, "compile": 2**-6}
SETTINGS = Settings((2, 8, 32, 128), (4, 16), "float32", 3, 2**-16, 100.0, 0.2)


class World:
    def __init__(self):
        self.now = 0.0
        self.waiting = {}

    def clock(self):
        return self.now

    def backend(self, backend, rates, *, sync=True):
        """The backend, with time. It really computes what is small."""
        seen, asynchronous = set(), "bus" in rates
        self.waiting[backend.name] = 0.0

        def spend(seconds):
            if asynchronous:
                self.waiting[backend.name] += seconds
            else:
                self.now += seconds

        class Charged(type(backend)):
            def __getitem__(self, op):
                compute = super().__getitem__(op)

                def charged(*arguments):
                    spend(0.0 if op.__name__ in seen else rates["compile"])
                    seen.add(op.__name__)
                    spend(cost(op.__name__, arguments, rates))
                    return compute(*arguments) if max(map(size, arguments)) < 20_000 else None

                return charged

            def write(self, out, x):
                moved = out.size * out.dtype.itemsize
                if asynchronous and isinstance(x, np.ndarray):
                    spend(rates["transfer"] + moved / rates["bus"])
                else:
                    spend(rates["launch"] + 2 * moved / rates["bytes"])
                super().write(out, x)

            def record(self, step, X):  # a recording would compute without being seen
                def run(table=None):
                    if table is not None:
                        X[...] = table
                    step(self)

                return run

            def synchronize(world):
                super().synchronize()
                if sync:
                    self.now += self.waiting[backend.name]
                    self.waiting[backend.name] = 0.0

        return Charged(**{field.name: getattr(backend, field.name) for field in fields(backend)})


def size(x):
    return getattr(x, "size", 0)


def cost(name, arguments, rates):
    """Seconds of one operation, by its name in deepxp.ops."""
    flops = moved = 0
    match name, arguments:
        case ("dense_forward", [W, _, A, *_]) | ("input_gradient", [W, A, *_]):
            flops = 2 * W.size * A.shape[1]
        case "weight_gradient", [dZ, A, _]:
            flops = 2 * dZ.shape[0] * A.shape[0] * A.shape[1]
        case ("softmax" | "softmax_cross_entropy_labels", [Z, *_]):
            moved = 2 * Z.size * Z.itemsize
    return rates["launch"] + flops / rates["flops"] + moved / rates["bytes"]


def step_seconds(m, n, rates):
    """What a step of n-n-n-10 costs: 3 forward, 3 activation backward, 3 + 2 products back, loss, cost, update."""
    W = [n * n, n * n, 10 * n]
    flops = 2 * m * (3 * sum(W) - W[0])
    return 14 * rates["launch"] + flops / rates["flops"] + 2 * 10 * m * 4 / rates["bytes"]


def transfer_seconds(m, n, rates):
    """A batch (m, n) of float32 and its labels of int32."""
    return 2 * rates["transfer"] + (4 * m * n + 4 * m) / rates["bus"]


def pair(world, cpu=SLOW, gpu=FAST):
    """The CPU's definitions, and NumPy dressed up as a GPU: its memory counts as the host's."""
    return (
        Contender("cpu definitions", "cpu", "definitions", True, world.backend(dx.Backend("cpu", np), cpu), 0.25),
        Contender("gpu:0", "gpu:0", "cupy", True, world.backend(dx.Backend("gpu:0", np), gpu), 0.5),
    )


def doubled(world, cpu=SLOW, gpu=FAST):
    """The CPU's engines and the double of CuPy, opened as they are for users; needs the fixture cupy_double."""
    found, _ = find(world.clock)
    racing = contenders(found, None, world.clock)
    rates = {"cpu": cpu, "gpu:0": gpu}
    chosen = [c for c in racing if c.default]
    return found, tuple(replace(c, backend=world.backend(c.backend, rates[c.device])) for c in chosen)


def measured(world, racing, found=(), settings=SETTINGS, **more):
    return run(settings, racing, tuple(found), world.clock, version="9.9", **more)


@pytest.fixture
def both(cupy_double):
    """The results on a CPU and on the double of a GPU whose speeds are known."""
    world = World()
    found, racing = doubled(world)
    return measured(world, racing, found, finding_seconds=2.0)


def test_time_stands_still_until_something_is_computed():
    world = World()
    backend = world.backend(dx.Backend("cpu", np), SLOW)
    assert world.clock() == world.clock() == 0.0
    backend[dx.ops.activations.softmax](np.ones((4, 2), np.float32))
    assert world.clock() == SLOW["compile"] + SLOW["launch"] + 64 / SLOW["bytes"]


def test_time_of_an_asynchronous_device_passes_when_it_is_waited_for():
    world = World()
    backend = world.backend(dx.Backend("gpu:0", np), FAST)
    backend[dx.ops.activations.softmax](np.ones((4, 2), np.float32))
    assert world.clock() == 0.0
    backend.synchronize()
    assert world.clock() == FAST["compile"] + FAST["launch"] + 64 / FAST["bytes"]


@pytest.mark.parametrize("rates", [SLOW, FAST])
def test_the_cost_of_a_step_is_the_sum_of_its_operations(rates):
    world = World()
    net = dx.Network((4, 4, 4, 10), backend=world.backend(dx.Backend("gpu:0", np), rates))
    step = dx.TrainingStep(net, batch_size=8)
    work = step.workspace(8, labels=True)
    work.X[...], work.Y[...] = 0.5, 3
    step.run(work, labels=True)
    net.backend.synchronize()
    before = world.clock()
    step.run(work, labels=True)
    net.backend.synchronize()
    assert world.clock() - before == pytest.approx(step_seconds(8, 4, rates), rel=1e-9)
