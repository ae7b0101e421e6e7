"""A training step recorded as a CUDA graph, on the double of CuPy: what is replayed is the step, bit for bit, with the
numbers of the step it stands for; and where it cannot be recorded it runs as it is."""

import gc
import importlib
import warnings

import numpy as np
import pytest
from cupy_double import cuda, install
from cupy_double.order import RaceError
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.backend import CupyBackend
from deepxp.kernels import graph, streams
from deepxp.step import MANY

STEPS = graph.WARM_UP + 3


def plainly(backend, step, X):
    def run(table=None):
        if table is not None:
            X[...] = table
        step(backend)

    return run


class Plain:
    """The kernels, without the recording."""

    def __init__(self, kernels):
        self._kernels, self.record = kernels, plainly

    def __getattr__(self, name):
        return getattr(self._kernels, name)


def plain(backend):
    return CupyBackend(backend.name, backend.xp, Plain(backend.kernels), backend.device, backend.read_loss_every)


@pytest.fixture
def machine(monkeypatch):
    return install(monkeypatch)


def batches(count, m=9):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((6, m)), rng.integers(0, 3, m)) for _ in range(count)]


def trained(backend, optimizer=None, steps=STEPS, lr=None, **options):
    step_options = {name: options.pop(name) for name in ("l2", "clip_norm") if name in options}
    net = dx.Network((6, 7, 5, 3), backend=backend, seed=1, **options)
    step = dx.TrainingStep(net, optimizer or dx.Adam(1e-2), 9, **step_options)
    losses = []
    for i, (X, y) in enumerate(batches(steps)):
        step.lr = lr[i] if lr else step.lr
        losses.append(float(step(X, y)))
    return losses, net, step


def graphs(step):
    return [recorded.graph for recorded in step._recorded.values()]


