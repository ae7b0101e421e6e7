import copy
import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
import deepxp.network
from deepxp.data import Scaler

RUNNING = (2, 3, 5, 4, 2, 1)
ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu")


def network(sizes=(4, 6, 3), hidden="relu", loss="softmax-cross-entropy", **options):
    return dx.Network(sizes, hidden, loss, **{"backend": "cpu", "dtype": "float64", "seed": 2} | options)


def table(m=20, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


def scaler(n=4):
    return Scaler("standard", np.arange(1.0, n + 1), np.linspace(0.5, 2.0, n))


def logistic(z):
    return 1 / (1 + np.exp(-z))


# the equations, written again


def by_hand(net, X):
    g = {
        "identity": lambda Z: Z,
        "relu": lambda Z: np.maximum(Z, 0),
        "leaky_relu": lambda Z: np.where(Z > 0, Z, 0.01 * Z),
        "sigmoid": logistic,
        "tanh": np.tanh,
        "elu": lambda Z: np.where(Z > 0, Z, np.exp(np.minimum(Z, 0)) - 1),
        "gelu": lambda Z: 0.5 * Z * (1 + np.tanh(np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))),
        "silu": lambda Z: Z * logistic(Z),
        "softmax": lambda Z: np.exp(Z) / np.exp(Z).sum(axis=0),
    }
    A = X
    for l in range(1, net.L + 1):
        A = g[net.g[l].name](net.W[l] @ A + net.b[l])
    return A


@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_the_forward_recursion(hidden):
    net = network(hidden=hidden)
    net.b[1][...] = 0.3
    X = table().T
    assert_allclose(net.predict_proba(X), by_hand(net, X), rtol=1e-12)
    assert np.abs(net.predict_proba(X) - by_hand(network(hidden=hidden, seed=3), X)).max() > 1e-3


@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"])
def test_a_step_of_gradient_descent(loss):
    """One hidden tanh layer, theta - lr g with g from the backward equations."""
    net = network(hidden="tanh", loss=loss)
    X, Y = table().T, np.eye(3)[:, np.arange(20) % 3]
    A1 = np.tanh(net.W[1] @ X + net.b[1])
    dZ2 = by_hand(net, X) - Y
    dZ1 = (net.W[2].T @ dZ2) * (1 - A1**2)
    expected = [net.W[1] - 0.1 * dZ1 @ X.T / 20, net.W[2] - 0.1 * dZ2 @ A1.T / 20]
    expected += [net.b[1] - 0.1 * dZ1.mean(1, keepdims=True), net.b[2] - 0.1 * dZ2.mean(1, keepdims=True)]
    dx.TrainingStep(net, dx.SGD(lr=0.1), 20)(X, Y)
    for found, by_formula in zip([*net.W[1:], *net.b[1:]], expected, strict=True):
        assert_allclose(found, by_formula, rtol=1e-11, atol=1e-14)


def test_the_running_example():
    net = network(RUNNING, "tanh", "sigmoid-cross-entropy")
    assert net.L == 5
    assert net.theta.size == 6 + 15 + 20 + 8 + 2 + 15
    X, y = table(30, 2).T, (table(30, 2)[:, 0] > 0).astype(int)
    before = dx.evaluate(net, X, y)["loss"]
    history = dx.train(net, X, y, epochs=60, batch_size=10, optimizer=dx.Adam(lr=0.02))
    assert len(history) == 60
    assert dx.evaluate(net, X, y)["loss"] < 0.5 * before
    assert net.predict(X).shape == (30,)


def test_logistic_regression_is_the_one_layer_case():
    net = network((2, 1), loss="sigmoid-cross-entropy")
    assert net.L == 1
    x = table(200, 2)
    y = (x @ [1.0, -2.0] + 0.5 > 0).astype(int)
    dx.train(net, x.T, y, epochs=150, batch_size=200, optimizer=dx.SGD(lr=2.0))
    assert dx.evaluate(net, x.T, y)["accuracy"] > 0.97
    w = net.W[1][0] / np.linalg.norm(net.W[1])
    assert_allclose(w, np.array([1.0, -2.0]) / np.sqrt(5), atol=0.1)
    assert_allclose(net.predict_proba(x.T), logistic(net.W[1] @ x.T + net.b[1]), atol=1e-15)


