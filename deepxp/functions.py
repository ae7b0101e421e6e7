"""Every definition for a caller who only has arrays: the namespace is inferred from them.

`softmax(Z)` is `deepxp.ops.activations.softmax(xp, Z)` with the xp of Z. Arrays of two libraries or devices raise
MixedDevicesError, naming both.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from deepxp.errors import DataError, ShapeError
from deepxp.interop.cells import Cell, reading
from deepxp.namespaces import array_namespace
from deepxp.ops import activations, losses, updates
from deepxp.ops.typing import Array


def _inferred(op: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(op)
    def function(*arguments: Any, **named: Any) -> Any:
        return op(array_namespace(*arguments, *named.values()), *arguments, **named)

    shown = signature(op)  # without the xp that is not taken
    function.__signature__ = shown.replace(parameters=list(shown.parameters.values())[1:])  # type: ignore[attr-defined]
    return function


def _costed(evaluate: Callable[..., None]) -> Callable[[Array, Array], tuple[Array, Array]]:
    def function(Z: Array, Y: Array) -> tuple[Array, Array]:
        xp = array_namespace(Z, Y)
        if Z.ndim != 2 or tuple(Y.shape) != tuple(Z.shape):
            raise ShapeError(f"Y must have the shape of Z, {tuple(Z.shape)}, got {tuple(Y.shape)}; Z is (n[L], m)")
        if not xp.isdtype(Z.dtype, "real floating"):
            raise DataError(f"Z must hold real floating numbers, got {Z.dtype}; convert it first")
        empty = xp.zeros_like(Z)
        ell, dZ = Cell(xp, empty[0, :]), Cell(xp, empty)  # in a trace, a plan or a gradient nothing can be written
        evaluate(reading(xp), Z, Y, ell, dZ)
        return xp.mean(ell.value), dZ.value

    function.__name__ = function.__qualname__ = evaluate.__name__
    function.__doc__ = f"(J, dZ) for Z (n[L], m) and targets Y of its shape; J is the mean of\n\n{evaluate.__doc__}"
    return function


relu = _inferred(activations.relu)
relu_backward = _inferred(activations.relu_backward)
leaky_relu = _inferred(activations.leaky_relu)
leaky_relu_backward = _inferred(activations.leaky_relu_backward)
sigmoid = _inferred(activations.sigmoid)
sigmoid_backward = _inferred(activations.sigmoid_backward)
tanh = _inferred(activations.tanh)
tanh_backward = _inferred(activations.tanh_backward)
elu = _inferred(activations.elu)
elu_backward = _inferred(activations.elu_backward)
gelu = _inferred(activations.gelu)
gelu_backward = _inferred(activations.gelu_backward)
silu = _inferred(activations.silu)
silu_backward = _inferred(activations.silu_backward)
softmax = _inferred(activations.softmax)
softmax_backward = _inferred(activations.softmax_backward)
log_softmax = _inferred(losses.log_softmax)
softmax_cross_entropy = _costed(losses.softmax_cross_entropy)
sigmoid_cross_entropy = _costed(losses.sigmoid_cross_entropy)
squared_error = _costed(losses.squared_error)
sgd = _inferred(updates.sgd)
momentum = _inferred(updates.momentum)
nesterov = _inferred(updates.nesterov)
rmsprop = _inferred(updates.rmsprop)
adam = _inferred(updates.adam)
adamw = _inferred(updates.adamw)
