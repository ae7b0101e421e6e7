import math
import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels import numpy as numpy_kernels

NUMPY = Backend("numpy", np, numpy_kernels)


def network(sizes=(4, 8, 3), hidden="tanh", loss="softmax-cross-entropy", **options):
    return dx.Network(sizes, hidden, loss, **{"backend": "cpu", "dtype": "float64", "seed": 2} | options)


def data(m=30, n=4, classes=3):
    """Samples around `classes` corners, not quite apart."""
    y = np.arange(m) % classes
    table = np.random.default_rng(1).standard_normal((m, n))
    table[np.arange(m), y % n] += 2.0
    return table.T, y


# a step is static


def bytes_of(call):
    """The most that Python and NumPy held at once during a call, beyond what they held before."""
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


SIZES, BATCH = (600, 500, 400, 300), 256
SMALLEST = 300 * BATCH * 4  # the smallest activation of SIZES in float32; the smallest W is larger
CASES = {
    "relu": {},
    "tanh": {"hidden": "tanh"},
    "silu": {"hidden": "silu"},
    "numbers": {"loss": "squared-error"},
    "several labels": {"loss": "sigmoid-cross-entropy"},
    "scaled": {"scaler": dx.data.Scaler("range", np.zeros(600), np.ones(600))},
}


@pytest.mark.parametrize("optimizer", [dx.Adam(), dx.AdamW(), dx.Nesterov()], ids=lambda o: o.name)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", [NUMPY, "cpu"], ids=["numpy", "cpu"])
def test_a_warm_step_allocates_no_arrays(backend, case, optimizer):
    net = network(SIZES, **{"backend": backend, "dtype": "float32", "hidden": "relu"} | CASES[case])
    step = dx.TrainingStep(net, optimizer, BATCH, l2=1e-4, clip_norm=1.0)
    labels = net.loss.evaluate_labels is not None
    work = step.workspace(BATCH, labels=labels)
    work.X[...], work.Y[...] = 0.5, 1
    assert bytes_of(lambda: step.run(work, labels=labels)) < SMALLEST / 4  # NumPy buffers of 8192 numbers


def test_a_warm_step_with_dropout_allocates_only_the_bits_that_the_host_draws():
    net = network(SIZES, backend=NUMPY, dtype="float32", dropout=0.5)
    step = dx.TrainingStep(net, dx.SGD(), BATCH)
    work = step.workspace(BATCH, labels=True)
    work.X[...], work.Y[...] = 0.5, 1
    masks = 2 * 500 * BATCH  # the larger of the two; the other may still be alive beside it
    assert bytes_of(lambda: step.run(work, labels=True)) < 2 * masks + SMALLEST / 4


def with_kernels(**kernels):
    """The NumPy kernels, some of them replaced."""
    return Backend("changed", np, SimpleNamespace(**vars(numpy_kernels) | kernels))


def test_the_measure_sees_one_stray_temporary():
    def input_gradient(xp, W, dZ, dA_prev):
        dA_prev[...] = W.T @ dZ

    net = network(SIZES, backend=with_kernels(input_gradient=input_gradient), dtype="float32")
    step = dx.TrainingStep(net, dx.Adam(), BATCH)
    work = step.workspace(BATCH, labels=True)
    work.X[...], work.Y[...] = 0.5, 1
    assert bytes_of(lambda: step.run(work, labels=True)) > SMALLEST


def test_batches_of_the_numbers_type_are_gathered_in_place():
    """A whole warm epoch: the order, the batches, the steps and the copy of theta to go back to."""
    net = network(SIZES, backend=NUMPY, dtype="float32", hidden="relu")
    table, y = np.zeros((4 * BATCH, 600), np.float32), np.zeros(4 * BATCH, int)
    seen = []

    def on_step(step, steps, loss):
        if step == 1:
            tracemalloc.reset_peak()
            seen.append(tracemalloc.get_traced_memory()[0])
        if step == steps:
            seen.append(tracemalloc.get_traced_memory()[1])

    tracemalloc.start()
    try:
        dx.train(net, table.T, y, epochs=2, batch_size=BATCH, on_step=on_step)
    finally:
        tracemalloc.stop()
    assert seen[3] - seen[2] < SMALLEST / 4


def test_the_loss_of_a_step_is_not_overwritten_by_the_next():
    net, (X, y) = network(), data()
    step = dx.TrainingStep(net, dx.SGD(), 30)
    first = step(X, y)
    value = float(first)
    second = step(X, y)
    assert float(first) == value != float(second)


def test_the_loss_is_that_before_the_update():
    net, (X, y) = network(), data()
    before = dx.evaluate(net, X, y)["loss"]
    assert_allclose(float(dx.TrainingStep(net, dx.SGD(), 30)(X, y)), before, rtol=1e-12)


