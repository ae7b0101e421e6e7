"""float32 stays float32: in every definition and kernel, through training, evaluation and prediction."""

import inspect

import numpy as np
import pytest

import deepxp as dx
from deepxp.ops import activations, batches, dense, guard, losses, regularization, updates
from deepxp.optimizers import OPTIMIZERS
from deepxp.parameters import Parameters


class Single(np.ndarray):
    """An array of float32 that notices every float64 which a function of NumPy makes of it."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        plain = [np.asarray(x) if isinstance(x, Single) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, out=tuple(map(np.asarray, out)) or None, **options)
        assert np.asarray(result).dtype not in (np.float64, np.complex128), f"{ufunc.__name__} of float32 is float64"
        return out[0] if out else np.asarray(result).view(Single)


def single(*shape, seed=0):
    values = np.random.default_rng(seed).uniform(0.1, 0.9, shape)
    return values.astype(np.float32).view(Single)


def filled(*shape):
    return np.zeros(shape, np.float32).view(Single)


RELU = activations.ACTIVATIONS["relu"]
CALLS = {
    dense.dense_forward: lambda: (single(3, 4), single(3, 1), single(4, 5), RELU, filled(3, 5), filled(3, 5)),
    dense.activation_backward: lambda: (RELU, single(3, 5), single(3, 5), filled(3, 5), filled(3, 1)),
    dense.weight_gradient: lambda: (single(3, 5), single(4, 5), filled(3, 4)),
    dense.input_gradient: lambda: (single(3, 4), single(3, 5), filled(4, 5)),
    losses.softmax_cross_entropy: lambda: (single(3, 5), single(3, 5), filled(5), filled(3, 5)),
    losses.softmax_cross_entropy_labels: lambda: (
        single(3, 5),
        np.array([0, 1, 2, 1, 0], np.int32),
        np.arange(3, dtype=np.int32)[:, None],
        filled(5),
        filled(3, 5),
    ),
    losses.sigmoid_cross_entropy: lambda: (single(3, 5), single(3, 5), filled(5), filled(3, 5)),
    losses.squared_error: lambda: (single(3, 5), single(3, 5), filled(5), filled(3, 5)),
    losses.poisson_deviance: lambda: (single(3, 5), abs(single(3, 5)), filled(5), filled(3, 5)),
    losses.weigh: lambda: (single(5), single(5), single(3, 5)),
    losses.cost: lambda: (single(5), filled()),
    losses.logistic_loss: lambda: (single(3, 5), single(3, 5)),
    regularization.l2_penalty: lambda: (single(9), 0.1, single()),
    regularization.penalized: lambda: (single(9), single(9), 0.1),
    regularization.l2_gradient: lambda: (single(9), single(9), 0.1),
    regularization.dropout: lambda: (single(3, 5), np.full((3, 5), 9, np.uint16), 30000, filled(3, 5)),
    regularization.clip_by_norm: lambda: (single(9), 0.1),
    batches.gather: lambda: (single(6, 3), np.array([0, 4]), filled(2, 3)),
    batches.scale: lambda: (single(6, 3), single(3), single(3)),
    updates.update_where: lambda: (single(), updates.sgd, single(9), single(9), (), (0.1,)),
    updates.rates_of: lambda: (dx.Adam().rates, single(), single(), filled(5)),
    guard.remember: lambda: (single(4), filled(4)),
    guard.all_finite: lambda: (single(4), single()),
    guard.restore: lambda: (single(), single(4), filled(4)),
}


def definitions():
    for module in (activations, batches, dense, guard, losses, regularization, updates):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            first = next(iter(inspect.signature(function).parameters), "")
            if function.__module__ == module.__name__ and first == "xp" and function is not updates.update:
                yield name, function


def elementwise(function):
    """Arguments for a definition of activations or updates: an array for each name that is not a rate."""
    names = list(inspect.signature(function).parameters)[1:]
    rates = {"rate", "mu", "rho", "eps", "beta1", "beta2", "scale", "decay", "slope", "alpha"}
    return [0.01 if name in rates else single(3, 5, seed=k) for k, name in enumerate(names)]


@pytest.mark.parametrize(("name", "function"), list(definitions()))
def test_no_definition_makes_a_float64_of_float32(name, function):
    arguments = CALLS[function]() if function in CALLS else elementwise(function)
    result = function(np, *arguments)
    for array in result if isinstance(result, tuple) else (result,):
        assert array is None or array.dtype == np.float32
    assert all(x.dtype != np.float64 for x in arguments if isinstance(x, np.ndarray))


def test_the_notice_is_taken():
    with pytest.raises(AssertionError, match="multiply of float32 is float64"):
        single(3) * np.float64(2.0)
    with pytest.raises(AssertionError, match="add of float32 is float64"):
        single(3) + np.ones(3)


def dtypes(*arrays):
    return {str(array.dtype).rpartition(".")[2] for array in arrays if array is not None}


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_training_stays_in_float32(backend, kind):
    """Given float64 numbers, targets and weights; every array of the step is looked at."""
    net = dx.Network((5, 6, 4, 3), ["tanh", "gelu"], backend=backend, dropout=0.2)
    random = np.random.default_rng(0)
    X, y, w = random.standard_normal((5, 20)), random.integers(3, size=20), random.uniform(1, 2, 20)
    step = dx.TrainingStep(net, kind(), 20, l2=0.01, clip_norm=1.0, on_nonfinite="skip")
    J = step(X, y, w)
    work = step.workspace(20, labels=True)
    numbers = [J, work.X, work.w, work.losses, work.J, step.gradient.g, net.theta, *step.state, step.applied]
    numbers += [*work.Z[1:], *work.A[1:], *work.H[1:], *work.dA[1:], *work.dZ[1:]]
    assert dtypes(*numbers) == {"float32"}
    dx.train(net, X, y, epochs=2, batch_size=8, sample_weight=w, optimizer=kind(), validation=(X, y))
    assert dtypes(net.theta, *net.W[1:], *net.b[1:]) == {"float32"}


@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "sigmoid-cross-entropy", "squared-error"])
@pytest.mark.parametrize("given", ["float32", "float64", "uint8", "int64"])
def test_predictions_and_losses_are_float32_whatever_is_given(backend, loss, given):
    net = dx.Network((5, 6, 3), loss=loss, backend=backend)
    X = np.arange(40).reshape(5, 8).astype(given)
    assert dtypes(net.predict_proba(X)) == {"float32"}
    assert dtypes(net.decide(net.predict_proba(X))) <= {"float32", "int64"}
    evaluation = dx.evaluation.Evaluation.of(net, X, np.eye(3)[np.arange(8) % 3].T)
    losses, _ = evaluation._outputs(net)
    assert dtypes(losses) == {"float32"}


def test_a_network_in_float32_is_saved_and_loaded_as_it_is(tmp_path):
    net = dx.Network((5, 6, 3), backend="cpu")
    net.save(tmp_path / "m")
    loaded = dx.load(tmp_path / "m", "cpu")
    assert loaded.theta.dtype == np.float32 and loaded.theta.tobytes() == net.theta.tobytes()
    assert dtypes(*Parameters.of(np, loaded.theta, loaded.sizes).W[1:]) == {"float32"}
