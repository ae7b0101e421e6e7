"""The commands of `deepxp`, their arguments and their help."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from deepxp.cli import bench, explain, export, plot
from deepxp.cli.config import nearest
from deepxp.cli.options import CHECKED, ROWS
from deepxp.errors import ConfigError
from deepxp.version import __version__

FLAG = "flag:"  # what dest begins with for a row of the table, so that those that were given can be told from the rest
MODEL = "a model.safetensors that train wrote, or the folder of its run"
BOARD = "write for TensorBoard, with tensorboardX, into DIR/RUN (RUN/tensorboard)"
READING = ("target", "labels", "delimiter", "header", "limit-bytes")

DESCRIPTION = """\
One L-layer neural network that trains on the CPU with NumPy or on a CUDA GPU
with CuPy."""
EXAMPLES = """\
examples:
  deepxp train                           on the digits that come with deepxp
  deepxp train iris.csv --target species --out runs/iris
  deepxp evaluate runs/iris/model.safetensors iris.csv
  deepxp predict runs/iris/model.safetensors new.csv
  deepxp info                            what this machine can compute on

deepxp COMMAND --help tells more.
"""
TRAIN = """\
Train a network on DATA, evaluate it on a part that is held out, and write
model.safetensors, metrics.jsonl, result.json, config.toml and, with
Matplotlib, curves.png into a folder.

DATA is an .npz (X and y, or x_train, y_train, x_test, y_test), an .npy with
--labels, a .csv or .tsv, MNIST's idx files, or svmlight, each also with .gz.
Without DATA it is the bundled digits.

Of a table the features are all columns but the target: numbers, or true and
false, or yes and no. --ignore leaves columns out, --categories makes features
of words. Columns are named by the header, or by their numbers, from 1.

Text and whole numbers are classes, numbers with a fraction are predicted as
numbers; --loss squared-error makes numbers of whole ones, too. Numbers are
learned in units of their deviation from their mean; the model keeps both."""
TRAIN_EXAMPLES = """\
Defaults are in parentheses. A config file is TOML with the names of these
options as keys, as in hidden = [256, 128]. A flag goes over the file, the file
over the default; the config.toml of a run repeats it.

examples:
  deepxp train
  deepxp train mnist.npz --hidden 256,128 --epochs 10 --device gpu
  deepxp train iris.csv --target species --hidden none
  deepxp train sales.csv --ignore date,id --categories city,weekday
  deepxp train houses.csv --loss squared-error --epochs 200 --patience 20
  deepxp train --config runs/digits-1/config.toml --seed 1
  deepxp train --resume --out runs/digits-1      go on where it was stopped
"""
EVALUATE = """\
Metrics of a model on all rows of DATA, and for classes the confusion matrix;
of a file with a test part of its own, on that part. The columns of a table
with a header are found by the names that the model was trained on. Without
DATA, for a model that train made of the digits: on the part held out."""
PREDICT = """\
One prediction for each row of DATA: the name of the class, or a number. A
table may hold the target column or not: without a header, one with exactly as
many columns as the model has inputs has none; with one, columns are found by
the names the model was trained on. Of a file with a test part, that part."""
PREDICT_EXAMPLES = """\
examples:
  deepxp predict runs/iris/model.safetensors new.csv | sort | uniq -c
  deepxp predict runs/iris/model.safetensors new.csv --proba --out said.csv