def test_linear_regression_finds_the_least_squares():
    net = network((3, 1), loss="squared-error")
    x = table(50, 3)
    y = x @ [1.0, 2.0, -1.0] + 0.5 + 0.1 * table(50, 1, seed=1)[:, 0]
    dx.train(net, x.T, y, epochs=300, batch_size=50, optimizer=dx.SGD(lr=0.3))
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    assert_allclose([*net.W[1][0], *net.b[1][0]], expected, atol=1e-8)


# predictions


def test_classes_are_labels():
    net = network()
    A = net.predict_proba(table().T)
    assert A.shape == (3, 20)
    assert_allclose(A.sum(axis=0), 1.0)
    assert_array_equal(net.predict(table().T), A.argmax(axis=0))


def test_two_classes_are_decided_at_one_half():
    net = network((2, 1), loss="sigmoid-cross-entropy")
    net.theta[...] = [1.0, 0.0, 0.0]
    X = np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert_allclose(net.predict_proba(X), [[logistic(-1), 0.5, logistic(1)]])
    assert_array_equal(net.predict(X), [0, 1, 1])
    assert net.predict(X).dtype.kind == "i"


def test_several_labels_at_once():
    net = network(loss="sigmoid-cross-entropy")
    labels = net.predict(table().T)
    assert labels.shape == (3, 20)
    assert_array_equal(labels, net.predict_proba(table().T) >= 0.5)
    assert set(np.unique(labels)) == {0, 1}


def test_numbers():
    one, two = network((4, 6, 1), loss="squared-error"), network((4, 6, 2), loss="squared-error")
    assert one.predict(table().T).shape == (20,)
    assert one.predict_proba(table().T).shape == (1, 20)
    assert two.predict(table().T).shape == (2, 20)
    assert_array_equal(one.predict(table().T), one.predict_proba(table().T)[0])


def test_one_sample():
    net = network()
    assert_allclose(net.predict_proba(table(1).T), by_hand(net, table(1).T), rtol=1e-12)
    assert net.predict(table(1).T).shape == (1,)


def test_an_answer_has_the_precision_of_the_network_and_memory_of_its_own():
    net = network(dtype="float32")
    first, second = (net.predict_proba(table().T) for _ in range(2))
    assert first.dtype == np.float32
    assert not np.shares_memory(first, second)
    assert not any(np.shares_memory(first, W) for W in net.W[1:])


def test_pieces_give_what_the_whole_gives(monkeypatch):
    net, X = network(), table(23).T
    whole = net.predict_proba(X)
    losses = dx.evaluate(net, X, np.arange(23) % 3)
    for chunk in (1, 6, 30, 6 * 23):
        monkeypatch.setattr(deepxp.network, "CHUNK", chunk)
        monkeypatch.setattr(deepxp.evaluation, "CHUNK", chunk)
        assert_allclose(net.predict_proba(X), whole, rtol=1e-13)
        found = dx.evaluate(net, X, np.arange(23) % 3)
        assert_allclose(list(found.values()), list(losses.values()), rtol=1e-12)


def test_eight_threads_share_a_model():
    net = network((4, 64, 64, 3), "gelu", dtype="float32")
    inputs = [table(300, seed=i).T for i in range(8)]
    expected = [net.predict_proba(X).tobytes() for X in inputs]
    found = [[] for _ in inputs]

    def work(i):
        found[i] += [net.predict_proba(inputs[i]).tobytes() for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[answer] * 10 for answer in expected]


def test_prediction_drops_nothing():
    assert_array_equal(network(dropout=0.5).predict_proba(table().T), network(dropout=0.0).predict_proba(table().T))


# every layout and type of X is the same X


def variants(rows, tmp_path):
    """One table of whole numbers 0..16 in many guises, as columns."""
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=rows.shape)
    mapped[...] = rows
    yield np.asfortranarray(rows.T.astype(np.float32))
    yield np.ascontiguousarray(rows.T.astype(np.float32))
    yield rows.T.astype(np.float64)
    yield rows.T.astype(np.int64)
    yield np.repeat(rows, 2, axis=0)[::2].T.astype(np.float32)
    yield np.repeat(rows, 2, axis=1)[:, ::2].T
    yield mapped.T
    yield rows.T.tolist()


