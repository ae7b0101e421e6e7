"""PyTorch and Keras themselves: the weights that they get from here give their answers, and theirs arrive."""

import os

import numpy as np
import pytest

import deepxp as dx
from deepxp import safetensors
from deepxp.data import Scaler
from deepxp.errors import DataError
from deepxp.exchange import from_keras, from_state_dict, keras_weights, state_dict
from deepxp.exchange.compare import apart

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's variables, on NumPy 2
]

ROWS = (np.random.default_rng(0).standard_normal((9, 4)) * [0.01, 0.5, 50.0, 7.0] + [0.05, -1.0, 90.0, 0.0]).astype(
    "f4"
)
HIDDEN = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu")  # softmax is over an axis there


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch, of the extra interop, is not installed")


@pytest.fixture(scope="module")
def keras(torch):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="keras, of the extra interop, is not installed")


def network(hidden="relu", **more):
    net = dx.Network((4, 6, 5, 3), hidden, backend="cpu", seed=1, **more)
    net.theta[...] += 0.1 * np.random.default_rng(5).standard_normal(net.theta.shape)
    return net


def sequential(torch, g="relu"):
    """The network as PyTorch writes it, without its softmax."""
    nn = torch.nn
    activations = {
        "identity": nn.Identity,
        "relu": nn.ReLU,
        "leaky_relu": nn.LeakyReLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "elu": nn.ELU,
        "gelu": lambda: nn.GELU(approximate="tanh"),
        "silu": nn.SiLU,
    }
    g = activations[g]
    return nn.Sequential(nn.Linear(4, 6), g(), nn.Linear(6, 5), g(), nn.Linear(5, 3))


def said_by(torch, model):
    with torch.no_grad():
        return torch.softmax(model(torch.from_numpy(ROWS)), 1).numpy()


@pytest.mark.parametrize("g", HIDDEN)
def test_pytorch_says_the_same_with_these_weights_and_the_network_with_pytorchs(torch, g):
    net, model = network(g, scaler=Scaler.fit(ROWS)), sequential(torch, g)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in state_dict(net).items()})
    assert apart(said_by(torch, model), net.predict_proba(ROWS.T).T) < 2e-6
    torch.manual_seed(3)
    fresh = sequential(torch, g)
    arrived = from_state_dict(fresh.state_dict(), g, "softmax-cross-entropy", backend="cpu")
    assert apart(arrived.predict_proba(ROWS.T).T, said_by(torch, fresh)) < 2e-6


def test_parameters_that_require_a_gradient_arrive_too(torch):
    model = sequential(torch)
    arrived = from_state_dict(dict(model.named_parameters()), "relu", "softmax-cross-entropy", backend="cpu")
    assert apart(arrived.predict_proba(ROWS.T).T, said_by(torch, model)) < 1e-6


def test_a_module_with_names_of_its_own_arrives_in_the_order_in_which_it_names_them(torch):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)
            self.before = torch.nn.Linear(4, 4, bias=False)
            self.out = torch.nn.Linear(4, 4)

        def forward(self, X):
            return self.out(torch.tanh(self.before(torch.tanh(self.inner(X)))))

    model = Module()
    arrived = from_state_dict(model.state_dict(), "tanh", "softmax-cross-entropy", backend="cpu")
    assert apart(arrived.predict_proba(ROWS.T).T, said_by(torch, model)) < 1e-6


def test_a_precision_that_numpy_lacks_is_said(torch):
    state = {name: values.bfloat16() for name, values in sequential(torch).state_dict().items()}
    with pytest.raises(DataError, match=r"'0\.weight'.* pass it as float32"):
        from_state_dict(state, "relu", "softmax-cross-entropy", backend="cpu")


def test_a_file_of_safetensors_own_writer_arrives_and_a_model_file_is_read_by_its_reader(torch, tmp_path):
    of_torch = pytest.importorskip("safetensors.torch", reason="the safetensors package is not installed")
    model, path = sequential(torch), tmp_path / "torch.safetensors"
    of_torch.save_file(model.state_dict(), path)
    tensors, _ = safetensors.read(path)
    arrived = from_state_dict(tensors, "relu", "softmax-cross-entropy", backend="cpu")
    assert apart(arrived.predict_proba(ROWS.T).T, said_by(torch, model)) < 1e-6
    arrived.save(tmp_path / "model.safetensors")
    read = of_torch.load_file(tmp_path / "model.safetensors")
    assert set(read) == {"W1", "b1", "W2", "b2", "W3", "b3"}
    for l in (1, 2, 3):
        assert torch.equal(read[f"W{l}"], model[2 * (l - 1)].weight)


def dense(keras, g="relu"):
    layers = keras.layers
    g = {
        "gelu": lambda Z: keras.ops.gelu(Z, approximate=True),
        "leaky_relu": lambda Z: keras.ops.leaky_relu(Z, 0.01),
    }.get(g, "linear" if g == "identity" else g)
    parts = [layers.Dense(6, g), layers.Dropout(0.1), layers.Dense(5, g), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((4,)), *parts])


@pytest.mark.parametrize("g", HIDDEN)
def test_keras_says_the_same_with_these_weights_and_the_network_with_kerass(keras, g):
    net, model = network(g, scaler=Scaler.fit(ROWS)), dense(keras, g)
    model.set_weights(list(keras_weights(net).values()))
    assert apart(model.predict_on_batch(ROWS), net.predict_proba(ROWS.T).T) < 2e-6
    fresh = dense(keras, g)
    expected = fresh.predict_on_batch(ROWS)
    paths = {variable.path: variable for variable in fresh.weights}
    for weights in (fresh, fresh.get_weights(), paths):
        arrived = from_keras(weights, g, "softmax-cross-entropy", backend="cpu")
        assert apart(arrived.predict_proba(ROWS.T).T, expected) < 2e-6


def test_a_layer_of_keras_takes_its_weights_by_its_name(keras):
    net, model = network(), dense(keras)
    names = [layer.name for layer in model.layers if layer.get_weights()]
    weights = keras_weights(net, layers=names)
    for name in names:
        model.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    assert apart(model.predict_on_batch(ROWS), net.predict_proba(ROWS.T).T) < 2e-6


def test_a_layer_of_keras_that_is_not_dense_is_refused(keras):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    with pytest.raises(DataError, match=r"the layer 'batch_normalization.*' has 4 arrays: it is not dense"):
        from_keras(model, "relu", "softmax-cross-entropy")
