"""The network: its shape, its parameters, and the forward and backward recursions."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from deepxp import hyperparameters
from deepxp.backend import Backend
from deepxp.backend import backend as backend_of
from deepxp.data.scaling import Scaler
from deepxp.errors import ConfigError, DataError, OutOfMemoryError, ShapeError
from deepxp.initialize import initial_theta
from deepxp.inputs import samples
from deepxp.namespaces import asnumpy, host_array, on_host
from deepxp.ops import batches, dense
from deepxp.ops.activations import ACTIVATIONS, Activation
from deepxp.ops.losses import LOSSES, Loss
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient, Parameters, count_parameters
from deepxp.version import __version__
from deepxp.workspace import Memory

IDENTITY = ACTIVATIONS["identity"]
CHUNK = 2**22  # numbers in the widest layer of one piece of a prediction


class Network:
    """L dense layers of n[0], n[1], ..., n[L] units.

    `hidden` is the activation of layers 1..L-1, by name or as an Activation, or one for each of them; `loss` binds
    g[L] to its cost; `dropout` is the fraction of units dropped, one number or one for each hidden layer. `scaler` is
    applied to every input; `target_scaler` to the targets of a squared error, and undone in predictions. `classes` has
    the names of the classes. `W[l]`, `b[l]`, `g[l]` are indexed 1..L as in the equations.

    Raises ConfigError for sizes, names or numbers that do not fit, DeviceError for a device that is not usable.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        loss: str | Loss = "softmax-cross-entropy",
        *,
        backend: str | Backend | ModuleType = "auto",
        seed: int = 0,
        dtype: str = "float32",
        dropout: float | Sequence[float] = 0.0,
        scaler: Scaler | None = None,
        target_scaler: Scaler | None = None,
        classes: Sequence[str] | None = None,
        theta: Any = None,
    ) -> None:
        self.sizes = hyperparameters.check_sizes(sizes)
        self.L = len(self.sizes) - 1
        self.loss = loss if isinstance(loss, Loss) else hyperparameters.check_named(loss, LOSSES, "loss")
        self.g: tuple[Any, ...] = (None, *hyperparameters.check_hidden(hidden, self.L - 1), self.loss.link)
        self.dropout = hyperparameters.check_dropout(dropout, self.L - 1)
        self.dtype, self.seed = hyperparameters.check_dtype(dtype), hyperparameters.check_seed(seed)
        self._scaler, self.target_scaler = scaler, target_scaler
        self.classes = None if classes is None else tuple(classes)
        self.epochs = 0  # trained so far: a counter of the random streams
        self.notes: Mapping[str, Any] = {}  # what the writer of the model file noted beside the network
        if self.loss.evaluate_labels and self.sizes[-1] < 2:
            raise ConfigError(
                f"{self.loss.name} needs an output for each of at least 2 classes, got n[L] = {self.sizes[-1]}; "
                "one output for two classes takes loss='sigmoid-cross-entropy'"
            )
        if scaler is not None and scaler.shift.shape != (self.sizes[0],):
            raise ConfigError(f"the scaler has {scaler.shift.shape[0]} features, the network {self.sizes[0]} inputs")
        units = target_scaler and (self.loss.name, *target_scaler.shift.shape)
        if units and units != ("squared-error", self.sizes[-1]):
            raise ConfigError(f"target_scaler is for the {self.sizes[-1]} targets of loss='squared-error'")
        named = max(2, self.sizes[-1])
        if self.classes is not None and not self.loss.of_numbers and len(self.classes) != named:
            raise ConfigError(f"expected names of {named} classes for n[L] = {self.sizes[-1]}, got {len(self.classes)}")
        self.backend = backend_of(backend)
        if theta is None:
            need, free = np.dtype(self.dtype).itemsize * count_parameters(self.sizes), self.backend.free_memory()
            if free is not None and need > free:
                raise OutOfMemoryError(
                    f"the weights of {'-'.join(map(str, self.sizes))} need {need / 1e6:,.1f} MB on "
                    f"{self.backend.name}, and {free / 1e6:,.1f} MB are free; take narrower layers"
                )
            theta = initial_theta(self.sizes, self.g, self.seed)
        if theta.shape != (count_parameters(self.sizes),):
            raise ShapeError(f"theta must have shape ({count_parameters(self.sizes)},), got {tuple(theta.shape)}")
        with self.backend.active():
            own = self.backend.empty((theta.shape[0],), self.dtype)
            self.backend.write(own, theta)
            self.parameters = Parameters.of(self.backend.xp, own, self.sizes)
            scaling = () if scaler is None else (scaler.shift, scaler.factor)
            self._scaling = tuple(self.backend.asarray(v, self.dtype) for v in scaling)
            unit = target_scaler.inverse if target_scaler else ()
            self._unit = tuple(self.backend.asarray(v[:, None], self.dtype) for v in unit)

    @property
    def scaler(self) -> Scaler | None:
        """What is applied to every input; given when the network is made."""
        return self._scaler

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

    def to(self, backend: str | Backend | ModuleType | None = None, dtype: str | None = None) -> "Network":
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
            target_scaler=self.target_scaler,
            classes=self.classes,
            theta=self.backend.asnumpy(self.theta),
        )
        twin.epochs, twin.notes = self.epochs, self.notes
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        return self.to()  # a copy of the views apart from their vector would come loose from it

    def __reduce__(self) -> tuple[Any, ...]:
        hidden, theta = self.g[1:-1], self.backend.asnumpy(self.theta)
        options = {"backend": self.backend.name, "seed": self.seed, "dtype": self.dtype, "dropout": self.dropout}
        options |= {"scaler": self.scaler, "target_scaler": self.target_scaler, "classes": self.classes, "theta": theta}
        return _restored, (self.sizes, hidden, self.loss, options, self.epochs, self.notes)

    def on(self, backend: Backend) -> "Network":
        """This network, not a copy, with its operations looked up in another backend of the same device."""
        view = object.__new__(Network)
        view.__dict__ = self.__dict__ | {"backend": backend}
        return view

    def memory(self, m: int, *, labels: bool, shared: bool = True) -> Memory:
        """The memory of a training step for up to m samples."""
        with self.backend.active():
            dropped = [keep > 0 for keep in self.keep]
            memory = partial(Memory, self.backend, self.sizes, self.g, dropped, self.dtype, m, labels=labels)
            if shared and self.backend.precision == "fp16" and self.dtype == "float32" and not self._scaling:
                return memory(inputs="float16")  # products are all that reads them, and would round them each time
            return memory(shared=shared)

    def gradient(self) -> Gradient:
        """Memory for a gradient, of zeros."""
        with self.backend.active():
            return Gradient.of(self.backend.xp, self.backend.zeros(self.theta.shape, self.dtype), self.sizes)

    def predict_proba(self, X: Any) -> Array:
        """A[L] for columns X (n[0], m): probabilities, or the numbers of a regression in their own unit, (n[L], m).

        The answer lives where X lives: NumPy in, NumPy out; an array of the network's device stays there.
        """
        with self.backend.active():
            return self._outputs(samples(X, self.sizes[0]))

    def predict(self, X: Any) -> Array:
        """What the network says of columns X (n[0], m).

        C classes: labels (m,). One output of a sigmoid: 1 where A[L] >= 0.5, else 0, (m,). Several labels at once: the
        same for each, (n[L], m). Numbers: A[L], (m,) for one output, else (n[L], m).

        Raises DataError naming the first sample whose A[L] is NaN where a label is due: no label says so.
        """
        with self.backend.active():
            A = self.predict_proba(X)
            self.check_decidable(A)
            return self.decide(A)

    def check_decidable(self, A: Array) -> None:
        """Raises DataError for outputs A[L] (n[L], m) of classes of which one is NaN; numbers may be."""
        xp = self.backend.xp if self.backend.owns(A) else np
        if self.loss.of_numbers or not bool(xp.any(bad := xp.isnan(A))):
            return
        sample = int(np.argmax(asnumpy(bad).any(axis=0))) + 1
        raise DataError(f"A[L] is NaN for sample {sample}, so that it has no label; look for NaN or infinity in X")

    def decide(self, A: Array) -> Array:
        """The prediction for outputs A[L] (n[L], m), where A lives."""
        xp = self.backend.xp if self.backend.owns(A) else np
        if self.loss.evaluate_labels:
            return xp.argmax(A, axis=0)
        if self.loss.name == "sigmoid-cross-entropy":
            A = xp.where(A >= 0.5, xp.ones_like(A, dtype=xp.int64), 0)
        return A[0, :] if self.sizes[-1] == 1 else A

    def _outputs(self, table: Array) -> Array:
        backend, stays, (M, _), n = self.backend, self.backend.owns(table), table.shape, self.sizes[-1]
        out = backend.empty((n, M), self.dtype) if stays else np.empty((n, M), self.dtype)
        step = max(1, CHUNK // max(self.sizes))
        for start in range(0, M, step):
            stop = min(start + step, M)
            A = self.in_unit(self.output(table[start:stop, :]))
            out[:, start:stop] = A if stays else backend.asnumpy(A)
        return backend.array(out) if stays else out

    def output(self, rows: Array, *, link: bool = True) -> Array:
        """A[L], or Z[L] with `link=False`, (n[L], m) on the network's device, for rows (m, n[0]) not yet scaled."""
        backend, m = self.backend, rows.shape[0]
        X = backend.empty(rows.shape, self.dtype)
        self.fill(X, rows)
        forward, A = backend[dense.dense_forward], X.T
        for l in range(1, self.L + 1):
            Z = backend.empty((self.sizes[l], m), self.dtype)
            forward(self.W[l], self.b[l], A, self.g[l] if l < self.L or link else IDENTITY, Z, Z)
            A = Z
        return A

    def in_unit(self, A: Array) -> Array:
        """Outputs A[L] (n[L], m) on the network's device, in the unit of the targets: deviation * A[L] + mean."""
        return A * self._unit[0] + self._unit[1] if self._unit else A

    def as_learned(self, rows: Array) -> Array:
        """Targets (m, n[L]) or labels (m,) as the loss sees them: (y - mean) / deviation where there is a scaler."""
        return rows if self.target_scaler is None else self.target_scaler.transform(rows, np.float64)

    def fill(self, X: Array, rows: Array) -> None:
        """Write rows (m, n[0]), scaled, into X (m, n[0]), memory of this device."""
        rows, scale = self.fillable(rows)
        self.backend.write(X, rows)
        if scale is not None:
            with self.backend.active():
                scale(X)

    def takes(self, rows: Array) -> bool:
        """May the first layer read these rows (m, n[0]) as they are: here, in its precision, and not to be scaled?"""
        return not self._scaling and self.backend.owns(rows) and rows.dtype == self.theta.dtype

    def fillable(self, rows: Array) -> tuple[Array, Callable[[Array], None] | None]:
        """Rows that may be narrowed to the network's precision, and how they are scaled after that, if they still are.

        A number that the precision holds exactly is scaled in it; any other before it is narrowed: 10 seconds are lost
        in the seconds since 1970 as a float32.
        """
        if not self._scaling:
            return rows, None
        if not isinstance(rows, np.ndarray) and (self.backend.owns(rows) or not on_host(rows)):
            return self.backend.asarray(rows), self._scale
        rows = host_array(rows)
        if np.can_cast(rows.dtype, self.dtype):
            return rows, self._scale
        return self.scaler.transform(rows, self.dtype), None  # type: ignore[union-attr]

    def _scale(self, X: Array) -> None:
        self.backend[batches.scale](X, *self._scaling)

    def save(self, path: str | os.PathLike[str], *, notes: Mapping[str, Any] | None = None) -> None:
        """Write the model to a safetensors file, whole or not at all; `deepxp.load` reads it back.

        Raises ModelFileError naming the path and the cause where it cannot be written.
        """
        from deepxp import modelfile  # here and in load: json and hashes are slow to import

        if self.loss not in LOSSES.values():
            raise ConfigError(f"a model file holds the name of its loss; {self.loss.name!r} is not one of deepxp's")
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
            notes=self.notes if notes is None else notes,
            target_scaler=self.target_scaler.kind if self.target_scaler else None,
        )
        scalers = {"scaler": self.scaler, "target": self.target_scaler}.items()
        tensors = {f"{end}.{name}": getattr(s, name) for end, s in scalers if s for name in ("shift", "factor")}
        modelfile.write(path, model, self.backend.asnumpy(self.theta), tensors)


def load(
    path: str | os.PathLike[str],
    backend: str | Backend | ModuleType = "auto",
    *,
    activations: Sequence[Activation] = (),
    limit_bytes: int | None = None,
) -> Network:
    """The network in a model file, on any device. `activations` are the user's own that it was trained with;
    `limit_bytes` is the longest file that is read, without it one that fits the memory that there is.

    Raises ModelFileError for a file that is damaged or not a model, ConfigError for an activation that is not known.
    """
    from deepxp import modelfile

    model, theta, found = modelfile.read(path, limit_bytes)
    ends = {"scaler": model.scaler, "target": model.target_scaler}
    scalers = {end: Scaler(kind, found[f"{end}.shift"], found[f"{end}.factor"]) for end, kind in ends.items() if kind}
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
        scaler=scalers.get("scaler"),
        target_scaler=scalers.get("target"),
        classes=model.classes,
        theta=theta,
    )
    net.epochs, net.notes = model.epochs, model.notes
    return net


def _restored(sizes: Any, hidden: Any, loss: Loss, options: dict[str, Any], epochs: int, notes: Any) -> Network:
    net = Network(sizes, hidden, loss, **options)
    net.epochs, net.notes = epochs, notes
    return net