def test_every_guise_of_x_gives_the_same_run(tmp_path):
    rows = np.random.default_rng(0).integers(0, 17, (25, 4), np.uint8)
    y, results = np.arange(25) % 3, []
    for X in variants(rows, tmp_path):
        net = network(dtype="float32", scaler=Scaler.fit(rows))
        dx.train(net, X, y, epochs=2, batch_size=8)
        results.append((net.theta.tobytes(), net.predict_proba(X).tobytes(), dx.evaluate(net, X, y)))
    assert all(result == results[0] for result in results)
    assert len(results) == 8


def test_torch_and_jax_arrays_train_and_predict():
    X, y = table(25).astype(np.float32).T, np.arange(25) % 3
    expected = network(dtype="float32")
    dx.train(expected, X, y, epochs=2, batch_size=8)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    for asarray in (torch.tensor, jnp.asarray):
        net = network(dtype="float32")
        dx.train(net, asarray(X), asarray(y), epochs=2, batch_size=8, validation=(asarray(X), asarray(y)))
        assert_array_equal(net.theta, expected.theta)
        assert_array_equal(net.predict(asarray(X)), expected.predict(X))
        assert isinstance(net.predict(asarray(X)), np.ndarray)
        assert dx.evaluate(net, asarray(X), asarray(y)) == dx.evaluate(expected, X, y)
    with pytest.raises(dx.DataError, match=r"torch array .*detach"):
        net.predict(torch.ones((4, 2), requires_grad=True))
    with pytest.raises(dx.DataError, match=r"torch array .*detach"):
        dx.train(net, torch.ones((4, 25), requires_grad=True), y)


def test_nothing_is_written_to_the_callers_arrays():
    X, y = table(25).astype(np.float32).T, np.arange(25, dtype=np.int32) % 3
    before = X.copy()
    X.flags.writeable = y.flags.writeable = False
    net = network(dtype="float32", scaler=scaler(), dropout=0.5)
    dx.train(net, X, y, epochs=1, batch_size=8, validation=(X, y))
    dx.TrainingStep(net, dx.SGD(), 25)(X, y)
    net.predict(X)
    dx.gradcheck(net, X, y)
    assert_array_equal(X, before)


# the scaler is part of the network


def test_the_scaler_is_applied_everywhere_alike():
    raw, y = table() * 3.0 + 7.0, np.arange(20) % 3
    scaled = (raw - scaler().shift) * scaler().factor
    plain, with_scaler = network(), network(scaler=scaler())
    assert_allclose(with_scaler.predict_proba(raw.T), plain.predict_proba(scaled.T), rtol=1e-12)
    assert dx.evaluate(with_scaler, raw.T, y) == pytest.approx(dx.evaluate(plain, scaled.T, y), rel=1e-12)
    checks = [dx.gradcheck(net, X.T, y) for net, X in ((plain, scaled), (with_scaler, raw), (plain, raw))]
    allowed = [[block.allowed for block in check.blocks] for check in checks]  # it depends on J and on the gradient
    assert_allclose(allowed[1], allowed[0], rtol=1e-9)
    assert not np.allclose(allowed[2], allowed[0], rtol=1e-9, atol=0)
    assert all(check.passed for check in checks)
    dx.train(plain, scaled.T, y, epochs=3, batch_size=7, validation=(scaled.T, y))
    dx.train(with_scaler, raw.T, y, epochs=3, batch_size=7, validation=(raw.T, y))
    assert_allclose(with_scaler.theta, plain.theta, rtol=1e-10)
    steps = [dx.TrainingStep(net, dx.SGD(), 20)(X.T, y) for net, X in ((plain, scaled), (with_scaler, raw))]
    assert_allclose(*map(float, steps), rtol=1e-10)


# copies


def test_a_copy_is_equal_and_apart():
    net = network(dropout=0.25, scaler=scaler(), classes=("a", "b", "c"), seed=7)
    dx.train(net, table().T, np.arange(20) % 3, epochs=2)
    twin = net.to()
    for name in ("sizes", "loss", "g", "dropout", "dtype", "seed", "scaler", "classes", "epochs"):
        assert getattr(twin, name) == getattr(net, name)
    assert_array_equal(twin.theta, net.theta)
    assert not np.shares_memory(twin.theta, net.theta)
    assert twin.epochs == 2


