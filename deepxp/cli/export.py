"""`deepxp export`: a model as ONNX, or its weights under the names of PyTorch or Keras."""

from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepxp import network, safetensors
from deepxp.cli import config
from deepxp.cli.folder import model_in
from deepxp.cli.report import Report, check_free, count, size, write_whole
from deepxp.errors import ConfigError, DeepxpError
from deepxp.hyperparameters import DTYPES
from deepxp.network import Network

DESCRIPTION = """\
Write a trained network for other programs. ONNX takes the rows of a table as
they come, scaled by the graph itself, any number at a time. PyTorch and Keras
get the weights by name, in a safetensors file; the scaler becomes part of the
first layer, so that they take the same rows."""
EXAMPLES = """\
examples:
  deepxp export runs/iris/model.safetensors --onnx iris.onnx
  deepxp export runs/iris/model.safetensors --onnx iris.onnx --check
  deepxp export runs/iris/model.safetensors --torch iris-torch.safetensors
  deepxp export runs/iris/model.safetensors --keras iris-keras.safetensors
"""
TAKES = "what the ONNX graph takes: float32 or float64 (as the model)"
ROWS = ("limit-bytes",)
MOST_APART = 1e-3  # of weights with the scaler in them: beyond, the precision does not hold the two together


def add_arguments(parser: Any) -> None:
    """The options of the command that are not rows of the table of settings."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--onnx", metavar="FILE", help="write an ONNX graph, opset 13")
    which.add_argument("--torch", metavar="FILE", help="write weights as nn.Sequential names them: 0.weight, 0.bias")
    which.add_argument("--keras", metavar="FILE", help="write weights as Keras names them: dense/kernel, dense/bias")
    parser.add_argument("--check", action="store_true", help="run the ONNX graph, and fail where it says other things")
    parser.add_argument("--rows", metavar="TYPE", choices=DTYPES, help=TAKES)
    parser.add_argument("--force", action="store_true", help="replace FILE")


def run(arguments: Namespace) -> int:
    """Write the file, whole or not at all, and say how far it is from the network."""
    arguments.model = model_in(arguments.model)
    target = Path(arguments.onnx or arguments.torch or arguments.keras)
    _check(arguments, target)
    settings = config.settings(arguments.flags)
    report = Report(as_json=arguments.json)
    net = network.load(arguments.model, "cpu", limit_bytes=settings.limit_bytes)
    write = _onnx if arguments.onnx else _weights
    said, difference = write(net, target, arguments)
    report.line("model", f"{arguments.model}: {net}")
    for name in ("opset", "input", "output", "weights"):
        if name in said:
            report.line(name, str(said[name]))
    report.line("difference", difference)
    report.line("file", f"{target}, {size(target.stat().st_size)}")
    report.result(
        {"model": str(arguments.model), "file": str(target)} | {k: v for k, v in said.items() if k != "words"}
    )
    return 0


def _check(arguments: Namespace, target: Path) -> None:
    """Raises ConfigError or DeepxpError for what can be known before the model is read."""
    if arguments.onnx is None:
        for flag in ("check", "rows"):
            if getattr(arguments, flag):
                raise ConfigError(f"--{flag} is of --onnx")
        if target.suffix != ".safetensors":
            raise ConfigError(
                f"{target}: weights are written to a .safetensors file; read it with safetensors.torch.load_file or "
                "safetensors.numpy.load_file"
            )
    check_free(target, arguments.model, force=arguments.force)


def _onnx(net: Network, target: Path, arguments: Namespace) -> tuple[dict[str, Any], str]:
    from deepxp.exchange import difference, to_onnx
    from deepxp.exchange.compare import SAMPLES, allowed

    model = to_onnx(net, rows=arguments.rows)
    said: dict[str, Any] = {
        "opset": model.opset_import[0].version,
        "input": _end(model.graph.input[0]),
        "output": ", ".join(map(_end, model.graph.output)),
    }
    if arguments.check:
        found, most = difference(net, model), allowed(net)
        if not found <= most:
            raise DeepxpError(
                f"onnxruntime differs from the network by {found:.2g}, and {most:.2g} is allowed; nothing was written"
            )
        said |= {"difference": found, "allowed": most}
        words = f"{found:.2g} on {count(SAMPLES, 'sample')} in onnxruntime, {most:.2g} is allowed"
    elif find_spec("onnxruntime"):
        words = "not looked at; --check runs it in onnxruntime"
    else:
        words = "not looked at; --check needs onnxruntime: python -m pip install onnx onnxruntime"
    write_whole(target, model.SerializeToString())
    return said, words


def _weights(net: Network, target: Path, arguments: Namespace) -> tuple[dict[str, Any], str]:
    from deepxp.exchange import from_state_dict, keras_weights, state_dict
    from deepxp.exchange.compare import apart, drawn

    weights = keras_weights(net) if arguments.keras else state_dict(net)
    rows = drawn(net).astype(net.dtype).T
    twin = from_state_dict(weights, net.g[1:-1], net.loss, backend="cpu")
    found = apart(twin.predict_proba(rows), net.predict_proba(rows))
    if not found <= MOST_APART:
        raise DeepxpError(
            f"with the scaler in the first layer the network answers otherwise by {found:.2g}: {net.dtype} does not "
            "hold its shifts; train on smaller numbers or with --dtype float64; nothing was written"
        )
    safetensors.write(target, weights, {} if arguments.keras else {"format": "pt"})
    scaler = ", the scaler in the first" if net.scaler is not None else ""
    said = {"weights": f"{', '.join(weights)}{scaler}", "difference": found}
    return said, f"{found:.2g} between the network and these weights"


def _end(value: Any) -> str:
    """An input or output: `X (m, 4) float32`."""
    kind = value.type.tensor_type
    shape = ", ".join(each.dim_param or str(each.dim_value) for each in kind.shape.dim)
    comma = "," if len(kind.shape.dim) == 1 else ""
    return f"{value.name} ({shape}{comma}) {({1: 'float32', 11: 'float64', 7: 'int64'})[kind.elem_type]}"
