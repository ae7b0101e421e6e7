"""Shapes at the ends of what there is: they work, or say why not."""

import numpy as np
import pytest

import deepxp as dx

SHAPES = {  # sizes, number of samples, number of classes
    "one sample": ((4, 3, 2), 1),
    "layers of one unit": ((1, 1, 1, 2), 5),
    "no hidden layer": ((3, 2), 7),
    "10^5 features": ((100_000, 2, 2), 3),
    "10^5 units": ((2, 100_000, 2), 2),
    "2 classes": ((3, 4, 2), 9),
    "10^5 classes": ((2, 3, 100_000), 4),
    "200 layers": ((3, *[4] * 199, 2), 6),
}


@pytest.mark.parametrize("name", SHAPES)
def test_extreme_shapes_train_and_predict(name):
    sizes, m = SHAPES[name]
    random = np.random.default_rng(2)
    X, y = random.standard_normal((sizes[0], m)).astype(np.float32), random.integers(sizes[-1], size=m)
    net = dx.Network(sizes, "tanh", backend="cpu", seed=0)
    assert len(sizes) - 1 == net.L
    history = dx.train(net, X, y, epochs=2, batch_size=4, optimizer=dx.SGD(lr=0.01))
    assert np.isfinite(history.loss).all()
    A = net.predict_proba(X)
    assert A.shape == (sizes[-1], m) and A.dtype == np.float32
    np.testing.assert_allclose(A.sum(axis=0, dtype=np.float64), 1.0, rtol=1e-4)
    assert net.predict(X).shape == (m,)
    assert dx.evaluate(net, X, y)["loss"] > 0


@pytest.mark.parametrize("name", ["one sample", "layers of one unit", "200 layers", "10^5 classes"])
def test_extreme_shapes_survive_a_file(tmp_path, name):
    net = dx.Network(SHAPES[name][0], backend="cpu")
    net.save(tmp_path / "m")
    np.testing.assert_array_equal(dx.load(tmp_path / "m", "cpu").theta, net.theta)


def test_200_layers_carry_a_gradient_to_the_first():
    net = dx.Network((3, *[16] * 199, 2), "relu", backend="cpu", seed=0)
    step = dx.TrainingStep(net, dx.SGD(lr=1e-3), 8)
    step(np.random.default_rng(0).standard_normal((3, 8)), np.arange(8) % 2)
    assert 0 < np.abs(step.gradient.dW[1]).max() < 1e6


def test_one_output_for_one_sample():
    net = dx.Network((1, 1), loss="squared-error", backend="cpu")
    dx.train(net, [[2.0]], [3.0], epochs=1)
    assert net.predict([[2.0]]).shape == (1,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dx.Network((3, 1), backend="cpu"), "needs an output for each of at least 2 classes"),
        (lambda: dx.Network((0, 2), backend="cpu"), "of 1 or more units each"),
        (lambda: dx.Network((3,), backend="cpu"), "at least an input and an output layer"),
        (lambda: dx.train(dx.Network((3, 2), backend="cpu"), np.ones((3, 0)), []), "X has no samples"),
        (lambda: dx.Network((3, 2), backend="cpu").predict(np.ones((3, 0))), "X has no samples"),
    ],
)
def test_what_does_not_work_says_why(make, message):
    with pytest.raises(dx.DeepxpError, match=message):
        make()


def test_a_table_of_1e5_named_columns_is_read_by_name(tmp_path):
    from deepxp.data import load
    from deepxp.data.readers.options import Columns

    names = [f"c{i}" for i in range(100_000)]
    (tmp_path / "wide.csv").write_text(",".join(names) + ",t\n" + "1," * 100_000 + "yes\n" + "2," * 100_000 + "no\n")
    assert load(tmp_path / "wide.csv").X.shape == (2, 100_000)
    found = load(tmp_path / "wide.csv", columns=Columns(tuple(names[::-1]), "t"))
    assert found.X.shape == (2, 100_000) and found.features == tuple(names[::-1])


# --- rows that are not numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["relu", "tanh", "gelu", "sigmoid", "leaky_relu"])
@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"])
def test_a_row_with_nan_spoils_itself_alone(hidden, loss, backend):
    """predict_proba answers NaN for it; the rows beside it keep their bits."""
    net = dx.Network((5, 7, 6, 3), hidden, loss, backend=backend, seed=1)
    X = np.random.default_rng(3).standard_normal((5, 40)).astype(np.float32)
    clean = net.predict_proba(X)
    X[2, [0, 17, 39]] = np.nan
    A = net.predict_proba(X)
    bad = np.isin(np.arange(40), [0, 17, 39])
    assert np.isnan(A[:, bad]).all()
    np.testing.assert_array_equal(A[:, ~bad], clean[:, ~bad])


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"])
def test_a_row_with_nan_has_no_label(loss, outputs, backend):
    """Numbers can be NaN; class 0 would be a lie."""
    outputs = max(outputs, 2) if loss == "softmax-cross-entropy" else outputs
    net = dx.Network((5, 7, outputs), "tanh", loss, backend=backend, seed=1)
    X = np.random.default_rng(3).standard_normal((5, 40)).astype(np.float32)
    X[0, 30], X[3, 20] = np.nan, np.nan
    if loss == "squared-error":
        assert np.isnan(net.predict(X)[..., [20, 30]]).all()
        return
    with pytest.raises(dx.DataError, match=r"A\[L\] is NaN for sample 21, so that it has no label"):
        net.predict(X)