def test_another_precision():
    net = network(dtype="float32", hidden=("tanh",))
    double = net.to(dtype="float64")
    assert (double.theta.dtype, double.dtype) == (np.float64, "float64")
    assert_array_equal(double.theta, net.theta.astype(np.float64))
    assert_array_equal(double.to(dtype="float32").theta, net.theta)
    assert_allclose(double.predict_proba(table().T), net.predict_proba(table().T), rtol=2e-5)


@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_float32_stays_float32(hidden):
    net = network((4, 6, 6, 3), hidden, dtype="float32", dropout=0.5)
    work = net.memory(5, labels=True).workspace(5)
    dx.train(net, table().T.astype(np.float64), np.arange(20) % 3, epochs=1, batch_size=5)
    arrays = [net.theta, net.predict_proba(table().T), work.X, work.w, work.losses, *work.A[1:], *work.dA[1:]]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_what_is_shown():
    assert repr(network((784, 256, 128, 10), ("relu", "tanh"))) == (
        "Network(784-256-128-10, hidden: relu, tanh, softmax-cross-entropy, float64, 235146 parameters on cpu)"
    )
    assert "hidden: none" in repr(network((4, 3)))


# what does not fit


def test_indices_run_from_1_as_in_the_equations():
    net = network()
    assert net.W[0] is None and net.b[0] is None and net.g[0] is None
    assert len(net.W) == len(net.b) == len(net.g) == 3


@pytest.mark.parametrize("sizes", [(), (4,), (4, 0), (4, -1, 2), [0, 3]])
def test_sizes_that_make_no_network(sizes):
    with pytest.raises(dx.ConfigError, match="at least an input and an output layer"):
        network(sizes)


@pytest.mark.parametrize("sizes", [5, None, "784", (4, 2.5), (4, "3"), (4, None)])
def test_sizes_are_whole_numbers(sizes):
    with pytest.raises(dx.ConfigError, match="whole numbers") as caught:
        network(sizes)
    assert repr(sizes) in str(caught.value)


def test_sizes_may_come_from_numpy():
    assert network(np.array([4, 6, 3])).sizes == (4, 6, 3)
    assert all(type(n) is int for n in network(np.array([4, 6, 3])).sizes)


@pytest.mark.parametrize("hidden", ["rleu", None, 3, ["relu"] * 2 + [None], [["relu"], "relu", "relu"]])
def test_an_activation_that_does_not_exist(hidden):
    with pytest.raises(dx.ConfigError, match=r"'tanh', is no activation.*deepxp.Activation\(name, forward, backward\)"):
        network(hidden=np.tanh)
    with pytest.raises(dx.ConfigError, match=r"unknown activation .*relu, leaky_relu"):
        network((4, 5, 5, 5, 3), hidden)


@pytest.mark.parametrize("loss", ["mse", None, 3, ["squared-error"]])
def test_a_loss_that_does_not_exist(loss):
    with pytest.raises(dx.ConfigError, match=r"unknown loss .*softmax-cross-entropy, sigmoid-cross-entropy, squared"):
        network(loss=loss)


def test_an_activation_for_each_layer():
    assert [g.name for g in network((4, 5, 6, 3), ("tanh", "relu")).g[1:]] == ["tanh", "relu", "softmax"]
    with pytest.raises(dx.ConfigError, match="3 activations for 2 hidden layers"):
        network((4, 5, 6, 3), ("tanh", "relu", "relu"))
    assert network((4, 3), ()).L == 1


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan"), (0.5, 1.0)])
def test_a_dropout_rate_out_of_range(rate):
    with pytest.raises(dx.ConfigError, match="0 <= rate < 1"):
        network((4, 5, 6, 3), dropout=rate)


@pytest.mark.parametrize("rate", [None, "half", (0.5, None)])
def test_a_dropout_rate_that_is_no_number(rate):
    with pytest.raises(dx.ConfigError, match="dropout is a number"):
        network((4, 5, 6, 3), dropout=rate)


