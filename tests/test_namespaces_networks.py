"""A network on torch and on JAX: the same layer code, the same numbers, the same promises."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp import agreement
from deepxp.data.scaling import Scaler
from deepxp.ops.activations import ACTIVATIONS, Activation
from deepxp.optimizers import OPTIMIZERS

pytestmark = pytest.mark.interop

NUMPY = dx.Backend("numpy", np)  # the definitions on NumPy's arrays
X = np.random.default_rng(0).normal(size=(6, 100)).astype(np.float32)
TARGETS = {
    "softmax-cross-entropy": (X[0] * X[1] > 0).astype(int) + (X[2] > 0),
    "sigmoid-cross-entropy": (X[:3] > 0.3).astype(float),
    "squared-error": X[:3] * X[3:],
}
y = TARGETS["softmax-cross-entropy"]


@pytest.fixture(scope="module", params=["torch", "jax"])
def library(request):
    """The name of a library, which is also that of its backend."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    if request.param == "torch":
        pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    return request.param


def network(backend, *, seed=3, **options):
    return dx.Network((6, 9, 7, 3), **{"hidden": ("gelu", "relu"), "backend": backend, "seed": seed} | options)


def arrays(library):
    """The class of its arrays."""
    return pytest.importorskip(library).Tensor if library == "torch" else pytest.importorskip(library).Array


# the same mathematics


HIDDEN = {
    "softmax-cross-entropy": ("relu", "gelu", "tanh"),
    "sigmoid-cross-entropy": ("leaky_relu", "silu", "elu"),
    "squared-error": ("sigmoid", "softmax", "identity"),
}


@pytest.mark.parametrize("loss", TARGETS)
def test_every_quantity_of_a_step_is_that_of_numpy(library, loss):
    net = dx.Network((6, 9, 8, 7, 3), HIDDEN[loss], loss, backend=NUMPY, dropout=0.3, seed=3)
    found = agreement.compare(net, library, X[:, :30], TARGETS[loss][..., :30])
    # XLA's tanh is right to a few units in the last place, NumPy's to one: 1 - t^2 shows it
    assert all(d.other_error <= 4 * d.allowed for d in found.differences), str(found)
    assert found.other == library


def test_no_activation_was_left_out():
    assert {name for names in HIDDEN.values() for name in names} == set(ACTIVATIONS)


# training


@pytest.fixture(scope="module")
def trained(library):
    """Networks trained on NumPy and on the library: with dropout, weights, L2, clipping, AdamW, a last small batch."""
    nets = [network(backend, dropout=0.2) for backend in (NUMPY, library)]
    assert_array_equal(nets[0].theta, dx.asnumpy(nets[1].theta))  # before: the same numbers to the bit
    options = {
        "epochs": 3,
        "batch_size": 40,
        "optimizer": dx.AdamW(lr=1e-2),
        "schedule": dx.Cosine(),
        "l2": 1e-3,
        "clip_norm": 0.5,
        "sample_weight": np.linspace(1.0, 2.0, 100),
        "validation": (X, y),
        "patience": 3,
    }
    return nets, [dx.train(net, X, y, **options) for net in nets]


def test_training_gives_the_same_losses(trained):
    (expected, found), seen = (list(history.records) for history in trained[1]), []
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "validation_loss", "validation_accuracy", "validation_f1", "lr"):
            assert_allclose(other[name], one[name], rtol=2e-5)
        seen.append(one["loss"])
    assert seen[-1] < seen[0]


def test_training_gives_the_same_network(trained):
    here, there = trained[0]
    assert there.epochs == 3
    assert_allclose(dx.asnumpy(there.theta), here.theta, rtol=1e-3, atol=2e-5)
    assert_allclose(there.predict_proba(X), here.predict_proba(X), rtol=1e-3, atol=1e-5)


def test_a_trained_network_is_copied_saved_pickled_and_moved(trained, library, tmp_path):
    net, theta = trained[0][1], dx.asnumpy(trained[0][1].theta)
    net.save(tmp_path / "model.safetensors")
    loaded = dx.load(tmp_path / "model.safetensors", backend=library)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded, net.to("cpu")):
        assert_array_equal(dx.asnumpy(twin.theta), theta)
        assert twin.backend.name in (library, "cpu")
    copy.deepcopy(net).theta[...] = 0.0
    assert_array_equal(dx.asnumpy(net.theta), theta)