CASES = {
    "plain": {},
    "adamw": {"optimizer": dx.AdamW(1e-2)},
    "sgd": {"optimizer": dx.SGD(0.1)},
    "dropout": {"dropout": 0.5},
    "penalty and clipping": {"l2": 1e-2, "clip_norm": 0.1},
    "gelu": {"hidden": "gelu"},
    "double": {"dtype": "float64"},
    "a learning rate that changes": {"lr": [0.1 / (1 + i) for i in range(STEPS)]},
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_replayed_is_the_step_bit_for_bit(machine, case):
    gpu = dx.backend("gpu")
    J, net, step = trained(gpu, **CASES[case])
    expected, reference, _ = trained(plain(gpu), **CASES[case])
    assert [type(found) for found in graphs(step)] == [cuda.Graph], "nothing was recorded"
    assert_array_equal(J, expected)
    assert_array_equal(net.theta.get(), reference.theta.get())
    assert len(set(J)) == len(J)


def test_the_first_runs_are_plain_and_the_next_one_is_recorded(machine):
    _, _, step = trained(dx.backend("gpu"), steps=graph.WARM_UP)
    assert graphs(step) == [None]
    X, y = batches(1)[0]
    step(X, y)
    assert graphs(step) != [None]


def test_a_replayed_step_launches_no_kernel_of_its_own(machine):
    _, _, step = trained(dx.backend("gpu"))
    work = step.workspace(9, labels=True)
    with machine.counting() as seen:
        step.run(work, labels=True)
    assert seen.kernels == 1  # the copy of J
    assert seen.gemms == seen.host_waits == seen.host_to_device == seen.device_to_host == 0
    assert seen.sent_ahead == 1


def test_a_smaller_batch_has_a_graph_of_its_own(machine):
    _, _, step = trained(dx.backend("gpu"))
    X, y = batches(1)[0]
    for _ in range(STEPS):
        step(X[:, :4], y[:4])
    first, second = graphs(step)
    assert isinstance(second, cuda.Graph) and second is not first


def test_the_memory_of_a_graph_stays_while_the_graph_does(machine):
    """The definition of softmax' derivative makes temporaries on its way; they are from the graph's own pool."""
    _, _, step = trained(dx.backend("gpu"), hidden="softmax")
    assert graphs(step) != [None]
    (recorded,) = step._recorded.values()
    recorded._pool = None
    gc.collect()
    with pytest.raises(RuntimeError, match="memory that was given back"):
        step(*batches(1)[0])


def test_a_table_of_the_device_is_read_wherever_it_is(machine):
    """Large tables are handed in as they are; the graph knows one place."""
    gpu, results = dx.backend("gpu"), []
    for as_it_is in (False, True):
        net = dx.Network((400, 5, 3), backend=gpu, seed=1)
        step, random = dx.TrainingStep(net, dx.Adam(1e-2), 50), np.random.default_rng(0)
        for _ in range(STEPS):
            table = gpu.asarray(random.standard_normal((50, 400)), "float32")
            assert net.takes(table) and table.size >= MANY
            step(table.T if as_it_is else dx.asnumpy(table).T, random.integers(0, 3, 50))
        results.append(net.theta.get())
    assert_array_equal(*results)


# where it cannot be recorded


def test_a_step_that_cannot_be_recorded_runs_as_it_is_and_says_so_once(machine, monkeypatch):
    expected = trained(plain(dx.backend("gpu")))[0]
    dense = importlib.import_module("deepxp.kernels.cupy")
    product = dense.product

    def waits(xp, A, B, out, alpha=1.0):
        if cuda.capturing() is not None:
            float(out[0, 0])
        product(xp, A, B, out, alpha)

    monkeypatch.setattr(dense, "product", waits)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        J, _, step = trained(dx.backend("gpu"))
    assert_array_equal(J, expected)
    assert graphs(step) == [None]
    (warning,) = said
    assert "could not be recorded on gpu:0 and runs kernel by kernel" in str(warning.message)
    assert "capturing" in str(warning.message)
    stream = streams._streams.made["compute", 0][0]
    assert not stream.is_capturing()  # a capture that is not ended would hold up everything else
    assert gc.isenabled()


def test_a_capture_that_cannot_be_ended_is_no_reason_to_fail(machine, monkeypatch):
    def void(self):
        self._captured = None
        raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture")

    monkeypatch.setattr(cuda.Stream, "end_capture", void)
    with pytest.warns(RuntimeWarning, match="CaptureInvalidated"):
        J, _, step = trained(dx.backend("gpu"))
    monkeypatch.undo()
    assert graphs(step) == [None]
    assert len(J) == STEPS


def test_garbage_is_not_collected_during_the_capture(machine, monkeypatch):
    seen, begin, end = [], cuda.Stream.begin_capture, cuda.Stream.end_capture
    monkeypatch.setattr(cuda.Stream, "begin_capture", lambda self: (seen.append(gc.isenabled()), begin(self))[1])
    monkeypatch.setattr(cuda.Stream, "end_capture", lambda self: (seen.append(gc.isenabled()), end(self))[1])
    trained(dx.backend("gpu"))
    assert seen == [False, False]
    assert gc.isenabled()


# on one stream, joined with the caller's


def test_everything_is_asked_for_on_a_stream_that_can_be_recorded(machine):
    gpu = dx.backend("gpu")
    with gpu.active():
        stream = gpu.xp.cuda.get_current_stream()
        assert stream.is_non_blocking
        with gpu.active():
            assert gpu.xp.cuda.get_current_stream() is stream
        assert gpu.xp.cuda.get_current_stream() is stream
    assert gpu.xp.cuda.get_current_stream().ptr == 0


def test_what_the_caller_reads_comes_after_what_was_asked_for(machine):
    """The double raises RaceError where no event says so; every test on it is a test of that."""
    gpu = dx.backend("gpu")
    with gpu.active():
        x = gpu.zeros((3,), "float32") + 1.0
    assert_array_equal((x + 1.0).get(), 2.0)
    y = gpu.xp.ones(3)
    with gpu.active():
        assert_array_equal((y + 1.0).get(), 2.0)


def test_the_double_sees_a_stream_that_is_not_joined(machine):
    import cupy as cp

    x = cp.ones(3)
    with pytest.raises(RaceError, match="may still be writing"), cp.cuda.Stream(non_blocking=True):
        x + 1.0
    with cp.cuda.Stream(non_blocking=True):
        y = cp.ones(3)
    with pytest.raises(RaceError, match="may still be writing"):
        y.get()


def test_an_array_may_not_be_written_while_another_stream_reads_it(machine):
    import cupy as cp

    with cp.cuda.Stream(non_blocking=True) as one:
        x = cp.ones(3)
        event = one.record()
    with cp.cuda.Stream(non_blocking=True) as other:
        other.wait_event(event)
        y = x + 1.0
        done = other.record()
    with one:
        with pytest.raises(RaceError, match="may still be reading"):
            x += 1.0
        one.wait_event(done)
        x += 1.0
        assert_array_equal((x + y).get(), 4.0)


# numbers that are sent ahead


def test_numbers_arrive_in_the_order_of_the_stream(machine):
    gpu = dx.backend("gpu")
    sent, read = gpu.numbers(2, "float32")
    seen = []
    with gpu.active(), machine.counting() as counted:
        for i in range(streams.SLOTS):
            sent[:] = (i, -i)
            seen.append(read + 0.0)
    assert counted.host_waits == counted.host_to_device == 0
    for i, pair in enumerate(seen):
        assert_array_equal(pair.get(), [i, -i])


def test_a_slot_is_used_again_when_its_copy_is_done(machine):
    gpu = dx.backend("gpu")
    sent, read = gpu.numbers(1, "uint64")
    with gpu.active():
        for i in range(3 * streams.SLOTS):
            sent[:] = (i,)
        assert int(read[0]) == 3 * streams.SLOTS - 1


def test_the_double_sees_a_slot_that_is_used_too_early(machine, monkeypatch):
    gpu = dx.backend("gpu")
    monkeypatch.setattr(cuda.Event, "synchronize", lambda self: None)
    sent, _ = gpu.numbers(1, "float32")
    with gpu.active():
        for i in range(streams.SLOTS):
            sent[:] = (i,)
        with pytest.raises(RaceError, match="page-locked memory is used again"):
            sent[:] = (0,)


# several devices


def test_a_recorded_step_is_all_on_its_own_device(monkeypatch):
    machine = install(monkeypatch, devices=2)
    import cupy as cp

    X, _ = batches(1)[0]
    first = trained(dx.backend("gpu:0"))
    expected, used = first[1].theta.get(), machine.used[0]
    nets = [trained(dx.backend("gpu:1"), dropout=rate) for rate in (0.0, 0.5)]
    assert cp.cuda.runtime.getDevice() == 0
    assert machine.used[0] == used
    assert_array_equal(nets[0][1].theta.get(), expected)
    for _, net, step in nets:
        assert graphs(step) != [None]
        assert net.theta.device.id == 1
        assert isinstance(net.predict(X), np.ndarray)
    assert {stream.device_id for stream, _ in streams._streams.made.values()} == {0, 1}
    assert len(machine.cublas.handles) == 2


def test_two_devices_train_at_the_same_time(monkeypatch):
    """Two networks take turns, step by step: each on its device, stream and graph, neither disturbs the other."""
    install(monkeypatch, devices=2)
    expected = trained(dx.backend("gpu:0"))[1].theta.get()
    steps = [
        dx.TrainingStep(dx.Network((6, 7, 5, 3), backend=name, seed=1), dx.Adam(1e-2), 9) for name in ("gpu:0", "gpu:1")
    ]
    for X, y in batches(STEPS):
        for step in steps:
            step(X, y)
    for step in steps:
        assert graphs(step) != [None]
        assert_array_equal(step.net.theta.get(), expected)
