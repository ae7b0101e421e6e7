"""Weights to PyTorch and Keras, and from them: names, shapes and transposes. Neither library is imported.

What stands between the layers is not in their weights: the activation, the link, dropout. Two of them have one name and
two meanings: gelu here is the tanh form (PyTorch's and Keras's with `approximate`), and Keras's leaky_relu has a slope
of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepxp.errors import ConfigError, DataError
from deepxp.exchange.named import layers_of
from deepxp.network import Network
from deepxp.ops.activations import Activation
from deepxp.ops.losses import Loss
from deepxp.parameters import Parameters, count_parameters


def state_dict(net: Network, *, layers: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """{"0.weight": W[1], "0.bias": b[1], "2.weight": W[2], ...}, as nn.Sequential(Linear, g, Linear, ...) names them.

    W[l] (n[l], n[l-1]) and b[l] (n[l],) in NumPy, copies. `layers` are other names, such as ("fc1", "fc2").
    The scaler becomes part of the first layer, so that inputs are not to be scaled. Where the mean of a feature is k
    times its deviation, this costs the answers up to k roundings; `net.to(dtype="float64")` has more of them to lose.
    Raises ConfigError for names that are not one for each layer.
    """
    names = _names(layers, [str(2 * l) for l in range(net.L)])
    return {
        f"{name}.{kind}": np.ascontiguousarray(values)
        for name, W, b in zip(names, *_unscaled(net), strict=True)
        for kind, values in (("weight", W), ("bias", b))
    }


def keras_weights(net: Network, *, layers: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """{"dense/kernel": W[1]^T, "dense/bias": b[1], "dense_1/kernel": W[2]^T, ...}; `list(...values())` is what
    `model.set_weights` takes.

    `layers` are other names than Keras's own. The scaler becomes part of the first layer, as in `state_dict`.
    """
    names = _names(layers, ["dense", *(f"dense_{l}" for l in range(1, net.L))])
    return {
        f"{name}/{kind}": np.ascontiguousarray(values)
        for name, W, b in zip(names, *_unscaled(net), strict=True)
        for kind, values in (("kernel", W.T), ("bias", b))
    }


def from_state_dict(
    state: Mapping[str, Any],
    hidden: str | Activation | Sequence[str | Activation],
    loss: str | Loss,
    *,
    layers: Sequence[str] | None = None,
    **more: Any,
) -> Network:
    """The network of dense layers with these weights, by name: `model.state_dict()`, or what `deepxp.safetensors.read`
    finds in a file. Arrays of any library, on any device; `more` goes to Network, such as backend, scaler and classes.

    Weights do not say what `hidden` and `loss` are. The precision is float64 where a weight has it, else float32. The
    layers come in the order of the names; `layers` gives it where a file has sorted them.
    Raises DataError or ShapeError naming the array that is not of a dense layer, or does not fit the one before.
    """
    found = layers_of(state, layers)
    sizes = (found[0].W.shape[1], *(len(layer.b) for layer in found))
    wide = any(values.dtype.itemsize > 4 for layer in found for values in (layer.W, layer.b))
    theta = np.empty(count_parameters(sizes), "float64" if wide else "float32")
    parameters = Parameters.of(np, theta, sizes)
    for l, layer in enumerate(found, 1):
        parameters.W[l][...], parameters.b[l][...] = layer.W, layer.b[:, None]
    return Network(sizes, hidden, loss, theta=theta, **{"dtype": theta.dtype.name} | more)


def from_keras(
    weights: Any,
    hidden: str | Activation | Sequence[str | Activation],
    loss: str | Loss,
    *,
    layers: Sequence[str] | None = None,
    **more: Any,
) -> Network:
    """The network with the weights of a Keras model: the model itself, what its `get_weights()` returns, or arrays by
    name, "dense/kernel" (n[l-1], n[l]) and "dense/bias". The rest as in `from_state_dict`."""
    named: Mapping[str, Any]
    if hasattr(weights, "layers"):
        named = _of_model(weights)
        layers = layers or list(dict.fromkeys(name.rpartition("/")[0] for name in named))
    else:
        named = weights if isinstance(weights, Mapping) else _of_list(weights)
    return from_state_dict(named, hidden, loss, layers=layers, **more)


def _unscaled(net: Network) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """W[l] and b[l] (n[l],) for inputs as they come: W (x - shift) factor + b = (W factor) x + (b - W factor shift);
    and for outputs in the unit of the targets"""
    W = [net.backend.asnumpy(W) + 0.0 for W in net.W[1:]]
    b = [net.backend.asnumpy(b)[:, 0] + 0.0 for b in net.b[1:]]
    if net.scaler is not None:
        wide = W[0] * net.scaler.factor  # in float64
        W[0], b[0] = wide.astype(net.dtype), (b[0] - wide @ net.scaler.shift).astype(net.dtype)
    if net.target_scaler is not None:
        unit, shift = net.target_scaler.inverse
        W[-1], b[-1] = (W[-1] * unit[:, None]).astype(net.dtype), (b[-1] * unit + shift).astype(net.dtype)
    return W, b


def _names(layers: Sequence[str] | None, usual: list[str]) -> list[str]:
    names = usual if layers is None else list(layers)
    if len(set(names)) != len(usual) or len(names) != len(usual):
        raise ConfigError(f"layers must be a name for each of the {len(usual)} layers, got {', '.join(names)}")
    return names


def _of_model(model: Any, inside: str = "") -> dict[str, Any]:
    """The arrays of a model's layers in their order, and of the models among them."""
    named: dict[str, Any] = {}
    for layer in model.layers:
        name, arrays = f"{inside}{layer.name}", layer.get_weights()
        if hasattr(layer, "layers"):
            named |= _of_model(layer, f"{name}/")
        elif len(arrays) > 2:
            raise DataError(f"the layer {name!r} has {len(arrays)} arrays: it is not dense, and only those are known")
        else:
            named |= dict(zip((f"{name}/kernel", f"{name}/bias"), arrays, strict=False))
    return named


def _of_list(arrays: Sequence[Any]) -> dict[str, Any]:
    """Kernels, each with its bias if it has one, under Keras's names."""
    named: dict[str, Any] = {}
    layer = -1
    for i, array in enumerate(arrays, 1):
        layer += np.ndim(array) == 2
        name = "dense" if layer < 1 else f"dense_{layer}"
        kind = "kernel" if np.ndim(array) == 2 else "bias"
        if layer < 0 or f"{name}/{kind}" in named:
            raise DataError(
                f"array {i} of the weights has shape {np.shape(array)}; a kernel (inputs, units) and its bias (units,) "
                "come in turn, and there are only dense layers here"
            )
        named[f"{name}/{kind}"] = array
    return named