def test_the_answer_lives_where_the_samples_live(trained, library):
    net, kind = trained[0][1], arrays(library)
    own = net.backend.asarray(X)
    A = net.predict_proba(own)
    assert isinstance(A, kind)
    assert isinstance(net.predict(own), kind)
    assert type(net.predict_proba(X)) is type(net.predict(X)) is np.ndarray
    assert_array_equal(dx.asnumpy(A), net.predict_proba(X))
    assert dx.evaluate(net, own, y) == dx.evaluate(net, X, y)


def test_every_optimizer_takes_the_same_steps(library):
    # JAX compiles a step for seconds: there two rules with a state stand for the others, which are traced alike
    for name in OPTIMIZERS if library == "torch" else ("nesterov", "adam"):
        losses = []
        for backend in (NUMPY, library):
            step = dx.TrainingStep(dx.Network((6, 3), backend=backend), OPTIMIZERS[name](lr=1e-2), batch_size=100)
            losses.append([float(step(X, y)) for _ in range(3)])
        assert_allclose(losses[1], losses[0], rtol=1e-5, err_msg=name)
        assert losses[0][2] != losses[0][0]


def test_a_step_takes_batches_of_every_kind(library):
    """Labels and columns, NumPy and its own, small and so large that a batch may be read where it is."""
    wide = np.tile(X, 40)
    one_hot = np.eye(3)[:, np.tile(y, 40)]
    losses = []
    for own in (False, True):
        step = dx.TrainingStep(dx.Network((6, 3), backend=library, seed=2), dx.SGD(0.1), batch_size=4000)
        given = step.net.backend.asarray(wide, "float32") if own else wide
        losses.append([float(step(given, target)) for target in (np.tile(y, 40), one_hot)])
    assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert losses[0][1] < losses[0][0]


def test_a_users_own_activation_and_scaler(library):
    def swish(xp, Z):
        return Z / (1.0 + xp.exp(-Z))

    def swish_backward(xp, dA, Z):
        s = 1.0 / (1.0 + xp.exp(-Z))
        return dA * s * (1.0 + Z * (1.0 - s))

    losses = []
    for backend in (NUMPY, library):
        options = {"hidden": dx.Activation("swish", swish, swish_backward), "scaler": Scaler.fit(X.T, "standard")}
        net = network(backend, **options)
        given = [X] if backend is NUMPY else [X, net.backend.asarray(X)]
        losses += [dx.train(net.to(), x, y, epochs=1).records[0]["loss"] for x in given]
    assert_allclose(losses, losses[0], rtol=1e-5)


# the promises


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(library, tmp_path):
    options = {"epochs": 2, "batch_size": 40}
    whole, part, rest = (network(library, dropout=0.1) for _ in range(3))
    dx.train(whole, X, y, **options)
    checkpoints = dx.Checkpoints(tmp_path, every="1step")
    with pytest.raises(dx.StoppedError):
        dx.train(part, X, y, **options, checkpoints=checkpoints, on_step=lambda *at: checkpoints.stop())
    dx.train(rest, X, y, **options, checkpoints=dx.Checkpoints(tmp_path, resume=True))
    assert_array_equal(dx.asnumpy(rest.theta), dx.asnumpy(whole.theta))


def test_a_bad_batch_is_named_or_left_out(library):
    bad = X.copy()
    bad[2, 7] = np.inf
    net = network(library)
    before = dx.asnumpy(net.theta).copy()
    with pytest.raises(dx.NonFiniteError, match=r"first bad values are in the input A\[0\].*sample 8 is the first"):
        dx.train(net, bad, y, epochs=1, batch_size=40)
    assert_array_equal(dx.asnumpy(net.theta), before)  # the last good weights
    notes = []
    record = dx.train(net, bad, y, epochs=1, batch_size=40, on_nonfinite="skip", on_note=notes.append).records[0]
    assert record["skipped"] == 1
    assert "a batch was left out" in notes[0]
    assert np.isfinite(dx.asnumpy(net.theta)).all()
    assert not np.array_equal(dx.asnumpy(net.theta), before)


def test_float64_is_float64(library):
    losses = []
    for backend in (NUMPY, library):
        net = dx.Network((6, 3), backend=backend, dtype="float64")
        losses.append([r["loss"] for r in dx.train(net, X, y, epochs=2, batch_size=100).records])
        assert dx.asnumpy(net.theta).dtype == np.float64
    assert_allclose(losses[1], losses[0], rtol=1e-13)


