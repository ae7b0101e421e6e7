"""What is timed: first call, transfer and compute apart, exactly, on a clock that only the test moves."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from cupy_double import cupy_double  # noqa: F401 - fixtures
from test_benchmark_fakes import (
    FAST,
    SETTINGS,
    SLOW,
    World,
    both,  # noqa: F401
    doubled,
    measured,
    pair,
    step_seconds,
    transfer_seconds,
)

import deepxp as dx
from deepxp.benchmark.measure import (
    ITEMS,
    MOST_REPEATS,
    PRODUCTS,
    Batch,
    Call,
    Stopwatch,
    Timing,
    calls,
    square_product,
)
from deepxp.benchmark.run import peak
from deepxp.kernels.cublas import WORKSPACE
from deepxp.pages.words import duration


class Device:
    """A backend as far as a stopwatch knows it. Work is done when it is waited for."""

    def __init__(self, world, name="d"):
        self.world, self.name, self.due, self.log = world, name, 0.0, []

    def active(self):
        return nullcontext()

    def synchronize(self):
        self.world.now += self.due
        self.due = 0.0
        self.log.append("wait")

    def doing(self, *seconds):
        """A call that takes these seconds, the last of them ever after."""
        left = list(seconds)

        def work():
            self.due += left.pop(0) if len(left) > 1 else left[0]
            self.log.append("work")
            if hasattr(self.world, "order"):
                self.world.order.append(self.name)

        return Call(self, work)


def timed(world, *seconds, rounds=5, least=0.0, limit=1e9):
    return Stopwatch(world.clock, rounds, least).compare({"x": Device(world).doing(*seconds)}, limit)["x"]


# the stopwatch


def test_a_device_is_waited_for_before_both_readings():
    world = World()
    device = Device(world)
    device.due = 100.0  # what was asked of it before must not count
    assert Stopwatch(world.clock).once(device.doing(2.0), 3) == 6.0
    assert device.log == ["wait", "work", "work", "work", "wait"]


def test_the_first_call_is_apart_and_the_rest_is_a_median():
    found = timed(World(), 50.0, 1.0, 9.0, 2.0, 3.0, 4.0)
    assert found == Timing(first=50.0, seconds=3.0, low=1.0, high=9.0, rounds=5, repeats=1)


def test_a_round_lasts_long_enough_for_any_clock():
    found = timed(World(), 2**-10, least=1.0)
    assert found.repeats >= 2**10
    assert found.seconds == found.first == 2**-10
    assert timed(World(), 0.0, least=1.0).repeats == MOST_REPEATS  # a clock that does not move ends it, too


def test_the_limit_ends_the_rounds_but_never_leaves_nothing():
    assert timed(World(), 1.0, 1.0, rounds=100, limit=10.0).rounds == 10
    assert timed(World(), 1.0, 30.0, limit=10.0) == Timing(1.0, 30.0, 30.0, 30.0, 1, 1)


def test_a_long_first_call_does_not_count_against_the_limit():
    assert timed(World(), 1000.0, 1.0, limit=10.0).rounds == 5


def test_contenders_take_turns_and_change_places():
    world = World()
    world.order = []
    two = {name: Device(world, name).doing(1.0) for name in "ab"}
    Stopwatch(world.clock, 4, 0.0).compare(two, 1e9)
    assert "".join(world.order) == "ababbaabba"  # first calls, then four rounds


def test_slowness_that_comes_and_goes_hits_both_alike():
    world = World()
    world.order = []
    two = {name: Device(world, name).doing(1.0, 1.0, 8.0, 8.0, 1.0) for name in "ab"}
    found = Stopwatch(world.clock, 5, 0.0).compare(two, 1e9)
    assert found["a"] == found["b"]


def test_running_out_of_memory_is_a_result():
    world = World()

    def fails():
        raise MemoryError("Out of memory allocating\n 512 bytes")

    found = Stopwatch(world.clock, 2, 0.0).compare(
        {"x": Call(Device(world), fails), "y": Device(world).doing(1.0)}, 9.0
    )
    assert found["x"] == "out of memory: Out of memory allocating 512 bytes"
    assert found["y"].seconds == 1.0


# what is timed


def test_every_item_is_an_operation_of_the_backend():
    world = World()
    backend = pair(world)[1].backend
    named = calls(backend, Batch(8, 4, "float32"), dx.TrainingStep(dx.Network((4, 4, 4, 10), backend=backend)))
    assert set(named) == {*ITEMS} - {"transfer"}
    for item, call in named.items():
        before = world.now + world.waiting["gpu:0"]
        call.run()
        assert world.now + world.waiting["gpu:0"] > before, item


def test_repeating_a_step_changes_no_weight():
    backend = dx.backend("cpu")
    net = dx.Network((4, 4, 4, 10), backend=backend)
    before = net.theta.copy()
    step = dx.TrainingStep(net, dx.Adam(lr=dx.benchmark.run.LEARNING_RATE), 8)
    run = calls(backend, Batch(8, 4, "float32"), step)["step"].run
    for _ in range(50):
        run()
    weights = net.parameters.weights.size
    np.testing.assert_array_equal(net.theta[:weights], before[:weights])


# the sweep


def test_compute_is_what_the_operations_cost(both):  # noqa: F811
    for cell in both.cells:
        rates = SLOW if cell.contender.startswith("cpu") else FAST
        m, n = cell.m, cell.n
        product = rates["launch"] + 2 * n * n * m / rates["flops"]
        pass_over = rates["launch"] + 2 * 4 * n * m / rates["bytes"]
        expected = dict.fromkeys(PRODUCTS, product) | dict.fromkeys(("softmax", "copy", "loss"), pass_over)
        expected |= {"step": step_seconds(m, n, rates)}
        for item, seconds in expected.items():
            found = cell.items[item]
            assert found.seconds == pytest.approx(seconds, rel=1e-9), (item, cell.contender)
            assert found.low_seconds == pytest.approx(seconds, rel=1e-9)
            assert found.high_seconds == pytest.approx(seconds, rel=1e-9)


def test_transfer_is_apart_and_zero_where_memory_is_shared(both):  # noqa: F811
    for cell in both.cells:
        if cell.contender.startswith("cpu"):
            assert cell.transfer_seconds == 0.0
            assert "transfer" not in cell.items
        else:
            assert cell.transfer_seconds == pytest.approx(transfer_seconds(cell.m, cell.n, FAST), rel=1e-9)
        assert cell.step_with_transfer_seconds == cell.items["step"].seconds + cell.transfer_seconds


def test_the_first_call_compiles_and_later_ones_do_not(both):  # noqa: F811
    cells = [cell for cell in both.cells if cell.contender == "gpu:0"]
    first, *later = cells
    # input_gradient has run before, for the peak; a step meets activation_backward, cost and update for the first time
    new = {"W A": 1, "dZ A^T": 1, "W^T dZ": 0, "softmax": 1, "loss": 1, "copy": 0, "transfer": 0, "step": 3}
    for item, times in new.items():
        found = first.items[item]
        assert found.first_seconds - found.seconds == pytest.approx(times * FAST["compile"], rel=1e-9, abs=1e-12), item
    for cell in later:
        for item, found in cell.items.items():
            assert found.first_seconds == pytest.approx(found.seconds, rel=1e-9), item
    gpu = next(row for row in both.contenders if row.name == "gpu:0")
    assert gpu.peak.first_seconds == pytest.approx(FAST["compile"] + FAST["launch"] + 2**25 / FAST["flops"], rel=1e-9)


def test_the_peak_is_of_the_largest_square_product_in_reasonable_time(both):  # noqa: F811
    peaks = {row.device: row.peak for row in both.contenders}
    # 256: 31 ms, the next would take over 0.2 s
    assert (peaks["cpu"].N, peaks["gpu:0"].N) == (256, 1024)
    for name, rates in (("cpu", SLOW), ("gpu:0", FAST)):
        N = peaks[name].N
        seconds = rates["launch"] + 2 * N**3 / rates["flops"]
        assert peaks[name].seconds == pytest.approx(seconds, rel=1e-9)
        assert peaks[name].gflops == pytest.approx(2 * N**3 / seconds / 1e9, rel=1e-9)


def test_percent_of_the_peak_and_of_a_copy(both):  # noqa: F811
    peaks = {row.name: row.peak.gflops for row in both.contenders}
    for cell in both.cells:
        rates = SLOW if cell.contender.startswith("cpu") else FAST
        flops, moved = 2 * cell.n**2 * cell.m, 2 * 4 * cell.n * cell.m
        for product in PRODUCTS:
            found = cell.items[product]
            gflops = flops / (rates["launch"] + flops / rates["flops"]) / 1e9
            assert found.gflops == pytest.approx(gflops, rel=1e-9)
            assert found.percent_of_peak == pytest.approx(100 * gflops / peaks[cell.contender], rel=1e-9)
        gb = moved / (rates["launch"] + moved / rates["bytes"]) / 1e9
        assert cell.items["softmax"].gb_per_second == pytest.approx(gb, rel=1e-9)
        assert cell.items["copy"].gb_per_second == pytest.approx(gb, rel=1e-9)
        assert cell.items["softmax"].percent_of_copy == pytest.approx(100.0, rel=1e-9)
        assert cell.items["step"].gflops is cell.items["step"].gb_per_second is cell.items["loss"].gflops is None


def test_the_square_product_is_of_two_matrices():
    _, A, B, out = square_product(dx.backend("cpu"), 300, "float64").run.args  # of one with itself NumPy computes half
    assert A.shape == B.shape == out.shape == (300, 300)
    assert A.dtype == B.dtype == out.dtype == np.float64
    assert not np.shares_memory(A, B)


def test_a_peak_that_does_not_fit_the_memory_is_the_largest_that_does(cupy_double):  # noqa: F811
    cupy_double.memory = 3 * 512 * 512 * 4 + 2**20  # 512 fits, 1024 does not
    world = World()
    _, racing = doubled(world)
    found = peak(Stopwatch(world.clock, 2, 0.0), racing[1], SETTINGS)
    assert found.N == 512


def test_what_would_take_too_long_is_not_begun():
    world, crawling = World(), SLOW | {"flops": 2**20}
    limit = 1.5 * step_seconds(32, 16, crawling)
    settings = replace(SETTINGS, limit_seconds=limit, peak_seconds=0.0)
    found = measured(world, pair(world, cpu=crawling), settings=settings)
    cell = {c.m: c for c in found.cells if c.n == 16 and c.contender == "cpu definitions"}
    assert cell[32].items["step"].rounds >= 1
    assert "step" not in cell[128].items
    said = f"would take about {duration(4 * step_seconds(32, 16, crawling))}, the limit is {duration(limit)}"
    assert cell[128].skipped["step"] == said
    assert cell[128].step_with_transfer_seconds is None


def test_what_is_mostly_overhead_is_not_taken_to_grow():
    world = World()
    settings = replace(SETTINGS, limit_seconds=20_000 * FAST["launch"], peak_seconds=0.0, m=(2, 8000))
    found = measured(world, pair(world), settings=settings)
    assert [c.skipped for c in found.cells if c.contender == "gpu:0"] == [{}] * 4  # 4000 times the work, not the time


def test_a_cell_ends_near_its_limit():
    world = World()
    slow = SLOW | {"launch": 1.0}  # each of the items takes a second or 14
    settings = replace(SETTINGS, m=(2,), n=(4,), rounds=1000, limit_seconds=100.0, peak_seconds=0.0)
    racing = pair(world, cpu=slow)[:1]
    measured(world, racing, settings=settings)
    assert world.now < 100 + 3 * 14 + 2 * 6 + 30


def test_out_of_memory_leaves_the_rest_standing(cupy_double):  # noqa: F811
    cupy_double.memory = 2**20 + WORKSPACE  # that of the products is there before anything else
    world = World()
    found, racing = doubled(world)
    settings = replace(SETTINGS, m=(2, 20_000), n=(16,))
    results = measured(world, racing, found, settings)
    cell = {(c.m, c.contender): c for c in results.cells}
    assert not cell[2, "gpu:0"].skipped
    assert not cell[20_000, racing[0].name].skipped
    assert set(cell[20_000, "gpu:0"].skipped) == {*ITEMS}
    assert cell[20_000, "gpu:0"].skipped["step"].startswith("out of memory: training with batches of 20000 needs")
    assert cell[20_000, "gpu:0"].transfer_seconds is None


def test_progress_is_told_from_0_to_1():
    world, seen = World(), []
    measured(world, pair(world), settings=replace(SETTINGS, m=(2, 8), n=(4,)), progress=lambda *x: seen.append(x))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert 0.9 < fractions[-1] < 1.0
    assert seen[-1][1] == "m = 8, n = 4: step"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_has_the_precision_that_was_asked_for(dtype):
    batch = Batch(5, 3, dtype)
    for x in (batch.W, batch.A, batch.dZ, batch.b, batch.X):
        assert x.dtype == dtype
    assert (batch.W.shape, batch.A.shape, batch.X.shape, batch.y.shape) == ((3, 3), (3, 5), (5, 3), (5,))
    assert batch.labels.max() < 3
