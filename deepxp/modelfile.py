"""A trained network as a file: safetensors, with everything else that it takes in its metadata.

Tensors: `W1`, `b1`, ... `WL`, `bL`; `scaler.shift`, `scaler.factor` where inputs are scaled, and `target.shift`,
`target.factor` where targets are, which is what makes it a file of format 2. The metadata holds one JSON text under
"deepxp": the format's number, the sizes and the names. Opened without a GPU, without pickle.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from deepxp import safetensors
from deepxp.bounded import from_json
from deepxp.errors import ModelFileError, OutOfMemoryError
from deepxp.ops.typing import Array
from deepxp.parameters import Parameters, count_parameters

FORMAT = 2
MODEL = "model.safetensors"  # in the folder of a run


@dataclass(frozen=True)
class Model:
    """What a model file says of a network beside its numbers; activations and loss by name."""

    sizes: tuple[int, ...]
    hidden: tuple[str, ...]
    loss: str
    dtype: str
    seed: int
    dropout: tuple[float, ...]
    epochs: int
    classes: tuple[str, ...] | None = None
    scaler: str | None = None
    version: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    target_scaler: str | None = None

    @property
    def scalers(self) -> dict[str, tuple[int, ...]]:
        """The tensors of its scalers, with their shapes."""
        ends = {"scaler": (self.scaler, self.sizes[0]), "target": (self.target_scaler, self.sizes[-1])}
        return {f"{end}.{name}": (n,) for end, (kind, n) in ends.items() if kind for name in ("shift", "factor")}


def write(path: str | os.PathLike[str], model: Model, theta: Array, scalers: Mapping[str, Array]) -> None:
    """Write the file whole, or leave what was there; `scalers` by the names of their tensors.

    Raises ModelFileError naming the path and the cause.
    """
    parameters = Parameters.of(np, theta, model.sizes)
    tensors = {name: np.asarray(values) for name, values in scalers.items()}
    for l in range(1, len(model.sizes)):
        tensors |= {f"W{l}": parameters.W[l], f"b{l}": parameters.b[l]}
    about = {"format": FORMAT, **asdict(model)}
    if model.target_scaler is None:  # a file that format 1 has words for
        about["format"] = 1
        del about["target_scaler"]
    safetensors.write(path, tensors, {"deepxp": json.dumps(about)})


def read(path: str | os.PathLike[str], limit_bytes: int | None = None) -> tuple[Model, Array, dict[str, Array]]:
    """The model, theta and the scalers' arrays by the names of their tensors.

    Of a file of at most `limit_bytes`, or of as many as there is memory for.

    Raises ModelFileError for anything but a whole model file, OutOfMemoryError where it does not fit after all.
    """
    try:
        return _read(path, limit_bytes)
    except MemoryError:
        raise OutOfMemoryError(f"{path}: there is not the memory to read it; close other programs") from None


def _read(path: str | os.PathLike[str], limit_bytes: int | None) -> tuple[Model, Array, dict[str, Array]]:
    if os.path.isfile(inside := os.path.join(path, MODEL)):
        raise ModelFileError(f"{path}: the folder of a run, whose model is {inside}; load that")
    tensors, metadata = safetensors.read(path, limit_bytes)
    if "deepxp.checkpoint" in metadata:
        raise ModelFileError(f"{path}: a checkpoint, not a model; `deepxp train --resume` makes a model of its run")
    if "deepxp" not in metadata:
        raise ModelFileError(
            f"{path}: not a deepxp model: a safetensors file of another program; "
            "deepxp.exchange.from_state_dict makes a network of dense layers in it"
        )
    model = _model(path, metadata["deepxp"])
    needed = 2 * (len(model.sizes) - 1) + len(model.scalers)
    if len(tensors) != needed:
        raise ModelFileError(f"{path}: its sizes need {needed} tensors, it has {len(tensors)}")
    theta = np.empty(count_parameters(model.sizes), dtype=model.dtype)
    parameters = Parameters.of(np, theta, model.sizes)
    scalers: dict[str, Array] = {name: np.empty(shape) for name, shape in model.scalers.items()}
    wanted = dict(scalers)
    for l in range(1, len(model.sizes)):
        wanted |= {f"W{l}": parameters.W[l], f"b{l}": parameters.b[l]}
    if set(wanted) != set(tensors):
        missing, other = min(set(wanted) - set(tensors)), min(set(tensors) - set(wanted))
        raise ModelFileError(f"{path}: its sizes need a tensor {missing}, it has {other!r:.80} instead")
    for name, out in wanted.items():
        if tensors[name].shape != out.shape or tensors[name].dtype != out.dtype:
            raise ModelFileError(
                f"{path}: tensor {name} is {tensors[name].dtype} {tensors[name].shape}, "
                f"the sizes need {out.dtype} {out.shape}"
            )
        out[...] = tensors[name]
    return model, theta, scalers


def _model(path: str | os.PathLike[str], text: str) -> Model:
    try:
        values = from_json(text, safetensors.MAX_HEADER)
        if not isinstance(values, dict):
            raise ValueError(f"{text:.80} is not an object")
        number = values.pop("format")
        if type(number) is not int or number < 1:
            raise ValueError(f"format {number!r:.80}")
        if number > FORMAT:
            raise ModelFileError(f"{path}: model format {number}, this deepxp reads up to {FORMAT}; update deepxp")
        _check(values)
        for name in ("sizes", "hidden", "dropout", "classes"):
            values[name] = None if values[name] is None else tuple(values[name])
        model = Model(**values)
        if sum(n * p for p, n in pairwise(model.sizes)) > os.path.getsize(path):
            raise ValueError(f"sizes {model.sizes} that need a longer file")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: its metadata does not describe a deepxp network: {error}") from None
    return model


def _check(values: dict[str, Any]) -> None:
    """Raises ValueError for the first value that no network writes; what names and rates mean is the network's door."""

    def whole(value: Any, end: int, start: int = 0) -> bool:
        return type(value) is int and start <= value < end

    def several(value: Any, count: int, *kinds: type) -> bool:
        return isinstance(value, list) and len(value) == count and all(type(each) in kinds for each in value)

    sizes, classes = values["sizes"], values["classes"]
    layers = len(sizes) - 2 if isinstance(sizes, list) else -1
    fits = {
        "sizes": layers >= 0 and all(whole(n, 2**31, 1) for n in sizes),
        "hidden": several(values["hidden"], layers, str),
        "loss": isinstance(values["loss"], str),
        "dtype": values["dtype"] in ("float32", "float64"),
        "seed": whole(values["seed"], 2**64),
        "dropout": several(values["dropout"], layers, int, float),
        "epochs": whole(values["epochs"], 2**64),
        "classes": classes is None or (isinstance(classes, list) and several(classes, len(classes), str)),
        "scaler": values["scaler"] is None or (isinstance(values["scaler"], str) and values["scaler"] != ""),
        "target_scaler": values.get("target_scaler") in (None, "standard", "minmax", "range", "none"),
        "version": isinstance(values.get("version", ""), str),
        "notes": isinstance(values.get("notes", {}), dict),
    }
    for name, fit in fits.items():
        if not fit:
            raise ValueError(f"{name} {values[name]!r:.80}")
