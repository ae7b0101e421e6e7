"""The graph of a prediction: the scaler, the forward recursion, the link and the decision, run on `graph.Graph`."""

import json
import math
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

from deepxp.backend import Backend
from deepxp.errors import ConfigError
from deepxp.exchange.compare import apart, drawn
from deepxp.exchange.graph import IR_VERSION, OPSET, Graph, Tensor, Value
from deepxp.hyperparameters import DTYPES
from deepxp.network import Network
from deepxp.ops import batches
from deepxp.ops.typing import Array
from deepxp.recursions import forward
from deepxp.version import __version__

MOST_BYTES = 2**31 - 2**20  # of parameters: a file of ONNX has less than 2 GiB
LABELLED = ("softmax-cross-entropy", "sigmoid-cross-entropy")


class NodeBackend(Backend):
    """The backend whose arrays are the tensors of a graph."""

    def owns(self, x: Any) -> bool:
        return isinstance(x, Tensor)


def to_onnx(net: Network, *, rows: str | None = None) -> Any:
    """The network as an onnx.ModelProto, opset 13: input X (m, n[0]), rows of a table, not yet scaled; m is free.

    Outputs of classes: `probabilities` (m, n[L]), which are A[L], and `labels`, int64, as `Network.predict` gives them:
    (m,), or (m, n[L]) for several labels at once. Of numbers: `values` (m, n[L]).
    `rows` is the precision of X, without it the network's. float64 is for features that float32 does not hold, such as
    the seconds since 1970: they are scaled before they are narrowed.
    The metadata hold the names of the classes and features as JSON, the loss, and deepxp's version.

    Raises ConfigError where onnx is not installed, for parameters of 2 GiB or more, and for an activation of a user's
    own that calls what ONNX has no operator for.
    """
    onnx = package("onnx", "writing ONNX")
    if net.theta.nbytes > MOST_BYTES:
        raise ConfigError(f"an ONNX file has less than 2 GiB, and the parameters have {net.theta.nbytes} bytes")
    if rows not in (None, *DTYPES):
        raise ConfigError(f"rows must be one of {', '.join(DTYPES)}, got {rows!r}")
    graph, names = Graph(net.dtype), ", ".join(repr(g.name) for g in net.g[1:])
    X = Tensor(graph, Value(rows or net.dtype, 2, "X"))
    try:
        A = prediction(net, graph, X)
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"an activation among {names} does what no ONNX graph can: {error}") from None
    outputs = {"values": A}
    if net.loss.evaluate_labels or net.loss.name in LABELLED:
        decider: Any = SimpleNamespace(backend=NodeBackend("onnx", graph), loss=net.loss, sizes=net.sizes)
        outputs = {"probabilities": A, "labels": Network.decide(decider, A)}
    for name, tensor in outputs.items():
        tensor.value.name = name
    model = _written(onnx, graph, X.value, [tensor.value for tensor in outputs.values()], net.sizes)
    onnx.helper.set_model_props(model, _metadata(net))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConfigError(f"what an activation among {names} computes is no valid ONNX graph: {error}") from None
    return model


def prediction(net: Network, graph: Graph, X: Tensor) -> Tensor:
    """A[L] for rows X, by the recursion and the definitions themselves."""

    def layers(letter: str) -> tuple[Tensor, ...]:
        return tuple(Tensor(graph, None, f"{letter}{l}") for l in range(net.L + 1))

    def stored(arrays: tuple[Array, ...], letter: str) -> tuple[Any, ...]:
        host = [net.backend.asnumpy(array) for array in arrays[1:]]
        if net.target_scaler is not None:  # its unit is that of the last layer, which has no link
            unit, shift = (v[:, None] for v in net.target_scaler.inverse)
            host[-1] = (host[-1] * unit + (shift if letter == "b" else 0.0)).astype(net.dtype)
        return (None, *(graph.constant(array.T, f"{letter}{l}.T") for l, array in enumerate(host, 1)))

    Z, A = layers("Z"), layers("A")
    wide = np.result_type(X.value.dtype, net.dtype)
    table = Tensor(graph, None)
    table[...] = graph.astype(X, wide)
    if net.scaler is not None:
        shift, factor = (np.asarray(v, wide)[None, :] for v in (net.scaler.shift, net.scaler.factor))
        batches.scale(graph, table, graph.constant(shift, "scaler.shift"), graph.constant(factor, "scaler.factor"))
    A[0][...] = graph.astype(table, np.dtype(net.dtype))
    symbolic: Any = SimpleNamespace(
        W=stored(net.W, "W"),
        b=stored(net.b, "b"),
        L=net.L,
        keep=(0,) * (net.L + 1),  # a prediction drops nothing
        g=net.g,
        backend=NodeBackend("onnx", graph),
    )
    work: Any = SimpleNamespace(H=A, Z=Z, A=A)
    forward(symbolic, work)
    A[net.L][...] = net.g[net.L].forward(graph, Z[net.L])
    return A[net.L]