# every kind of batch


@pytest.mark.parametrize(("M", "m"), [(30, 10), (30, 8), (30, 7), (30, 30), (30, 100), (30, 1), (1, 1), (1, 10)])
def test_every_sample_is_trained_on(M, m):
    """With a rate of almost nothing the reported loss is that of the whole table, whatever the batches."""
    net, (X, y) = network(), data(M)
    expected = dx.evaluate(net, X, y)["loss"]
    steps = []
    history = dx.train(
        net, X, y, epochs=1, batch_size=m, optimizer=dx.SGD(lr=1e-12), on_step=lambda i, n, loss: steps.append((i, n))
    )
    assert_allclose(history.loss, [expected], rtol=1e-9)
    count = -(-M // min(m, M))
    assert steps == [(i + 1, count) for i in range(count)]


def test_the_last_smaller_batch_is_trained_on():
    """Its gradient is the mean over its own samples."""
    (X, y), net, by_hand = data(7), network(), network()
    dx.train(net, X, y, epochs=1, batch_size=5, optimizer=dx.SGD(lr=0.5), shuffle=False)
    for rows in (slice(0, 5), slice(5, 7)):
        dx.TrainingStep(by_hand, dx.SGD(lr=0.5), 7)(X[:, rows], y[rows])
    assert_allclose(net.theta, by_hand.theta, rtol=1e-12)


def test_batches_of_changing_size_and_kind_do_not_meet():
    X, y = data()
    mixed, apart = network(), network()
    step = dx.TrainingStep(mixed, dx.Adam(), 30)
    fresh = dx.TrainingStep(apart, dx.Adam(), 30)
    Y = np.eye(3)[:, y]
    for i, m in enumerate((30, 3, 30, 1, 17, 30)):
        step(X[:, :m], y[:m] if i % 2 else Y[:, :m], np.arange(1.0, m + 1) if i == 4 else None)
        fresh(X[:, :m], Y[:, :m], np.arange(1.0, m + 1) if i == 4 else None)
    assert_allclose(mixed.theta, apart.theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["labels", "one-hot"])
def test_labels_and_one_hot_columns_are_the_same(kind):
    (X, y), net = data(), network()
    expected = network()
    dx.train(expected, X, y, epochs=3, batch_size=8)
    dx.train(net, X, y if kind == "labels" else np.eye(3)[:, y], epochs=3, batch_size=8)
    assert_allclose(net.theta, expected.theta, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": -5}, "batch_size must be at least 1, got -5"),
        ({"l2": -1.0}, r"l2 must be a finite number >= 0, got -1\.0"),
        ({"l2": math.nan}, "l2 must be"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"clip_norm": math.nan}, "clip_norm must be positive"),
        ({"patience": 3}, "patience >= 1 and validation data"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(dx.ConfigError, match=message):
        dx.train(network(), *data(), **options)


def test_patience_of_0():
    with pytest.raises(dx.ConfigError, match="patience >= 1"):
        dx.train(network(), *data(), validation=data(), patience=0)


# losses are exact


def planted(z):
    """A network of one layer with Z[L] = z for the sample x = 1."""
    net = network((1, len(z)), loss="softmax-cross-entropy" if len(z) > 1 else "sigmoid-cross-entropy")
    net.W[1][...] = np.reshape(z, (-1, 1))
    return net


def test_a_loss_of_1000_is_reported_as_1000():
    x = np.ones((1, 1))
    for net, y in ((planted([1000.0, 0.0]), [1]), (planted([1000.0]), [0]), (planted([-1000.0]), [1])):
        assert_allclose(float(dx.TrainingStep(net.to(), dx.SGD(), 1)(x, y)), 1000.0)
        assert_allclose(dx.evaluate(net, x, y)["loss"], 1000.0)


def test_cross_entropy_is_no_squared_error():
    assert_allclose(
        float(dx.TrainingStep(planted([0.0, math.log(3.0)]), dx.SGD(), 1)(np.ones((1, 1)), [0])), math.log(4)
    )


# the history


def test_a_record_an_epoch():
    net, (X, y) = network(), data()
    seen, steps = [], []
    history = dx.train(
        net, X, y, epochs=3, batch_size=8, validation=(X, y), on_epoch=seen.append, on_step=lambda *a: steps.append(a)
    )
    assert len(history) == 3 and list(history) == history.records == seen
    assert history["epoch"] == [1, 2, 3]
    assert set(history.records[0]) == {
        "epoch", "loss", "lr", "seconds", "validation_loss", "validation_accuracy", "validation_f1",
        *(f"norm_{letter}{l}" for letter in ("W", "dW") for l in range(1, net.L + 1)),
    }  # fmt: skip
    assert history.loss == history["loss"]
    assert all(seconds > 0 for seconds in history["seconds"])
    assert (history.best_epoch, history.stopped_early) == (3, False)
    assert [step[:2] for step in steps] == [(i, 4) for i in (1, 2, 3, 4)] * 3
    assert_allclose([steps[3][2], steps[11][2]], [history.loss[0], history.loss[2]], rtol=1e-12)


def test_norms_are_those_of_the_weights_and_of_the_last_gradient(backend):
    net, (X, y) = network(backend=backend, seed=3), data()
    seen = []

    def on_epoch(record):
        seen.append([float(np.linalg.norm(backend.asnumpy(W))) for W in net.W[1:]])

    history = dx.train(net, X, y, epochs=2, batch_size=30, optimizer=dx.SGD(lr=0.1), shuffle=False, on_epoch=on_epoch)
    twin = network(backend=backend, seed=3)
    step = dx.TrainingStep(twin, dx.SGD(lr=0.1), batch_size=30)
    for record, lengths in zip(history, seen, strict=True):
        assert_allclose([record["norm_W1"], record["norm_W2"]], lengths, rtol=1e-12)
        step(X, y)
        expected = [float(np.linalg.norm(backend.asnumpy(dW))) for dW in step.gradient.dW[1:]]
        assert_allclose([record["norm_dW1"], record["norm_dW2"]], expected, rtol=1e-12)


def test_validation_is_the_evaluation_of_that_epoch():
    net, (X, y) = network(), data()
    table, labels = np.random.default_rng(8).standard_normal((11, 4)), np.arange(11) % 3
    found = []
    history = dx.train(
        net,
        X,
        y,
        epochs=3,
        validation=(table.T, labels),
        on_epoch=lambda record: found.append(dx.evaluate(net, table.T, labels)),
    )
    for name in ("loss", "accuracy", "f1"):
        assert history[f"validation_{name}"] == [each[name] for each in found]
    assert len({each["loss"] for each in found}) == 3


def test_validation_data_are_checked_before_training():
    net = network()
    before = net.theta.copy()
    with pytest.raises(dx.ShapeError, match=r"pass X\.T"):
        dx.train(net, *data(), validation=(data()[0].T, data()[1]))
    with pytest.raises(dx.DataError, match=r"got 3 for sample 1"):
        dx.train(net, *data(), validation=(data()[0], np.full(30, 3)))
    assert_array_equal(net.theta, before)


# early stopping


def overfitting(patience, epochs=60, **options):
    """A run whose validation loss falls and then rises; also theta and the loss of every epoch."""
    rng = np.random.default_rng(5)
    net, thetas = network((4, 40, 3), seed=1), []
    X, y = rng.standard_normal((4, 24)), rng.integers(0, 3, 24)
    Xv, yv = rng.standard_normal((4, 40)), rng.integers(0, 3, 40)
    history = dx.train(
        net,
        X,
        y,
        epochs=epochs,
        batch_size=8,
        optimizer=dx.Adam(lr=0.02),
        validation=(Xv, yv),
        patience=patience,
        on_epoch=lambda record: thetas.append(net.theta.copy()),
        **options,
    )
    return net, history, thetas, dx.evaluate(net, Xv, yv)["loss"]


def test_the_best_weights_are_restored():
    net, history, thetas, loss = overfitting(patience=5)
    losses = history["validation_loss"]
    best = int(np.argmin(losses))
    assert history.stopped_early
    assert history.best_epoch == best + 1
    assert len(history) == best + 1 + 5 < 60
    assert_array_equal(net.theta, thetas[best])
    assert loss == losses[best] < losses[-1]


def test_without_a_stop_the_best_weights_are_restored_too():
    net, history, thetas, _ = overfitting(patience=100, epochs=20)
    best = int(np.argmin(history["validation_loss"]))
    assert best < 19 and not history.stopped_early
    assert history.best_epoch == best + 1
    assert_array_equal(net.theta, thetas[best])


def test_without_patience_the_last_weights_stay():
    net, history, thetas, _ = overfitting(patience=None, epochs=20)
    assert history.best_epoch == 20
    assert_array_equal(net.theta, thetas[-1])


def test_a_gain_within_min_delta_is_none():
    runs = {}
    for min_delta in (0.0, 0.5):
        net, (X, y) = network(), data()
        runs[min_delta] = dx.train(net, X, y, epochs=6, validation=(X, y), patience=2, min_delta=min_delta)
        assert (np.diff(runs[min_delta]["validation_loss"]) < 0).all()
    assert (len(runs[0.0]), runs[0.0].best_epoch, runs[0.0].stopped_early) == (6, 6, False)
    assert (len(runs[0.5]), runs[0.5].best_epoch, runs[0.5].stopped_early) == (3, 1, True)


def test_a_validation_loss_that_is_never_finite():
    X, y = data()
    with pytest.raises(dx.NonFiniteError, match="validation loss was never finite"):
        dx.train(network((4, 3)), X, y, epochs=4, validation=(np.full(X.shape, 1.7e308), y), patience=2)


# weights of samples and classes


def first_step(X, y, **options):
    """J, gradient and theta of the first step of a run over the whole table."""
    net = network()
    history = dx.train(net, X, y, epochs=1, batch_size=10_000, optimizer=dx.SGD(lr=1.0), shuffle=False, **options)
    return history.loss[0], network().theta - net.theta


def test_weights_are_duplicates():
    X, y = data(12)
    w = np.arange(12) % 4
    assert w.sum() > 0 and 0 in w
    weighted, duplicated = first_step(X, y, sample_weight=w), first_step(np.repeat(X, w, axis=1), np.repeat(y, w))
    assert_allclose(weighted[0], duplicated[0], rtol=1e-12)
    assert_allclose(weighted[1], duplicated[1], rtol=1e-10, atol=1e-14)
    assert abs(weighted[0] - first_step(X, y)[0]) > 1e-3


def test_weights_count_relative_to_each_other():
    X, y = data(12)
    w = np.arange(1.0, 13.0)
    one, other = first_step(X, y, sample_weight=w), first_step(X, y, sample_weight=1000 * w)
    assert_allclose(one[1], other[1], rtol=1e-12)
    assert_array_equal(first_step(X, y, sample_weight=np.full(12, 3.0))[1], first_step(X, y)[1])


def test_class_weights_are_sample_weights():
    X, y = data(13)
    y = np.where(y == 2, 0, y)
    for class_weight, w in (
        ({1: 3.0}, np.where(y == 1, 3.0, 1.0)),
        ([1.0, 3.0], np.where(y == 1, 3.0, 1.0)),
        ("balanced", 1.0 / np.bincount(y)[y]),
    ):
        one, other = first_step(X, y, class_weight=class_weight), first_step(X, y, sample_weight=w)
        assert_allclose(one[0], other[0], rtol=1e-12)
        assert_allclose(one[1], other[1], rtol=1e-11, atol=1e-15)


def test_both_weights_multiply():
    X, y = data(12)
    w = np.arange(1.0, 13.0)
    both = first_step(X, y, sample_weight=w, class_weight={1: 3.0})
    assert_allclose(both[1], first_step(X, y, sample_weight=w * np.where(y == 1, 3, 1))[1], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("loss", ["sigmoid-cross-entropy", "squared-error"])
def test_other_losses_take_weights(loss):
    (X, y), w = data(12, classes=2), np.arange(12) % 3
    thetas = []
    for weighted in (True, False):
        net = network((4, 5, 1), loss=loss)
        rows = np.arange(12) if weighted else np.repeat(np.arange(12), w)
        options = {"sample_weight": w} if weighted else {}
        dx.train(net, X[:, rows], y[rows], epochs=1, batch_size=99, optimizer=dx.SGD(), **options)
        thetas.append(net.theta)
    assert_allclose(*thetas, rtol=1e-10, atol=1e-13)


def test_an_error_of_a_callback_is_its_own():
    net, X, y = network(), *data()
    seen = []

    def on_epoch(record):
        seen.append(net.theta.copy())
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller") as caught:
        dx.train(net, X, y, epochs=2, on_epoch=on_epoch)
    assert not hasattr(caught.value, "history")
    assert_array_equal(net.theta, seen[0])


def test_many_classes_and_a_last_batch_of_few_samples():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3, 148)), rng.integers(0, 5000, 148)
    net = dx.Network((3, 5000), backend="cpu")
    history = dx.train(net, X, y, epochs=1, batch_size=128)
    assert math.isfinite(history.loss[0])


def test_weights_of_one_step():
    (X, y), w = data(12), np.arange(12) % 4
    one, other = network(), network()
    J = dx.TrainingStep(one, dx.SGD(), 12)(X, y, sample_weight=w / w.mean())  # in a step, weights are taken as given
    J_duplicated = dx.TrainingStep(other, dx.SGD(), 99)(np.repeat(X, w, axis=1), np.repeat(y, w))
    assert_allclose(float(J), float(J_duplicated), rtol=1e-12)
    assert_allclose(one.theta, other.theta, rtol=1e-11)


@pytest.mark.parametrize("w", [-np.ones(30), np.full(30, np.nan), np.zeros(30), np.ones(29)])
def test_bad_weights_are_refused(w):
    with pytest.raises(dx.DataError, match="weight"):
        dx.train(network(), *data(), sample_weight=w)


# how often the loss is read


class Read:
    """A loss on a device: it can be counted with, and knows when the host asks for it."""

    def __init__(self, value, reads):
        self.value, self.reads = value, reads

    def __mul__(self, m):
        return Read(self.value * m, self.reads)

    def __add__(self, other):
        return Read(self.value + other, self.reads)

    def __float__(self):
        self.reads.append(self.value)
        return float(self.value)


class Namespace:
    """NumPy, whose `stack` and `sum` also take what must not be read yet."""

    def __getattr__(self, name):
        return getattr(np, name)

    def stack(self, losses):
        return losses

    def sum(self, x, **options):
        if isinstance(x, list):
            return Read(sum(each.value for each in x), x[0].reads)
        return np.sum(x, **options)


def counted(every, monkeypatch, epochs=2, M=23):
    """The history of a run on a backend that reads the loss every so many steps, and what was read."""
    reads, run = [], dx.TrainingStep.run
    monkeypatch.setattr(dx.TrainingStep, "run", lambda *a, **k: Read(run(*a, **k), reads))
    net = network(backend=Backend("counting", Namespace(), numpy_kernels, read_loss_every=every))
    history = dx.train(net, *data(M), epochs=epochs, batch_size=2)
    monkeypatch.undo()
    return history, reads


@pytest.mark.parametrize(("every", "an_epoch"), [(1, 12), (5, 3), (12, 1), (50, 1)])
def test_the_loss_is_read_every_k_steps_only(every, an_epoch, monkeypatch):
    history, reads = counted(every, monkeypatch)
    assert len(reads) == 2 * an_epoch
    assert_allclose(history.loss, counted(1, monkeypatch)[0].loss, rtol=1e-12)


# NaN and infinity


def failing(net, X, y, **options):
    """The error of a run that must fail; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(dx.NonFiniteError) as caught:
            dx.train(net, X, y, **options)
    return caught.value


def test_a_nan_in_x_is_found_there():
    X, y = data()
    X[2, 17] = np.nan
    error = failing(network(), X, y)
    assert "step 1 of epoch 1" in str(error)
    assert "the first bad values are in the input A[0], 1 of 120; remove or replace those values" in str(error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("l", [1, 2, 3])
def test_the_first_layer_is_named(l, value, dtype):
    net = network((4, 8, 8, 3), "relu", dtype=dtype)
    net.W[l][...] = np.where(np.arange(net.W[l].shape[1]) == 0, value, net.W[l])
    error = failing(net, *data())
    assert f"the first bad values are in {'Z[3]' if l == 3 else f'A[{l}]'}, " in str(error)
    assert "lower the learning rate, clip the gradient (clip_norm=1.0) or scale the inputs" in str(error)


@pytest.mark.parametrize("batch_size", [5, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_learning_rate_restores_the_last_good_weights(dtype, batch_size):
    net, seen, good = network(dtype=dtype, hidden="relu"), [], [0]
    X, y = data()
    dx.train(net, X, y, epochs=2, batch_size=batch_size)
    seen.append(net.theta.copy())

    def on_epoch(record):
        seen.append(net.theta.copy())
        if all(map(math.isfinite, record.values())):
            good.append(record["epoch"])

    error = failing(
        net,
        X,
        y,
        epochs=50,
        batch_size=batch_size,
        optimizer=dx.SGD(lr=1e30 if dtype == "float32" else 1e200),
        on_epoch=on_epoch,
    )
    assert_array_equal(net.theta, seen[good[-1]])
    assert np.isfinite(net.theta).all()
    assert len(error.history) == len(seen) - 1
    assert net.epochs == 2 + good[-1]
    assert "The network has the last good weights from before this epoch" in str(error)
    assert f"of epoch {len(seen)}:" in str(error)


@pytest.mark.parametrize("saved", [False, True])
def test_an_epoch_that_ruined_the_weights_is_not_the_last_good_one(saved, tmp_path):
    class Ruin(dx.SGD):
        def rates(self, lr, t):
            return (math.inf if t > 9 else 1e30 if t == 9 else lr,)

    net, (X, y), seen = network(dtype="float32"), data(), []
    options = {"batch_size": 10, "optimizer": Ruin(lr=0.1), "on_epoch": lambda record: seen.append(net.theta.copy())}
    if saved:  # and the run goes on after it
        checkpoints = dx.Checkpoints(tmp_path, every="1epoch")
        dx.train(net, X, y, epochs=3, checkpoints=checkpoints, **options)
        net, options["checkpoints"] = network(dtype="float32"), dx.Checkpoints(tmp_path, resume=True)
    error = failing(net, X, y, epochs=9, **options)
    assert [record["epoch"] for record in error.history] == [1, 2, 3]
    assert math.isfinite(error.history.loss[2]) and np.isfinite(seen[2]).all()
    assert_array_equal(net.theta, seen[1])
    assert net.epochs == 2


def test_the_history_up_to_the_failure_is_kept():
    class Bomb(dx.SGD):
        def rates(self, lr, t):
            return (math.inf if t > 6 else lr,)

    net, (X, y), good = network(), data(), []
    error = failing(
        net,
        X,
        y,
        epochs=9,
        batch_size=10,
        optimizer=Bomb(lr=0.1),
        on_epoch=lambda record: good.append(net.theta.copy()),
    )
    assert [record["epoch"] for record in error.history] == [1, 2]
    assert "of epoch 3" in str(error)
    assert_array_equal(net.theta, good[1])


def test_an_update_that_no_loss_has_seen_is_found():
    """One step an epoch: the loss was finite, theta is not."""

    class Bomb(dx.SGD):
        def rates(self, lr, t):
            return (math.inf,)

    net = network(dtype="float32")
    before = net.theta.copy()
    error = failing(net, *data(), epochs=1, batch_size=30, optimizer=Bomb())
    assert "the first bad values are in the updated W[1]" in str(error)
    assert_array_equal(net.theta, before)


def test_training_goes_on_after_a_failure():
    net, (X, y) = network(dtype="float32", hidden="relu"), data()
    failing(net, X, y, epochs=5, batch_size=5, optimizer=dx.SGD(lr=1e30))
    history = dx.train(net, X, y, epochs=30, optimizer=dx.Adam(lr=0.02))
    assert history.loss[-1] < 0.5 * history.loss[0]


def test_a_healthy_run_leaks_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = network(dtype="float32")
        X, y = data()
        dx.train(net, 1e30 * X, y, epochs=2, optimizer=dx.SGD(lr=1e-40), clip_norm=1.0)
        net.predict(1e30 * X)
        dx.evaluate(net, 1e30 * X, y)


# memory that is written to once


def test_dropout_changes_training_and_leaves_its_expectation():
    X, y = data()
    losses = {}
    for rate in (0.0, 0.5):
        net = network((4, 400, 3), dropout=rate)
        losses[rate] = [
            float(dx.TrainingStep(network((4, 400, 3), dropout=rate, seed=seed), dx.SGD(), 30)(X, y))
            for seed in range(5)
        ]
        work = net.memory(30, labels=True)
        assert (work.bits[1] is not None) == (rate > 0)
    assert_allclose(np.mean(losses[0.5]), np.mean(losses[0.0]), rtol=0.25)
    assert not np.allclose(losses[0.5], losses[0.0], rtol=1e-3)


# the glue of a GPU, on a double of CuPy that has none


def pixels(m=120):
    """Images of whole numbers 0..16, and which of 10 corners each is near."""
    y = np.arange(m) % 10
    X = np.random.default_rng(3).integers(0, 9, (m, 64), np.uint8)
    X[np.arange(m), 6 * y] += 8
    return X.T, y


def device_network(backend, **options):
    scaler = dx.data.Scaler("range", np.zeros(64), np.full(64, 1 / 16))
    return dx.Network((64, 24, 16, 10), backend=backend, scaler=scaler, seed=1, **options)


def test_a_gpu_trains_as_the_cpu_does(monkeypatch):
    install(monkeypatch)
    X, y = pixels()
    nets = [device_network(name, dropout=0.25) for name in ("cpu", "gpu:0")]
    histories = [
        dx.train(net, X, y, epochs=2, batch_size=32, validation=(X, y), class_weight="balanced", l2=1e-4, clip_norm=1.0)
        for net in nets
    ]
    assert_allclose(dx.asnumpy(nets[1].theta), nets[0].theta, rtol=1e-4, atol=1e-5)
    for key in ("loss", "validation_loss", "validation_accuracy"):
        assert_allclose(histories[1][key], histories[0][key], rtol=1e-4)
    answer = nets[1].predict_proba(X)
    assert isinstance(answer, np.ndarray)
    assert_allclose(answer, nets[0].predict_proba(X), rtol=1e-3, atol=1e-6)
    assert dx.evaluate(nets[1], X, y) == pytest.approx(dx.evaluate(nets[0], X, y), rel=1e-4)
    assert dx.gradcheck(nets[1], X[:, :8], y[:8]).passed
    other = device_network("gpu:0", dropout=0.25)
    dx.train(other, X, y, epochs=2, batch_size=30)
    assert not np.allclose(dx.asnumpy(other.theta), nets[0].theta, rtol=1e-4, atol=1e-5)


def warm(machine, net, *, labels=True, weighted=False, **options):
    """What the machine counted during one warm step."""
    (X, y), step = pixels(), dx.TrainingStep(net, dx.AdamW(), 32, **options)
    work = step.workspace(32, labels=labels)
    with net.backend.active():
        net.backend.write(work.X, X[:, :32].T)
        net.backend.write(work.Y, y[:32] if labels else np.eye(10)[y[:32]])
        net.backend.write(work.w, np.ones(32))
        step.run(work, labels=labels, weighted=weighted)
        with machine.counting() as seen:
            step.run(work, labels=labels, weighted=weighted)
    return seen


@pytest.mark.parametrize("hidden", ["relu", "gelu", "softmax"])
@pytest.mark.parametrize(
    "options",
    [{}, {"l2": 1e-4}, {"clip_norm": 1.0}, {"labels": False}, {"weighted": True}],
    ids=lambda o: min(o, default=""),
)
def test_a_warm_step_neither_waits_nor_copies(monkeypatch, hidden, options):
    seen = warm(install(monkeypatch), device_network("gpu", hidden=hidden), **options)
    assert (seen.host_waits, seen.host_to_device, seen.device_to_host) == (0, 0, 0)
    assert (seen.gemms, seen.gemm_operand_copies) == (8, 0)


def test_what_changes_from_step_to_step_is_sent_ahead(monkeypatch):
    """Dropout's masks are drawn on the device: the rates of both updates and the counter are all that it needs."""
    machine = install(monkeypatch)
    assert warm(machine, device_network("gpu")).sent_ahead == 2
    seen = warm(machine, device_network("gpu", dropout=0.5))
    assert seen.sent_ahead == 3
    assert seen.host_to_device == seen.device_to_host == 0


def test_the_count_sees_a_wait_and_a_copy(monkeypatch):
    machine = install(monkeypatch)
    net, run = device_network("gpu"), dx.TrainingStep._step

    def waits(self, work, labels, weighted, filling, backend):
        run(self, work, labels, weighted, filling, backend)
        if float(work.J) > 0:
            backend.asarray(np.ones(3))

    monkeypatch.setattr(dx.TrainingStep, "_step", waits)
    seen = warm(machine, net)
    assert (seen.host_waits, seen.host_to_device, seen.device_to_host) == (1, 1, 1)


def test_an_epoch_reads_the_loss_every_50_steps(monkeypatch):
    machine = install(monkeypatch)
    net, (X, y) = device_network("gpu"), pixels(120)
    counts = {}
    for epochs in (2, 3):
        with machine.counting() as seen:
            dx.train(net, X, y, epochs=epochs, batch_size=1)
        counts[epochs] = seen
    one_more = counts[3] - counts[2]
    assert one_more.device_to_host == 3 + 2  # after 50, 100 and 120 steps, if theta is finite, how long the gradient is
    assert one_more.host_waits == 3 + 2
    assert one_more.host_to_device == 1  # the order of the epoch


def test_a_loss_that_is_read_late_is_the_same_loss(monkeypatch):
    install(monkeypatch)
    (X, y), nets = pixels(120), [device_network(name) for name in ("cpu", "gpu")]
    steps = []
    losses = [dx.train(net, X, y, epochs=2, batch_size=2, on_step=lambda *a: steps.append(a)).loss for net in nets]
    assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert [step[0] for step in steps[120:]] == [50, 60] * 2
    assert [step[0] for step in steps[:60]] == list(range(1, 61))


def test_everything_of_gpu_1_is_on_gpu_1(monkeypatch):
    machine = install(monkeypatch, devices=2)
    import cupy

    X, y = pixels()
    net = device_network("gpu:1", dropout=0.5)
    allocate, seen = machine.allocate, []

    def watched(size):
        seen.append(machine.device)
        return allocate(size)

    machine.allocate = watched
    dx.train(net, X, y, epochs=1, batch_size=32, validation=(X, y), patience=1)
    net.predict(X)
    dx.evaluate(net, X, y)
    step = dx.TrainingStep(net, dx.Adam(), 32)
    step(X[:, :32], y[:32])
    assert set(seen) == {1}
    work = step.workspace(32, labels=True)
    arrays = [net.theta, *net.W[1:], *net.b[1:], step.gradient.g, *step.state, work.X, work.Y, work.losses, *work.A]
    assert {array.device.id for array in arrays} == {1}
    assert machine.used[0] == 0
    assert cupy.cuda.runtime.getDevice() == 0  # and the caller's device is as it was


def test_an_array_of_the_device_stays_there_and_one_of_another_is_refused(monkeypatch):
    install(monkeypatch, devices=2)
    import cupy

    X, y = pixels()
    here = device_network("gpu:0")
    x = cupy.asarray(X)
    assert isinstance(here.predict(x), cupy.ndarray)
    assert_array_equal(here.predict(x).get(), here.predict(X))
    assert_array_equal(here.predict_proba(x).get(), here.predict_proba(X))
    dx.train(here, x, cupy.asarray(y), epochs=1, validation=(x, cupy.asarray(y)))
    with cupy.cuda.Device(1):
        elsewhere = cupy.asarray(X)
    for call in (here.predict, lambda x: dx.train(here, x, y), lambda x: dx.TrainingStep(here)(x, y)):
        with pytest.raises(dx.MixedDevicesError, match=r"on gpu:0 or on the cpu, got a cupy array .* on gpu:1"):
            call(elsewhere)
    there = device_network("cpu")
    for call in (there.predict, lambda x: dx.train(there, x, y), lambda x: dx.TrainingStep(there)(x, y)):
        with pytest.raises(dx.MixedDevicesError, match=r"on the cpu, got a cupy array .* on gpu:0"):
            call(x)


def test_a_jax_array_of_the_host_goes_to_the_device(monkeypatch):
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    install(monkeypatch)
    net, (X, _) = device_network("gpu"), pixels(8)
    assert_array_equal(net.predict(jnp.asarray(X)), net.predict(X))


def test_a_model_moves_between_devices(monkeypatch, tmp_path):
    install(monkeypatch, devices=2)
    X, _ = pixels(20)
    net = device_network("gpu:1", dtype="float64")
    net.save(tmp_path / "m")
    back = dx.load(tmp_path / "m", backend="cpu")
    assert_array_equal(back.theta, dx.asnumpy(net.theta))
    assert_allclose(back.predict_proba(X), net.predict_proba(X), rtol=1e-12)
    for name in ("gpu:0", "cpu"):
        moved = back.to(name)
        assert moved.backend.name == name
        assert_array_equal(dx.asnumpy(moved.theta), back.theta)
    assert dx.load(tmp_path / "m", backend="gpu:0").theta.device.id == 0


def test_a_failure_on_the_device_restores_its_weights(monkeypatch):
    install(monkeypatch)
    net, (X, y) = device_network("gpu"), pixels()
    before = net.theta.get()
    error = failing(net, X, y, epochs=3, batch_size=16, optimizer=dx.SGD(lr=1e30))
    assert "of epoch 1" in str(error)
    assert_array_equal(net.theta.get(), before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "adam"}, "such as dx.Adam"),
        ({"schedule": "cosine"}, "such as dx.Cosine"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": "a"}, "batch_size must be a whole number"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_what_is_not_an_option_is_said_in_a_sentence(options, words):
    with pytest.raises(dx.ConfigError, match=words):
        dx.train(network(), *data(), **options)


# what is easily handed in otherwise


@pytest.mark.parametrize(
    "validation", [np.ones((2, 4)), 0.1, (np.ones((2, 4)),), "auto"], ids=["X", "part", "one", "text"]
)
def test_validation_data_are_a_pair(validation):
    net = dx.Network((2, 3), backend="cpu")
    with pytest.raises(dx.ConfigError, match=r"validation must be a pair \(X, y\) of columns and their targets, got"):
        dx.train(net, np.ones((2, 4)), np.arange(4) % 3, validation=validation)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_stands_for_its_checkpoints(tmp_path, kind):
    net, X, y = dx.Network((2, 3), backend="cpu"), np.ones((2, 4)), np.arange(4) % 3
    dx.train(net, X, y, epochs=1, checkpoints=kind(tmp_path / "new"))
    assert (tmp_path / "new").is_dir()
    dx.train(net, X, y, epochs=1, checkpoints=dx.Checkpoints(tmp_path / "run", every="1epoch"))
    with pytest.raises(dx.ConfigError, match="holds checkpoints"):
        dx.train(net, X, y, epochs=1, checkpoints=kind(tmp_path / "run"))
    with pytest.raises(dx.ConfigError, match=r"checkpoints must be a folder or dx.Checkpoints\(folder\), got True"):
        dx.train(net, X, y, epochs=1, checkpoints=True)


def test_a_history_is_shown_as_a_table_of_its_last_epochs():
    history = dx.History([{"epoch": k, "loss": 1 / k, "seconds": 0.1} for k in range(1, 8)], best_epoch=6)
    assert repr(history).splitlines() == [
        "History of 7 epochs, the last 5 of them; the weights are those of epoch 6",
        "epoch    loss  seconds",
        "    3  0.3333      0.1",
        "    4    0.25      0.1",
        "    5     0.2      0.1",
        "    6  0.1667      0.1",
        "    7  0.1429      0.1",
    ]
    assert repr(dx.History()) == "History of 0 epochs"
    assert repr(dx.History([{"epoch": 1, "loss": 0.5}])).startswith("History of 1 epoch\n")