"""
INFO = """\
What a bug report should say of this machine and of the versions on it, and
what a model file holds. Of a file of samples: its columns, their types and
values, and the line that would train on it."""
CHECK = """\
Hold the gradient of every layer against differences of the loss, in float64,
on a few samples; and, where a GPU is usable, every quantity of a step on the
GPU against the CPU. Exits with 1 where something differs. The network is that
of MODEL, or the one that `deepxp train` would start from."""


class Parser(argparse.ArgumentParser):
    """One line for a wrong call, in place of the usage, which is long here."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"deepxp: error: {message}; see {self.prog} --help\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command as `module` and `function`, its arguments, and in `flags` the rows of the table that were given."""
    parser, commands = _parsers()
    command = next((word for word in (sys.argv[1:] if argv is None else argv) if not word.startswith("-")), None)
    if command is not None and command not in commands:
        hint = nearest(command, commands) or f"; there are {', '.join(commands)}"
        raise ConfigError(f"{command!r} is no command{hint}")
    arguments, unknown = parser.parse_known_args(argv)
    if not hasattr(arguments, "module"):
        parser.print_help(sys.stderr)
        parser.exit(2)
    _check_sizes(sys.argv[1:] if argv is None else argv)
    if unknown:
        known = commands[arguments.command]._option_string_actions
        flag = unknown[0].partition("=")[0]
        hint = nearest(flag, known) or f"; see deepxp {arguments.command} --help"
        raise ConfigError(f"unknown {'option' if flag.startswith('-') else 'argument'} {flag}{hint}")
    given = vars(arguments)
    arguments.argv = sys.argv[1:] if argv is None else list(argv)
    arguments.flags = {name.removeprefix(FLAG): value for name, value in given.items() if name.startswith(FLAG)}
    return arguments


def _check_sizes(argv: Sequence[str]) -> None:
    """Raises ConfigError for `--hidden 256 128`, whose second number would pass for DATA."""
    for flag, first, second in zip(argv, argv[1:], argv[2:], strict=False):
        if flag == "--hidden" and first.isdecimal() and second.isdecimal() and not Path(second).exists():
            raise ConfigError(f"--hidden: sizes are written {first},{second}")


def _parsers() -> tuple[Parser, dict[str, Any]]:
    parser = Parser(prog="deepxp", **_about(DESCRIPTION, EXAMPLES))
    version = __version__
    parser.add_argument("--version", action="version", version=f"deepxp {version}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=Parser)

    def command(name: str, module: str, arguments: str, help: str, description: str, examples: str = "") -> Parser:
        usage = f"deepxp {name} {arguments} [options]".replace("  ", " ")
        sub = commands.add_parser(name, help=help, usage=usage, **_about(description, examples))
        sub.set_defaults(module=module, function="run" if module == name else name)
        return sub

    train = command("train", "train", "[DATA]", "train a network and write its model", TRAIN, TRAIN_EXAMPLES)
    run = _rows(train, ROWS)
    run.add_argument("--resume", action="store_true", help="go on with the run in --out, or the last one of DATA")
    run.add_argument("--force", action="store_true", help="replace the run that is in --out")
    run.add_argument("--config", metavar="FILE", help="a TOML file with any of these options")
    run.add_argument("--html", metavar="FILE", help="write a report of the run for a browser")
    run.add_argument("--tensorboard", metavar="DIR", nargs="?", const="", help=BOARD)
    run.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    _json(run)

    evaluate = command("evaluate", "apply", "MODEL [DATA]", "metrics of a model on data", EVALUATE)
    evaluate.add_argument("model", metavar="MODEL", help=MODEL)
    _rows(evaluate, ("data", *READING, "device"))
    _json(evaluate)

    predict = command("predict", "apply", "MODEL DATA", "what a model says of every row", PREDICT, PREDICT_EXAMPLES)
    predict.add_argument("model", metavar="MODEL", help=MODEL)
    predict.add_argument(f"{FLAG}data", metavar="DATA", help="samples, in any format that train reads")
    _rows(predict, ("target", "delimiter", "header", "limit-bytes", "device"))
    predict.add_argument("--out", metavar="FILE", help="write a CSV file in place of stdout")
    predict.add_argument("--force", action="store_true", help="replace FILE")
    predict.add_argument("--proba", action="store_true", help="the probability of every class too, below a header")
    _json(predict)

    info = command("info", "info", "[FILE]", "versions, devices, and what a file of a model or of data holds", INFO)
    info.add_argument("file", metavar="FILE", nargs="?", help="a model, the folder of a run, or samples")
    _rows(info, READING)
    _json(info)

    check = command("check", "check", "[MODEL]", "is the gradient right, and do the devices agree?", CHECK)
    check.add_argument("model", metavar="MODEL", nargs="?", help=MODEL)
    check.add_argument("--data", metavar="FILE", dest=f"{FLAG}data", default=argparse.SUPPRESS, help="samples to use")
    _rows(check, [name for name in ROWS if name in CHECKED])

    help = "one step of training, equation by equation, with its values"
    explained = command("explain", "explain", "", help, explain.DESCRIPTION, explain.EXAMPLES)
    explain.add_arguments(explained)
    _rows(explained, explain.ROWS)

    help = "learning curves, confusion matrix, norms and boundary of runs, as pictures"
    drawn = command("plot", "plot", "RUN...", help, plot.DESCRIPTION, plot.EXAMPLES)
    plot.add_arguments(drawn)
    _rows(drawn, (*READING, "device"))

    help = "a model as ONNX, or its weights for PyTorch or Keras"
    exported = command("export", "export", "MODEL", help, export.DESCRIPTION, export.EXAMPLES)
    exported.add_argument("model", metavar="MODEL", help=MODEL)
    export.add_arguments(exported)
    _rows(exported, export.ROWS)
    _json(exported)

    help = "how fast is this machine, and from which batch size on is a GPU faster?"
    bench.add_arguments(command("bench", "bench", "", help, bench.DESCRIPTION, bench.EXAMPLES))
    return parser, dict(commands.choices)


def _about(description: str, epilog: str) -> dict[str, Any]:
    layout = argparse.RawDescriptionHelpFormatter
    return {"description": description, "epilog": epilog, "formatter_class": layout, "allow_abbrev": False}


def _rows(parser: Parser, names: Iterable[str]) -> Any:
    """The flags of some rows of the table, in their groups; the row `data` is the argument DATA. The last group."""
    groups: dict[str, Any] = {}
    group: Any = parser
    for name in names:
        about, default = ROWS[name].metadata, ROWS[name].default
        how: dict[str, Any] = {"metavar": about["metavar"], "default": argparse.SUPPRESS, "help": about["help"]}
        if name == "data":
            parser.add_argument(f"{FLAG}data", nargs="?", **how)
            continue
        if default not in (None, "none", ()):
            how["help"] += f" ({','.join(map(str, default)) if isinstance(default, tuple) else default})"
        if name == "header":
            how["action"] = argparse.BooleanOptionalAction
            del how["metavar"]
        if about["group"] not in groups:
            groups[about["group"]] = parser.add_argument_group(about["group"])
        group = groups[about["group"]]
        group.add_argument(f"--{name}", dest=f"{FLAG}{name}", **how)
    return group


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