def difference(net: Network, model: Any, X: Any = None) -> float:
    """max |a - p| / max(1, |p|) with a what onnxruntime says of the model and p what the network says.

    X are rows (m, n[0]); without them 256 are drawn, from where the scaler says that the features lie. Infinity where
    one of the two is NaN and the other is not, and where the labels are not those of the probabilities.
    Raises ConfigError where onnxruntime is not installed.
    """
    runtime = package("onnxruntime", "running ONNX")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns of devices that a machine lacks
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kind = np.float64 if session.get_inputs()[0].type == "tensor(double)" else np.float32
    table = np.ascontiguousarray(drawn(net) if X is None else X, dtype=kind)
    a, *labels = session.run(None, {"X": table})
    if labels and not np.array_equal(net.decide(a.T), labels[0].T):
        return math.inf
    return apart(a, net.predict_proba(table.T).T)


def package(name: str, what: str) -> Any:
    """An optional package. Raises ConfigError, with the line that installs it, where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"{what} takes {name}: python -m pip install onnx onnxruntime") from None


def _written(onnx: Any, graph: Graph, X: Value, outputs: list[Value], sizes: tuple[int, ...]) -> Any:
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    _name_all(graph)

    def attribute(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return onnx.numpy_helper.from_array(x)
        return kind(x) if isinstance(x, np.dtype) else x

    nodes = [
        helper.make_node(
            op,
            [part.name for part in parts],
            [result.name],
            name=f"{op}_{i}",
            **{name: attribute(x) for name, x in attributes.items()},
        )
        for i, (op, parts, result, attributes) in enumerate(graph.nodes, 1)
    ]
    constants = [onnx.numpy_helper.from_array(array, value.name) for value, array in graph.constants]

    def information(value: Value, n: int) -> Any:
        return helper.make_tensor_value_info(value.name, kind(value.dtype), ["m", n][: value.ndim])

    ends = [information(X, sizes[0])], [information(value, sizes[-1]) for value in outputs]
    return helper.make_model(
        helper.make_graph(nodes, "deepxp", *ends, constants),
        producer_name="deepxp",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _name_all(graph: Graph) -> None:
    """A name for each value: numbers by what they are, results by the array that they are, or by their operator."""
    taken = {"X"}
    values = [(value, str(array.tolist())) for value, array in graph.constants]
    values += [(result, op.lower()) for op, _, result, _ in graph.nodes]
    for value, other in values:
        name = wanted = value.name or other
        number = 1
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        value.name = name
        taken.add(name)


def _metadata(net: Network) -> dict[str, str]:
    names = {"classes": net.classes, "features": _features(net)}
    texts = {name: json.dumps(list(value)) for name, value in names.items() if value is not None}
    return {"deepxp": __version__, "loss": net.loss.name, **texts}


def _features(net: Network) -> list[str] | None:
    """The names of the columns of X, where all of them are known: of categories one for each word, in their order."""
    names, words = net.notes.get("features"), net.notes.get("categories")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None  # positions in a table without a header
    if not isinstance(words, list):
        words = [None] * len(names)
    found = [
        each
        for name, known in zip(names, words, strict=False)
        for each in ([f"{name}={word}" for word in known] if isinstance(known, list | tuple) else [name])
    ]
    return found if len(words) == len(names) and len(found) == net.sizes[0] else None
