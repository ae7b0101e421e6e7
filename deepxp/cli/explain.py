"""`deepxp explain`: a step on one batch, equation by equation, with its values and the numerical derivative."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from deepxp.cli.choices import optimizer_of
from deepxp.cli.config import settings
from deepxp.cli.options import SIZES, WHOLE, read_flag
from deepxp.cli.problem import SIGMOID, SOFTMAX, SQUARED
from deepxp.cli.report import Report, write_whole
from deepxp.errors import ConfigError
from deepxp.network import Network

DESCRIPTION = """\
Print one step of training on one batch, layer by layer: each equation with its
shapes, its values, and beside every derivative the numerical one. The formulas
are written by the very functions that train, run on symbols. The batch is
random, and the network the one that the seed starts from."""
EXAMPLES = """\
examples:
  deepxp explain
  deepxp explain --sizes 3,4,3 --activation relu --optimizer sgd
  deepxp explain --layer 2
  deepxp explain --html step.html
"""
ROWS = ("loss", "optimizer", "lr", "momentum", "weight-decay", "seed")


def add_arguments(parser: Any) -> None:
    """The options of the command that are not rows of the table of settings."""
    parser.add_argument(
        "--sizes", metavar="N,N", default="2,3,5,4,2,1", help="n[0], ..., n[L]; of one output two classes (2,3,5,4,2,1)"
    )
    parser.add_argument(
        "--activation", metavar="NAME,NAME", default="tanh", help="of all hidden layers, or of each (tanh)"
    )
    parser.add_argument("--m", metavar="N", default="4", help="samples in the batch (4)")
    parser.add_argument("--layer", metavar="L", help="only what is about this layer")
    parser.add_argument("--html", metavar="FILE", help="write a page with typeset formulas in place of the text")


def run(arguments: Namespace) -> int:
    """Print the step, or write the page."""
    from deepxp.explain import explain, html, text

    chosen = settings(arguments.flags)
    sizes, m = read_flag("sizes", SIZES, arguments.sizes), read_flag("m", WHOLE, arguments.m)
    names = arguments.activation.split(",")
    auto = SIGMOID if sizes[-1] == 1 else SOFTMAX
    net = Network(
        sizes,
        names if len(names) > 1 else names[0],
        auto if chosen.loss == "auto" else chosen.loss,
        backend="cpu",
        seed=chosen.seed,
        dtype="float64",
    )
    found = explain(net, *_batch(net, m), optimizer_of(chosen))
    layer = read_flag("layer", WHOLE, arguments.layer)
    if layer is not None:
        if layer > net.L:
            raise ConfigError(f"--layer is one of the layers 1 to {net.L} of --sizes, got {layer}")
        found = found.of_layer(layer)
    if arguments.html:
        write_whole(Path(arguments.html), html(found))
        Report().line("page", arguments.html)
    else:
        Report().line(text(found).rstrip("\n"))
    return 0


def _batch(net: Network, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns X with two decimals, so that they can be computed with by hand, and targets that the loss takes."""
    random, n = np.random.default_rng(net.seed), net.sizes[-1]
    X = random.standard_normal((net.sizes[0], m)).round(2)
    if net.loss.name == SOFTMAX:
        return X, np.arange(m) % n
    return X, random.standard_normal((n, m)).round(2) if net.loss.name == SQUARED else np.arange(n * m).reshape(
        n, m
    ) % 2
