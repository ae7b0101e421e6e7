import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp.data import Scaler
from deepxp.evaluation import Evaluation
from deepxp.inputs import check_finite
from deepxp.ops.losses import LOSSES, POISSON


def network(sizes, loss, **options):
    return dx.Network(sizes, "tanh", loss, **{"backend": "cpu", "dtype": "float64", "seed": 2} | options)


def table(m=24, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


def test_classes():
    net, X, y = network((4, 6, 3), "softmax-cross-entropy"), table().T, np.arange(24) % 3
    A, found = net.predict_proba(X), dx.evaluate(net, X, y)
    assert set(found) == {"loss", "accuracy", "f1"}
    assert_allclose(found["loss"], -np.log(A[y, np.arange(24)]).mean(), rtol=1e-12)
    predicted = A.argmax(axis=0)
    assert_allclose(found["accuracy"], (predicted == y).mean())
    f1 = [2 * ((predicted == c) & (y == c)).sum() / ((predicted == c).sum() + (y == c).sum()) for c in range(3)]
    assert_allclose(found["f1"], np.mean(f1))


def test_scikit_learn_agrees():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    net, X, y = network((4, 6, 3), "softmax-cross-entropy"), table(100).T, np.arange(100) % 3
    found, A = dx.evaluate(net, X, y), net.predict_proba(X)
    assert_allclose(found["loss"], sklearn.log_loss(y, A.T))
    assert_allclose(found["accuracy"], sklearn.accuracy_score(y, A.argmax(0)))
    assert_allclose(found["f1"], sklearn.f1_score(y, A.argmax(0), average="macro", labels=[0, 1, 2]))


def test_labels_one_hot_and_probabilities():
    net, X, y = network((4, 6, 3), "softmax-cross-entropy"), table().T, np.arange(24) % 3
    by_labels, by_columns = dx.evaluate(net, X, y), dx.evaluate(net, X, np.eye(3)[:, y])
    assert by_columns == pytest.approx(by_labels, rel=1e-12)
    soft = 0.9 * np.eye(3)[:, y] + 0.1 / 3
    found = dx.evaluate(net, X, soft)
    assert_allclose(found["loss"], -(soft * np.log(net.predict_proba(X))).sum(axis=0).mean(), rtol=1e-12)
    assert found["accuracy"] == by_labels["accuracy"]


def test_two_classes():
    net, X, y = network((4, 6, 1), "sigmoid-cross-entropy"), table().T, np.arange(24) % 2
    a, found = net.predict_proba(X)[0], dx.evaluate(net, X, y)
    assert_allclose(found["loss"], -np.log(np.where(y == 1, a, 1 - a)).mean(), rtol=1e-12)
    assert_allclose(found["accuracy"], ((a >= 0.5) == y).mean())
    assert dx.evaluate(net, X, y[None, :].astype(float)) == found


def test_several_labels_at_once():
    net, X = network((4, 6, 3), "sigmoid-cross-entropy"), table().T
    Y = np.random.default_rng(1).integers(0, 2, (3, 24))
    A, found = net.predict_proba(X), dx.evaluate(net, X, Y)
    assert_allclose(found["loss"], -np.log(np.where(Y == 1, A, 1 - A)).sum(axis=0).mean(), rtol=1e-12)
    assert_allclose(found["accuracy"], ((A >= 0.5) == Y).all(axis=0).mean())
    tp, wrong = ((A >= 0.5) & (Y == 1)).sum(axis=1), ((A >= 0.5) != Y).sum(axis=1)
    assert_allclose(found["f1"], (2 * tp / (2 * tp + wrong)).mean())


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers(outputs):
    net, X, Y = network((4, 6, outputs), "squared-error"), table().T, table(24, outputs, seed=1).T
    A, found = net.predict_proba(X), dx.evaluate(net, X, Y)
    assert set(found) == {"loss", "r2", "mae", "rmse"}
    assert_allclose(found["loss"], 0.5 * ((A - Y) ** 2).sum(axis=0).mean(), rtol=1e-12)
    assert_allclose(found["mae"], np.abs(A - Y).mean(), rtol=1e-12)
    assert_allclose(found["rmse"], np.sqrt(((A - Y) ** 2).mean(axis=1)).mean(), rtol=1e-12)
    residual, total = ((A - Y) ** 2).sum(axis=1), ((Y - Y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    assert_allclose(found["r2"], (1 - residual / total).mean(), rtol=1e-10)
    if outputs == 1:
        assert dx.evaluate(net, X, Y[0]) == found


def test_counts_are_numbers_and_may_be_large():
    """A loss of one's own, or the Poisson deviance, is of numbers unless its link gives probabilities."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 200))
    y = rng.poisson(np.exp(1.0 + X[0]))
    assert y.max() > 9
    net = dx.Network((3, 8, 1), "tanh", POISSON, backend="cpu", seed=0)
    history = dx.train(net, X, y, epochs=5, optimizer=dx.Adam(lr=0.02))
    found = dx.evaluate(net, X, y)
    assert history["loss"][-1] < history["loss"][0]
    assert found.keys() == {"loss", "r2", "mae", "rmse"} and 0.3 < found["r2"] < 1.0
    assert POISSON.of_numbers and [name for name, loss in LOSSES.items() if loss.of_numbers] == ["squared-error"]


def test_a_perfect_network():
    net = network((2, 2), "softmax-cross-entropy")
    net.theta[...] = [50.0, 0.0, 0.0, 50.0, 0.0, 0.0]
    found = dx.evaluate(net, np.eye(2), [0, 1])
    assert (found["accuracy"], found["f1"]) == (1.0, 1.0)
    assert found["loss"] < 1e-20
    assert dx.evaluate(net, np.eye(2), [1, 0])["accuracy"] == 0.0


def test_everything_is_a_plain_number():
    found = dx.evaluate(network((4, 3), "softmax-cross-entropy", dtype="float32"), table().T, np.arange(24) % 3)
    assert {type(value) for value in found.values()} == {float}


def test_the_mean_of_many_float32_losses_is_taken_in_float64():
    net = network((1, 1), "squared-error", dtype="float32")
    net.theta[...] = 0.0
    X, y = np.zeros((1, 200_001)), np.full(200_001, 1.0)
    y[0] = 1e4
    assert_allclose(dx.evaluate(net, X, y)["loss"], (0.5e8 + 0.5 * 200_000) / 200_001, rtol=1e-9)


def test_nothing_changes_and_nothing_is_dropped():
    net = network((4, 6, 3), "softmax-cross-entropy", dropout=0.5)
    before = net.theta.copy()
    first = dx.evaluate(net, table().T, np.arange(24) % 3)
    assert dx.evaluate(net, table().T, np.arange(24) % 3) == first
    assert (net.theta == before).all() and net.epochs == 0


def test_data_are_checked_once_and_evaluated_often():
    net, X, y = network((4, 3), "softmax-cross-entropy"), table().T, np.arange(24) % 3
    watched = Evaluation.of(net, X, y)
    assert watched.run(net) == dx.evaluate(net, X, y)
    net.theta[...] = 0.0
    assert_allclose(watched.run(net)["loss"], np.log(3), rtol=1e-12)
    assert np.shares_memory(watched.X, X.base)


def test_overflow_is_a_number_and_not_a_warning():
    net = network((1, 1), "squared-error", dtype="float32")
    net.theta[...] = 1e30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dx.evaluate(net, np.full((1, 3), 1e5), np.zeros(3))["loss"] == np.inf


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (table(), np.arange(24) % 3, dx.ShapeError, r"pass X\.T"),
        (table().T, np.arange(23) % 3, dx.ShapeError, "each of the 24 samples, got 23"),
        (table().T, np.arange(24), dx.DataError, "got 3 for sample 4"),
    ],
)
def test_data_that_do_not_fit(X, y, error, message):
    with pytest.raises(error, match=message):
        dx.evaluate(network((4, 3), "softmax-cross-entropy"), X, y)


def test_labels_that_do_not_lie_together_are_those_labels():
    rng = np.random.default_rng(0)
    X, table = rng.standard_normal((5, 60)).astype("float32"), rng.integers(0, 3, (60, 4), dtype=np.int32)
    net = dx.Network((5, 7, 3), backend="cpu", seed=2)
    for y in (table[:, 2], table[::-1, 1], table.T[3]):
        assert dx.evaluate(net, X, y) == dx.evaluate(net, X, y.copy())


def test_nan_in_x_on_the_device_is_refused_too(backend):
    X = np.ones((4, 24), np.float32)
    net = dx.Network((4, 3), backend=backend)
    dx.evaluate(net, net.backend.asarray(X), np.arange(24) % 3)
    X[2, 5] = np.nan
    with pytest.raises(dx.DataError, match="X holds nan for sample 6"):
        dx.evaluate(net, net.backend.asarray(X), np.arange(24) % 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_x_is_refused_with_its_sample(value):
    net = network((4, 3), "softmax-cross-entropy")
    X = np.ones((4, 24), np.float32)
    X[0, 9], X[2, 5] = value, value
    y = np.arange(24) % 3
    with pytest.raises(dx.DataError, match=f"X holds {value} for sample 6"):
        dx.evaluate(net, X, y)
    with pytest.raises(dx.DataError, match=f"X holds {value} for sample 6"):
        dx.train(net, np.ones((4, 24)), y, validation=(X, y))


def test_nan_in_an_array_of_another_library_is_refused_too():
    xp = pytest.importorskip("array_api_strict")
    X = np.ones((4, 24), np.float32)
    X[2, 5] = np.nan
    with pytest.raises(dx.DataError, match="X holds nan for sample 6"):
        check_finite(xp.asarray(X.T))
    check_finite(xp.asarray(np.ones((24, 4), np.float32)))


# targets in their own unit

UNIT = Scaler("standard", np.array([2e5, -3.0]), np.array([1e-4, 2.0]))


def prices(m=24):
    return UNIT.shift[:, None] + np.random.default_rng(1).standard_normal((2, m)) / UNIT.factor[:, None]


def test_numbers_are_predicted_in_their_unit():
    plain, net = (network((4, 6, 2), "squared-error", target_scaler=scaler) for scaler in (None, UNIT))
    X = table().T
    wanted = plain.predict(X) / UNIT.factor[:, None] + UNIT.shift[:, None]
    for said in (net.predict(X), net.predict_proba(X), pickle.loads(pickle.dumps(net)).predict(X)):
        assert_allclose(said, wanted, rtol=1e-14)
    assert_allclose(net.to(dtype="float32").predict(X), wanted, rtol=1e-6, atol=1e-5)


def test_metrics_are_in_the_unit_of_the_targets_and_the_loss_in_their_deviations():
    plain, net = (network((4, 6, 2), "squared-error", target_scaler=scaler) for scaler in (None, UNIT))
    X, y = table().T, prices()
    found = dx.evaluate(net, X, y)
    scaled = (y - UNIT.shift[:, None]) * UNIT.factor[:, None]
    assert_allclose(found["loss"], dx.evaluate(plain, X, scaled)["loss"], rtol=1e-12)
    assert_allclose(found["mae"], np.abs(net.predict(X) - y).mean(), rtol=1e-12)
    assert_allclose(found["r2"], dx.evaluate(plain, X, scaled)["r2"], rtol=1e-9)


def test_a_scaler_of_targets_trains_what_scaled_targets_would():
    plain, net = (network((4, 6, 2), "squared-error", target_scaler=scaler) for scaler in (None, UNIT))
    X, y = table().T, prices()
    scaled = UNIT.transform(y.T, np.float64).T
    assert dx.train(net, X, y, epochs=3, batch_size=8).loss == dx.train(plain, X, scaled, epochs=3, batch_size=8).loss
    assert_array_equal(net.theta, plain.theta)
    steps = [dx.TrainingStep(each, dx.Adam(), batch_size=24) for each in (plain, net)]
    assert float(steps[0](X, scaled)) == float(steps[1](X, y))
    assert dx.gradcheck(net, X, y).passed


def test_a_scaler_of_targets_is_for_numbers_and_as_many_as_there_are():
    for sizes, loss in (((4, 6, 2), "softmax-cross-entropy"), ((4, 6, 3), "squared-error")):
        with pytest.raises(
            dx.ConfigError, match=f"target_scaler is for the {sizes[-1]} targets of loss='squared-error'"
        ):
            network(sizes, loss, target_scaler=UNIT)


def test_counts_are_learned_with_the_poisson_deviance():
    net, X = network((4, 3, 1), POISSON), table(200).T
    y = np.random.default_rng(3).poisson(np.exp(0.5 * X[0] + 1.0))
    before = dx.evaluate(net, X, y)
    dx.train(net, X, y, epochs=30, batch_size=20, optimizer=dx.Adam(lr=0.02), validation=(X, y))
    after, said = dx.evaluate(net, X, y), net.predict(X)
    assert set(after) == {"loss", "r2", "mae", "rmse"} and after["loss"] < 0.5 * before["loss"]
    assert (said > 0).all() and said.max() > 5
    assert_allclose(after["mae"], np.abs(said - y).mean())
    assert np.isnan(net.predict(np.full((4, 1), np.nan))).all()
    with pytest.raises(dx.DataError, match=r"poisson-deviance takes targets of 0 or more, got \[-1\] for sample 3"):
        dx.train(net, X, np.where(np.arange(200) == 2, -1, y))
