"""The network: its shape, its parameters, and the forward and backward recursions."""

import copy
import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.backend import backend as backend_of
from deepxp.data.scaling import Scaler
from deepxp.errors import ConfigError, ShapeError
from deepxp.initialize import initial_theta
from deepxp.inputs import samples
from deepxp.ops import batches, dense
from deepxp.ops.activations import ACTIVATIONS, Activation
from deepxp.ops.losses import LOSSES, Loss
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient, Parameters, count_parameters
from deepxp.version import __version__
from deepxp.workspace import Memory

IDENTITY = ACTIVATIONS["identity"]
DTYPES = ("float32", "float64")
CHUNK = 2**22  # numbers in the widest layer of one piece of a prediction


class Network:
    """L dense layers of n[0], n[1], ..., n[L] units.

    `hidden` is the activation of layers 1..L-1, by name or as an Activation, or one for each of them; `loss` binds
    g[L] to its cost; `dropout` is the fraction of units dropped, one number or one for each hidden layer. `scaler` is
    applied to every input; `classes` names the classes. `W[l]`, `b[l]`, `g[l]` are indexed 1..L as in the equations.

    Raises ConfigError for sizes, names or numbers that do not fit, DeviceError for a device that is not usable.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        loss: str | Loss = "softmax-cross-entropy",
        *,
        backend: str | Backend = "auto",
        seed: int = 0,
        dtype: str = "float32",
        dropout: float | Sequence[float] = 0.0,
        scaler: Scaler | None = None,
        classes: Sequence[str] | None = None,
        theta: Any = None,
    ) -> None:
        self.sizes = _sizes(sizes)
        self.L = len(self.sizes) - 1
        self.loss = loss if isinstance(loss, Loss) else _named(loss, LOSSES, "loss")
        self.g: tuple[Any, ...] = (None, *_hidden(hidden, self.L - 1), self.loss.link)
        self.dropout = _dropout(dropout, self.L - 1)
        self.dtype, self.seed = _dtype(dtype), _seed(seed)
        self.scaler = scaler
        self.classes = None if classes is None else tuple(classes)
        self.epochs = 0  # trained so far: a counter of the random streams
        if self.loss.evaluate_labels and self.sizes[-1] < 2:
            raise ConfigError(
                f"{self.loss.name} needs an output for each of at least 2 classes, got n[L] = {self.sizes[-1]}; "
                "one output for two classes takes loss='sigmoid-cross-entropy'"
            )
        if scaler is not None and scaler.shift.shape != (self.sizes[0],):
            raise ConfigError(f"the scaler has {scaler.shift.shape[0]} features, the network {self.sizes[0]} inputs")
        named = max(2, self.sizes[-1])
        if self.classes is not None and self.loss.name != "squared-error" and len(self.classes) != named:
            raise ConfigError(
                f"expected the names of {named} classes for n[L] = {self.sizes[-1]}, got {len(self.classes)}"
            )
        self.backend = backend_of(backend)
        if theta is None:
            theta = initial_theta(self.sizes, self.g, self.seed)
        if theta.shape != (count_parameters(self.sizes),):
            raise ShapeError(f"theta must have shape ({count_parameters(self.sizes)},), got {tuple(theta.shape)}")
        with self.backend.active():
            own = self.backend.empty((theta.shape[0],), self.dtype)
            self.backend.write(own, theta)
            self.parameters = Parameters.of(self.backend.xp, own, self.sizes)
            scaling = () if scaler is None else (scaler.shift, scaler.factor)
            self._scaling = tuple(self.backend.asarray(v, self.dtype) for v in scaling)

    @property
    def theta(self) -> Array:
        """All parameters in one vector, [W1 ... WL | b1 ... bL]."""
        return self.parameters.theta

    @property
    def W(self) -> tuple[Array, ...]:
        """W[l] (n[l], n[l-1]), views of theta; W[0] is None."""
        return self.parameters.W

    @property
    def b(self) -> tuple[Array, ...]:
        """b[l] (n[l], 1), views of theta; b[0] is None."""
        return self.parameters.b

    @property
    def keep(self) -> tuple[int, ...]:
        """What is kept of layer l after dropout, in units of 2^-16; 0 stands for no dropout."""
        return (0, *(min(max(round(65536 * (1 - rate)), 1), 65535) if rate else 0 for rate in self.dropout), 0)

    def __repr__(self) -> str:
        hidden = ", ".join(activation.name for activation in self.g[1:-1]) or "none"
        return (
            f"Network({'-'.join(map(str, self.sizes))}, hidden: {hidden}, {self.loss.name}, {self.dtype}, "
            f"{self.theta.shape[0]} parameters on {self.backend.name})"
        )

    def to(self, backend: str | Backend | None = None, dtype: str | None = None) -> "Network":
        """A copy of this network, on another device or in another precision."""
        twin = Network(
            self.sizes,
            self.g[1:-1],
            self.loss,
            backend=self.backend if backend is None else backend,
            seed=self.seed,
            dtype=dtype or self.dtype,
            dropout=self.dropout,
            scaler=self.scaler,
            classes=self.classes,
            theta=self.backend.asnumpy(self.theta),
        )
        twin.epochs = self.epochs
        return twin

    def on(self, backend: Backend) -> "Network":
        """This network, not a copy, with its operations looked up in another backend of the same device."""
        view = copy.copy(self)
        view.backend = backend
        return view

    def memory(self, m: int, *, labels: bool, shared: bool = True) -> Memory:
        """The memory of a training step for up to m samples."""
        with self.backend.active():
            dropped = [keep > 0 for keep in self.keep]
            return Memory(self.backend, self.sizes, self.g, dropped, self.dtype, m, labels=labels, shared=shared)

    def gradient(self) -> Gradient:
        """Memory for a gradient, of zeros."""
        with self.backend.active():
            return Gradient.of(self.backend.xp, self.backend.zeros(self.theta.shape, self.dtype), self.sizes)

    def predict_proba(self, X: Any) -> Array:
        """A[L] for columns X (n[0], m): probabilities, or the numbers of a regression, (n[L], m).

        The answer lives where X lives: NumPy in, NumPy out; an array of the network's device stays there.
        """
        with self.backend.active():
            return self._outputs(samples(X, self.sizes[0]))

    def predict(self, X: Any) -> Array:
        """What the network says of columns X (n[0], m).

        C classes: labels (m,). One output of a sigmoid: 1 where A[L] >= 0.5, else 0, (m,). Several labels at once: the
        same for each, (n[L], m). Numbers: A[L], (m,) for one output, else (n[L], m).
        """
        return self.decide(self.predict_proba(X))

    def decide(self, A: Array) -> Array:
        """The prediction for outputs A[L] (n[L], m), where A lives."""
        xp = self.backend.xp if self.backend.owns(A) else np
        if self.loss.evaluate_labels:
            return xp.argmax(A, axis=0)
        if self.loss.name == "sigmoid-cross-entropy":
            A = xp.where(A >= 0.5, xp.ones_like(A, dtype=xp.int64), 0)
        return A[0, :] if self.sizes[-1] == 1 else A

    def _outputs(self, table: Array) -> Array:
        backend, (M, _), n = self.backend, table.shape, self.sizes[-1]
        stays = backend.owns(table)
        out = backend.empty((n, M), self.dtype) if stays else np.empty((n, M), self.dtype)
        step = max(1, CHUNK // max(self.sizes))
        for start in range(0, M, step):
            stop = min(start + step, M)
            A = self.output(table[start:stop, :])
            out[:, start:stop] = A if stays else backend.asnumpy(A)
        return out

    def output(self, rows: Array, *, link: bool = True) -> Array:
        """A[L], or Z[L] with `link=False`, (n[L], m) on the network's device, for rows (m, n[0]) not yet scaled."""
        backend, m = self.backend, rows.shape[0]
        X = backend.empty(rows.shape, self.dtype)
        backend.write(X, rows)
        self.scale(X)
        forward, A = backend[dense.dense_forward], X.T
        for l in range(1, self.L + 1):
            Z = backend.empty((self.sizes[l], m), self.dtype)
            forward(self.W[l], self.b[l], A, self.g[l] if l < self.L or link else IDENTITY, Z, Z)
            A = Z
        return A

    def scale(self, X: Array) -> None:
        """Apply the scaler to rows X (m, n[0]) of this device, in place."""
        if self._scaling:
            self.backend[batches.scale](X, *self._scaling)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, whole or not at all; `deepxp.load` reads it back.

        Raises ModelFileError naming the path and the cause where it cannot be written.
        """
        from deepxp import modelfile  # here and in load: json and hashes are slow to import

        model = modelfile.Model(
            sizes=self.sizes,
            hidden=tuple(activation.name for activation in self.g[1:-1]),
            loss=self.loss.name,
            dtype=self.dtype,
            seed=self.seed,
            dropout=self.dropout,
            epochs=self.epochs,
            classes=self.classes,
            scaler=self.scaler.kind if self.scaler else None,
            version=__version__,
        )
        scaler = {"shift": self.scaler.shift, "factor": self.scaler.factor} if self.scaler else {}
        modelfile.write(path, model, self.backend.asnumpy(self.theta), scaler)


def load(
    path: str | os.PathLike[str], backend: str | Backend = "auto", *, activations: Sequence[Activation] = ()
) -> Network:
    """The network in a model file, on any device. `activations` are the user's own that it was trained with.

    Raises ModelFileError for a file that is damaged or not a model, ConfigError for an activation that is not known.
    """
    from deepxp import modelfile

    model, theta, scaler = modelfile.read(path)
    known = ACTIVATIONS | {activation.name: activation for activation in activations}
    for name in model.hidden:
        if name not in known:
            raise ConfigError(
                f"{path}: the network was trained with an activation {name!r} of the user's own; "
                f"pass it: deepxp.load(path, activations=[{name}])"
            )
    net = Network(
        model.sizes,
        [known[name] for name in model.hidden],
        model.loss,
        backend=backend,
        seed=model.seed,
        dtype=model.dtype,
        dropout=model.dropout,
        scaler=Scaler(model.scaler, **scaler) if model.scaler else None,
        classes=model.classes,
        theta=theta,
    )
    net.epochs = model.epochs
    return net


def _sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        n = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise ConfigError(f"sizes are the whole numbers n[0], ..., n[L], got {sizes!r}") from None
    if len(n) < 2 or min(n) < 1:
        raise ConfigError(f"sizes are at least an input and an output layer of 1 or more units each, got {n}")
    return n


def _named(name: Any, table: dict[str, Any], what: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"unknown {what} {name!r}; there are {', '.join(table)}")
    return table[name]


def _hidden(hidden: str | Activation | Sequence[str | Activation], layers: int) -> tuple[Activation, ...]:
    several = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    each: list[Any] = list(hidden) if several else [hidden] * layers  # type: ignore[arg-type]
    if len(each) != layers:
        raise ConfigError(f"hidden names {len(each)} activations for {layers} hidden layers")
    return tuple(x if isinstance(x, Activation) else _named(x, ACTIVATIONS, "activation") for x in each)


def _dropout(rate: float | Sequence[float], layers: int) -> tuple[float, ...]:
    try:
        several = hasattr(rate, "__iter__") and not isinstance(rate, str)
        rates = tuple(float(r) for r in rate) if several else (float(rate),) * layers  # type: ignore[union-attr, arg-type]
    except (TypeError, ValueError):
        raise ConfigError(f"dropout is a number, or one for each hidden layer, got {rate!r}") from None
    if len(rates) != layers:
        raise ConfigError(f"dropout has {len(rates)} rates for {layers} hidden layers")
    if any(not 0 <= r < 1 for r in rates):
        raise ConfigError(f"a dropout rate is the fraction dropped, 0 <= rate < 1, got {rate!r}")
    return rates


def _dtype(dtype: Any) -> str:
    try:
        name = "none" if dtype is None else np.dtype(dtype).name
    except TypeError:
        name = "unknown"
    if name not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return name


def _seed(seed: int) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ConfigError(f"the seed is a whole number from 0 to 2^64 - 1, got {seed!r}")
    return number
