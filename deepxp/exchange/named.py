"""Layers in weights that have names: PyTorch's `fc1.weight` (units, inputs), Keras's `dense/kernel` (inputs, units).

What order the layers are in is said by the order of the names, as a state dict keeps it. A file keeps them sorted, and
whoever reads one hands on a dict in that order; then the numbers in the names decide, and without numbers nothing does.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from deepxp.errors import ConfigError, DataError, ShapeError
from deepxp.namespaces import asnumpy

NAME = re.compile(r"(?:(?P<layer>.*)[./])?(?P<kind>weight|kernel|bias)(?::0)?")
NUMBER = re.compile(r"_?(\d{1,18})")
ONLY_DENSE = "and there are only dense layers here"


class Layer(NamedTuple):
    """A dense layer by its name: W (units, inputs) and b (units,)."""

    name: str
    W: np.ndarray
    b: np.ndarray


def layers_of(named: Mapping[str, Any], order: Sequence[str] | None = None) -> list[Layer]:
    """The dense layers in weights by name, first to last; `order` are their names where those alone do not tell.

    A layer without a bias gets one of zeros. Raises DataError, ShapeError or ConfigError, naming the array.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in named.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise DataError(f"{name!r:.80} is neither a weight, a kernel nor a bias, {ONLY_DENSE}")
        kind = "W" if match["kind"] != "bias" else "b"
        values = _checked(name, array, 2 if kind == "W" else 1)
        parts = found.setdefault(match["layer"] or "", {})
        if kind in parts:
            raise DataError(f"{name!r:.80} is a second weight of its layer; pass one of the two")
        parts[kind] = values.T if match["kind"] == "kernel" else values
    if not found:
        raise DataError("there are no weights; their names are such as '0.weight' and '0.bias', or 'dense/kernel'")
    for name, parts in found.items():
        if "W" not in parts:
            raise DataError(f"the layer {name!r:.80} has a bias and no weight; pass both")
    names = _given(order, found) if order is not None else _in_order(found)
    layers = [Layer(name, W := found[name]["W"], found[name].get("b", np.zeros(len(W), W.dtype))) for name in names]
    _check_chain(layers)
    return layers


def _checked(name: str, array: Any, ndim: int) -> np.ndarray:
    try:
        values: np.ndarray = asnumpy(array.detach() if hasattr(array, "detach") else array)
    except DataError as error:  # bfloat16, which NumPy lacks
        raise DataError(f"{name!r:.80}: {error}; pass it as float32") from None
    if values.dtype.kind != "f":
        raise DataError(f"{name!r:.80} is of dtype {values.dtype}; pass it as float32, or as another float of NumPy's")
    if values.ndim != ndim or 0 in values.shape:
        what = "a weight has a row for each unit and a column for each input" if ndim == 2 else "a bias is a vector"
        raise ShapeError(f"{name!r:.80} has shape {values.shape}; {what}, {ONLY_DENSE}")
    return values


def _given(order: Sequence[str], found: Mapping[str, Any]) -> list[str]:
    if sorted(order) != sorted(found):
        raise ConfigError(f"layers must name each of {', '.join(found):.400} once, got {', '.join(order):.400}")
    return list(order)


def _in_order(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    names = list(found)
    if names != sorted(names):
        return names
    stems = {NUMBER.sub("", name) for name in names}
    if len(stems) == 1:
        return sorted(names, key=lambda name: [int(number) for number in NUMBER.findall(name)])
    widths = [W.shape[0] for W in (parts["W"] for parts in found.values())]
    if len(set(widths)) < len(widths) or found[names[0]]["W"].shape[1] in widths:
        raise ConfigError(
            f"the layers {', '.join(names):.400} are in the order of the alphabet, which is that of any file; "
            f"say which is first: layers=({', '.join(map(repr, names)):.400})"
        )
    return names


def _check_chain(layers: Sequence[Layer]) -> None:
    for layer in layers:
        if layer.b.shape != layer.W.shape[:1]:
            turned = "; its weight may be a kernel" if layer.b.shape == layer.W.shape[1:] else ""
            raise ShapeError(
                f"the layer {layer.name!r:.80} has {layer.W.shape[0]} units and a bias of {len(layer.b)}{turned}"
            )
    for first, second in pairwise(layers):
        if second.W.shape[1] != first.W.shape[0]:
            raise ShapeError(
                f"the layer {second.name!r:.80} takes {second.W.shape[1]} inputs, and {first.name!r:.80} before it has "
                f"{first.W.shape[0]} units; pass their order as layers=, and Keras's kernels under that name"
            )