def test_an_estimator_on_it(library):
    ConvergenceWarning = pytest.importorskip("sklearn.exceptions", reason="no scikit-learn").ConvergenceWarning
    estimators = pytest.importorskip("deepxp.estimators", reason="no scikit-learn")
    options = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 2, "tol": 0.0}
    made = [estimators.DeepClassifier(**options, device=device) for device in ("cpu", library)]
    for estimator in made:
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X.T, y)
    assert_allclose(made[1].loss_curve_, made[0].loss_curve_, rtol=1e-5)
    assert_allclose(made[1].coefs_[0], made[0].coefs_[0], rtol=1e-3, atol=1e-5)


# devices and memory


def test_a_device_that_is_not_there(library):
    for device in ("cuda:7", "nonsense"):
        with pytest.raises(dx.DeviceError, match=f"{library}:{device} is not usable here: .* To fix it: "):
            dx.backend(f"{library}:{device}")


def test_the_backend_by_its_name_its_device_and_its_module(library):
    module = pytest.importorskip(library)
    backend = dx.backend(library)
    assert dx.backend(module) == backend
    assert dx.backend(f"{library}:cpu").device == backend.device
    assert (backend.name, dx.backend(f"{library}:cpu").name) == (library, f"{library}:cpu")
    assert backend.read_loss_every == 1
    assert backend.free_memory() > 0
    assert backend.synchronize() is None


def test_a_network_that_does_not_fit_is_refused(library):
    with pytest.raises(dx.OutOfMemoryError, match=f"need .* MB on {library}"):
        dx.Network((10**7, 10**7), backend=library)


def test_tensors_that_require_a_gradient_are_data_like_any_other():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    net, given = dx.Network((6, 3), backend="torch", seed=1), torch.tensor(np.tile(X, 40), requires_grad=True)
    step = dx.TrainingStep(net, batch_size=4000)
    assert not step(given, np.tile(y, 40)).requires_grad
    assert not net.predict_proba(given).requires_grad
    assert not net.theta.requires_grad


def test_jax_is_traced_once_for_a_batch_size():
    pytest.importorskip("jax", reason="JAX is not installed")
    calls = []

    def counted(xp, Z):
        calls.append(type(Z))
        return xp.maximum(Z, 0.0)

    def counted_backward(xp, dA, A):
        return xp.where(A > 0.0, dA, 0.0)

    hidden = dx.Activation("counted", counted, counted_backward, smooth=False)
    step = dx.TrainingStep(dx.Network((6, 4, 3), hidden=hidden, backend="jax"), batch_size=100)
    step(X, y)
    made = len(calls)
    losses = [float(step(X, y)) for _ in range(5)]
    assert len(calls) == made
    assert losses == sorted(losses, reverse=True)
    step(X[:, :50], y[:50])
    assert len(calls) == made + 1


def test_a_trace_that_fails_leaves_the_network_as_it_was():
    pytest.importorskip("jax", reason="JAX is not installed")

    def asks(xp, Z):
        return Z if float(xp.max(Z)) > 1e9 else 2.0 * Z  # what a definition must not do: look at numbers

    def asks_backward(xp, dA, Z):
        return 2.0 * dA

    net = dx.Network((6, 4, 3), hidden=Activation("asks", asks, asks_backward), backend="jax", seed=1)
    before = np.asarray(net.theta)
    with pytest.raises(Exception, match="traced array"):
        dx.TrainingStep(net, batch_size=100)(X, y)
    assert_array_equal(np.asarray(net.theta), before)
    assert_array_equal(np.asarray(net.W[1]), before[:24].reshape(4, 6))


def test_memory_on_jax_is_written_and_read_like_an_array():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    net = network("jax")
    W = jax.numpy.asarray(net.W[2])
    assert isinstance(W, jax.Array)
    net.W[2][0, :] = 1.0
    net.b[1][...] = -1.0
    here = network(NUMPY)
    here.W[2][0, :], here.b[1][...] = 1.0, -1.0
    assert_array_equal(np.asarray(net.theta), here.theta)
    assert not np.array_equal(np.asarray(net.W[2]), W)  # W is an array of JAX, and those do not change
    assert_allclose(dx.relu(net.W[1]), np.maximum(here.W[1], 0.0))
    assert_allclose(dx.relu_backward(jax.numpy.ones((9, 6)), net.W[1]), np.where(here.W[1] > 0, 1.0, 0.0))