def test_dropout_rates_for_each_layer():
    assert network((4, 5, 6, 3), dropout=(0.5, 0.0)).keep == (0, 32768, 0, 0)
    assert network((4, 5, 6, 3), dropout=np.float32(0.5)).keep == (0, 32768, 32768, 0)
    with pytest.raises(dx.ConfigError, match="1 rates for 2 hidden layers"):
        network((4, 5, 6, 3), dropout=[0.5])


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_an_extreme_dropout_rate_is_still_dropout(rate):
    """0 stands for no dropout, and 2^16 fits no 16-bit number."""
    assert 0 < network(dropout=rate).keep[1] < 65536


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None])
def test_a_seed_is_a_word(seed):
    with pytest.raises(dx.ConfigError, match=r"whole number from 0 to 2\^64 - 1, got ") as caught:
        network(seed=seed)
    assert repr(seed) in str(caught.value)


def test_the_largest_seed():
    assert network(seed=2**64 - 1).seed == 2**64 - 1
    assert network(seed=np.uint64(7)).seed == 7


@pytest.mark.parametrize("dtype", ["float16", "int32", "double precision", None, complex, 7])
def test_a_precision_that_does_not_exist(dtype):
    with pytest.raises(dx.ConfigError, match="dtype must be one of float32, float64"):
        network(dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32"), "float32", "f4"])
def test_a_precision_by_any_of_its_names(dtype):
    assert network(dtype=dtype).dtype == "float32"


def test_softmax_needs_two_outputs():
    with pytest.raises(dx.ConfigError, match=r"at least 2 classes, got n\[L\] = 1.*sigmoid-cross-entropy"):
        network((4, 1))


def test_a_scaler_of_other_features():
    with pytest.raises(dx.ConfigError, match="scaler has 5 features, the network 4 inputs"):
        network(scaler=scaler(5))


def test_names_of_other_classes():
    with pytest.raises(dx.ConfigError, match=r"names of 3 classes for n\[L\] = 3, got 2"):
        network(classes=("a", "b"))
    assert network((4, 1), loss="sigmoid-cross-entropy", classes=("no", "yes")).classes == ("no", "yes")


def test_theta_of_another_length():
    with pytest.raises(dx.ShapeError, match=r"\(51,\), got \(50,\)"):
        network(theta=np.zeros(50))
    assert_array_equal(network(theta=np.arange(51.0)).theta, np.arange(51.0))


def test_rows_for_columns():
    net, rows, y = network(), table(), np.arange(20) % 3
    calls = [net.predict, net.predict_proba, lambda X: dx.train(net, X, y), lambda X: dx.evaluate(net, X, y)]
    calls += [lambda X: dx.gradcheck(net, X, y), lambda X: dx.TrainingStep(net)(X, y)]
    for call in calls:
        with pytest.raises(dx.ShapeError, match=r"its rows are samples: pass X\.T"):
            call(rows)


def test_copies_and_pickles_are_networks_of_their_own():
    net = dx.Network((4, 5, 3), hidden="gelu", dropout=0.1, backend="cpu", seed=3, classes=("a", "b", "c"))
    net.epochs = 7
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (repr(twin), twin.epochs, twin.classes, twin.dropout) == (repr(net), 7, net.classes, net.dropout)
        np.testing.assert_array_equal(twin.theta, net.theta)
        twin.theta[...] = 0.0
        assert np.all(twin.W[1] == 0.0)
        assert np.any(net.theta != 0.0)


def test_the_scaler_is_given_once():
    with pytest.raises(AttributeError):
        dx.Network((4, 3), backend="cpu").scaler = None


def test_a_large_offset_is_taken_off_before_a_number_is_narrowed():
    """Ten seconds in the seconds since 1970 are lost in a float32, whose step there is 128."""
    rng = np.random.default_rng(0)
    seconds = 10.0 * rng.normal(size=(200, 1))
    table = 1.7e9 + seconds
    y = (seconds[:, 0] > 0).astype(int)
    net = dx.Network((1, 4, 1), loss="sigmoid-cross-entropy", scaler=Scaler.fit(table), backend="cpu")
    dx.train(net, table.T, y, epochs=60, batch_size=20, optimizer=dx.Adam(1e-2))
    assert dx.evaluate(net, table.T, y)["accuracy"] > 0.95
    step = dx.TrainingStep(net, dx.Adam(), 200)
    assert float(step(table.T, y)) < 0.5
