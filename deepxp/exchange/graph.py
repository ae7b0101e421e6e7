"""The xp of nodes: running a definition on it writes the ONNX graph of what the definition computes.

A graph keeps the numbers of a sample together, as deepxp's own memory does: what the mathematics calls (n, m) is (m, n)
in the graph. So every array is the transpose of itself: W A is the node MatMul(A, W) with W stored as W^T, a sum over
axis 0 is one over axis 1, and X.T is X. Nothing else changes, because everything else is elementwise.

Why not ndonnx, whose arrays are an `xp` of this kind already? It was tried first (0.23, on 784-256-128-10 with relu).
It answers right, but in opset 21 and with 55 nodes where there are 13 here: an `If` at every product and transpose in
case one is empty, guards against NaN that the operators do not need. A batch of 1 takes onnxruntime 1.32 twice as long
(0.043 ms, and 0.024 here; one thread, best of 60 calls), 1024 take 5.3 ms in place of 4.9. Its weights are nodes, and
onnxruntime's quantizer finds none of them; it finds all three here. Its arguments cannot be filled, as `dense_forward`
does. Transposes around the graph in place of the convention above would leave the weights on the left of the products,
where nothing packs them: a batch of 1 took three times as long.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from deepxp.errors import ConfigError
from deepxp.ops.typing import Array

OPSET = 13  # nothing here needs a later one; 12 would do, but quantization by channel asks for 13
IR_VERSION = 7  # the file format of that time

CALLS = {
    "abs": "Abs", "exp": "Exp", "log": "Log", "maximum": "Max", "minimum": "Min", "sign": "Sign", "sqrt": "Sqrt",
    "tanh": "Tanh",
}  # fmt: skip
REDUCTIONS = {"max": "ReduceMax", "min": "ReduceMin", "mean": "ReduceMean", "sum": "ReduceSum"}
OPERATORS = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "truediv": "Div", "pow": "Pow", "gt": "Greater", "ge": "GreaterOrEqual",
    "lt": "Less", "le": "LessOrEqual", "eq": "Equal", "and": "And", "or": "Or",
}  # fmt: skip
LOGICAL = {"And", "Or", "Not"}
TRUTHS = LOGICAL | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"}


class Value:
    """What a node makes, an input or a constant: it is made once, and named when it is known what it is."""

    def __init__(self, dtype: Any, ndim: int, name: str = "") -> None:
        self.dtype, self.ndim, self.name = np.dtype(dtype), ndim, name


class Tensor:
    """An array of a definition: the value that it has now. `tensor[...] = value` gives it another one, and a value
    that has no name yet the name of the tensor."""

    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to this class
    __hash__ = object.__hash__

    def __init__(self, graph: "Graph", value: Value | None, name: str = "") -> None:
        self.graph, self._value, self.name = graph, value, name

    @property
    def value(self) -> Value:
        """What a node reads."""
        assert self._value is not None, f"{self.name} is read before it is computed"
        return self._value

    def __setitem__(self, where: Any, other: "Tensor") -> None:
        assert where is Ellipsis
        self._value = other.value
        self._value.name = self._value.name or self.name

    def __getitem__(self, where: Any) -> "Tensor":
        unit, samples = where
        if samples != slice(None):
            raise TypeError("a definition takes a unit of all samples, x[i, :], and no other part of an array")
        place = self.graph.constant(np.array(unit, np.int64))
        return self.graph.node("Gather", self, place, ndim=1, axis=1)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return self.graph.node("MatMul", other, self)  # (P Q)^T = Q^T P^T

    def __bool__(self) -> bool:
        raise TypeError("a definition has no `if`: what it computes cannot depend on a number that is not known yet")

    def __neg__(self) -> "Tensor":
        return self.graph.node("Neg", self)

    def __abs__(self) -> "Tensor":
        return self.graph.node("Abs", self)

    def __invert__(self) -> "Tensor":
        return self.graph.node("Not", self)

    def __ne__(self, other: object) -> "Tensor":  # type: ignore[override]
        return ~self.graph.elementwise("Equal", self, other)


def _operator(op: str, *, reflected: bool) -> Callable[[Tensor, Any], Tensor]:
    return lambda a, b: a.graph.elementwise(op, *((b, a) if reflected else (a, b)))


for _name, _op in OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _operator(_op, reflected=False))
    setattr(Tensor, f"__r{_name}__", _operator(_op, reflected=True))


class Graph:
    """The nodes, in the order in which they are computed, and the constants. It is itself the `xp`.

    A Python number becomes a constant in the precision of the array beside it, as NumPy does it; `dtype` is that of a
    number that stands beside none.
    """

    int64, float32, float64 = np.int64, np.float32, np.float64

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[tuple[str, list[Value], Value, dict[str, Any]]] = []
        self.constants: list[tuple[Value, np.ndarray]] = []
        self._numbers: dict[tuple[float, np.dtype[Any]], Tensor] = {}

    # how it is written

    def constant(self, array: np.ndarray, name: str = "") -> Tensor:
        """An array as the graph holds it, which is the transpose of what the mathematics calls it."""
        value = Value(array.dtype, array.ndim, name)
        self.constants.append((value, np.asarray(array, order="C")))
        return Tensor(self, value)

    def node(self, op: str, *parts: Tensor, ndim: int | None = None, dtype: Any = None, **attributes: Any) -> Tensor:
        """The operator on these parts; its result has the rank and precision of the first, where it has none of its
        own."""
        first = parts[0].value
        result = Value(dtype or first.dtype, first.ndim if ndim is None else ndim)
        self.nodes.append((op, [part.value for part in parts], result, attributes))
        return Tensor(self, result)

    def elementwise(self, op: str, *operands: Any) -> Tensor:
        """The operator on arrays and numbers that are brought to one precision and one rank, as NumPy does it."""
        parts = operands if op in LOGICAL else self._common(*operands)
        rank = max(part.value.ndim for part in parts)
        dtype = bool if op in TRUTHS else parts[0].value.dtype
        return self.node(op, *(self._of_rank(part, rank) for part in parts), ndim=rank, dtype=dtype)

    def _common(self, *operands: Any) -> list[Tensor]:
        kinds = [x.value.dtype for x in operands if isinstance(x, Tensor)]
        dtype = np.result_type(*kinds) if kinds else self.dtype
        dtype = self.dtype if dtype.kind == "b" else dtype  # a condition that is computed with
        return [self.astype(x, dtype) if isinstance(x, Tensor) else self._number(x, dtype) for x in operands]

    def _number(self, x: float, dtype: np.dtype[Any]) -> Tensor:
        if (x, dtype) not in self._numbers:
            self._numbers[x, dtype] = self.constant(np.array(x, dtype))
        return self._numbers[x, dtype]

    def _of_rank(self, x: Tensor, rank: int) -> Tensor:
        """A number for each sample (m,) beside (n, m): a column in the graph, where NumPy would make it a row."""
        if x.value.ndim == 1 and rank == 2:
            return self.node("Unsqueeze", x, self.constant(np.array([1], np.int64)), ndim=2)
        return x

    # what definitions call

    def astype(self, x: Tensor, dtype: Any) -> Tensor:
        """x in another precision."""
        if x.value.dtype == dtype:
            return x
        return self.node("Cast", x, dtype=dtype, to=np.dtype(dtype))

    def where(self, condition: Array, a: Array, b: Array) -> Tensor:
        """a where condition, else b"""
        parts = condition, *self._common(a, b)
        rank = max(part.value.ndim for part in parts)
        dtype = parts[1].value.dtype
        return self.node("Where", *(self._of_rank(part, rank) for part in parts), ndim=rank, dtype=dtype)

    def expm1(self, x: Array) -> Tensor:
        """e^x - 1 = 2 t / (1 - t) with t = tanh(x/2), which loses nothing near 0; above 1 as it stands"""
        t, E = self.tanh(0.5 * x), self.exp(x)
        return self.where(x < 1.0, 2.0 * t / (1.0 - t), E - 1.0)

    def log1p(self, x: Array) -> Tensor:
        """log(1 + x) = x log(u) / (u - 1) with u = 1 + x as it is rounded; x itself where u is 1  (Kahan)"""
        u = 1.0 + x
        d, log_u = u - 1.0, self.log(u)
        return self.where(d == 0.0, x, log_u * self.where(d == x, 1.0, x / d))

    def ones_like(self, x: Tensor, dtype: Any = None) -> Tensor:
        """1 for each number of x"""
        return self._filled(x, 1, dtype)

    def zeros_like(self, x: Tensor, dtype: Any = None) -> Tensor:
        """0 for each number of x"""
        return self._filled(x, 0, dtype)

    def _filled(self, x: Tensor, number: int, dtype: Any) -> Tensor:
        kind = np.dtype(dtype or x.value.dtype)
        shape = self.node("Shape", x, ndim=1, dtype=np.int64)
        return self.node("ConstantOfShape", shape, ndim=x.value.ndim, dtype=kind, value=np.array([number], kind))

    def argmax(self, x: Tensor, axis: int) -> Tensor:
        """The place of the greatest of x (n, m) along an axis, the first of equals"""
        return self.node("ArgMax", x, ndim=1, dtype=np.int64, axis=1 - axis, keepdims=0)

    def _reduced(self, op: str, x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
        rank = x.value.ndim
        axes = list(range(rank)) if axis is None else [rank - 1 - axis % rank]  # the last axis is the first one here
        ndim, keep = rank if keepdims else rank - len(axes), {"keepdims": int(keepdims)}
        if op == "ReduceSum":  # the one whose axes became an input in opset 13
            return self.node(op, x, self.constant(np.array(axes, np.int64)), ndim=ndim, **keep)
        return self.node(op, x, ndim=ndim, axes=axes, **keep)

    def __getattr__(self, name: str) -> Callable[..., Array]:
        if name in REDUCTIONS:
            return lambda *x, **over: self._reduced(REDUCTIONS[name], *x, **over)
        if name in CALLS:
            return lambda *x: self.elementwise(CALLS[name], *x)
        known = sorted({*CALLS, *REDUCTIONS, "argmax", "expm1", "log1p", "ones_like", "where", "zeros_like"})
        raise ConfigError(
            f"a definition calls xp.{name}, and ONNX gets no operator for it; known are {', '.join(known)}"
        )
