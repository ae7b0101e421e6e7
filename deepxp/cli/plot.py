"""`deepxp plot`: what runs left behind, as pictures."""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepxp import network
from deepxp.cli import apply, config, problem
from deepxp.cli.confusion import confusion_of, labels_of, names_of
from deepxp.cli.folder import model_in
from deepxp.cli.options import Kind, Settings, read_flag
from deepxp.cli.report import Report, write_whole
from deepxp.errors import ConfigError, DataError
from deepxp.history import History
from deepxp.network import Network
from deepxp.runs.run import CONFIG, EPOCHS, MODEL, RESULT, Run, read

DESCRIPTION = """\
Draw what runs of `deepxp train` left in their folders: learning curves, the
confusion matrix of the part that was held out, the norms of weights and
gradients; of several runs their learning curves, one beside the other. Of two
features --boundary draws what the network says of the plane, and of a run with
--keep-epochs how it came about, as a GIF. Needs Matplotlib."""
EXAMPLES = """\
examples:
  deepxp plot runs/digits-1
  deepxp plot runs/adam runs/sgd --out pictures --format svg
  deepxp plot runs/moons --boundary
  deepxp plot runs/digits-1 --html report.html
"""
MOST_FRAMES = 60  # of an animation


def _formats(value: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(value.split(",")))
    if not set(found) <= {"png", "svg", "pdf"}:
        raise ValueError(value)
    return found


FORMATS = Kind("png, svg or pdf, or several as in png,svg", _formats)


def add_arguments(parser: Any) -> None:
    """The options of the command that are not rows of the table of settings."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a folder that train wrote")
    parser.add_argument("--out", metavar="FOLDER", help="for the pictures (that of the run; of several, this one)")
    parser.add_argument("--format", metavar="KIND,KIND", default="png,svg", help="png, svg, pdf (png,svg)")
    parser.add_argument("--boundary", action="store_true", help="the plane of two features, and its classes")
    parser.add_argument("--data", metavar="FILE", help="samples in place of those of the run")
    parser.add_argument("--html", metavar="FILE", help="the report of train --html in place of the pictures")


def run(arguments: Namespace) -> int:
    """Write the pictures of one run, or those that compare several."""
    flags = arguments.flags | ({} if arguments.data is None else {"data": arguments.data})
    settings, formats = config.settings(flags), read_flag("format", FORMATS, arguments.format)
    runs, report = [read(Path(folder)) for folder in arguments.runs], Report()
    if len(runs) > 1 and (arguments.boundary or arguments.data or arguments.html):
        raise ConfigError("--boundary, --data and --html are of one run; name one RUN")
    if arguments.html:
        from deepxp.runs import page

        write_whole(Path(arguments.html), page.html(runs[0]))
        report.line("page", arguments.html)
        return 0
    plots = import_plots()
    out = Path(arguments.out) if arguments.out else runs[0].folder if len(runs) == 1 else Path()
    out.mkdir(parents=True, exist_ok=True)
    plane = _plane(runs[0], settings) if arguments.boundary else None
    for name, figure in _pictures(plots, runs, settings, plane):
        if isinstance(figure, str):
            report.line(name, f"none: {figure}")
        else:
            report.line(name, ", ".join(str(plots.save(figure, out / f"{name}.{kind}")) for kind in formats))
    if plane is not None:
        found = sorted((runs[0].folder / EPOCHS).glob("epoch-*.safetensors"))
        if frames := [path for path in found if path.stem.removeprefix("epoch-").isdecimal()]:
            nets = _nets(frames, settings)
            path = plots.boundary_animation(out / "boundary.gif", nets, plane.X, plane.y, features=plane.features)
            report.line("animation", str(path))
        else:
            report.line("animation", "none: the run kept no weights on its way; train with --keep-epochs 1")
    return 0


def import_plots() -> Any:
    """deepxp.plots. Raises ConfigError where Matplotlib is not installed."""
    try:
        from deepxp import plots
    except ImportError as error:
        raise ConfigError(str(error)) from None
    return plots


def _pictures(plots: Any, runs: Sequence[Run], settings: Settings, plane: "Plane | None") -> Iterator[tuple[str, Any]]:
    """Each with its name, or why there is none."""
    if len(runs) > 1:
        yield "curves", plots.learning_curves(_named(runs))
        return
    one = runs[0]
    yield "curves", plots.learning_curves(one.history)
    try:
        yield "norms", plots.norms(one.history)
    except ConfigError as error:
        yield "norms", str(error)
    C, names, what = _confusion(one, settings)
    yield "confusion", what if C is None else plots.confusion_matrix(C, names=names, title=what)
    if plane is not None:
        accuracy = one.result.metrics.get("accuracy") if one.result else None
        title = "" if accuracy is None or one.result is None else f"{one.result.part} accuracy {100 * accuracy:.1f} %"
        title = settings.data or f"training samples; {title}".removesuffix("; ")
        yield "boundary", plots.boundary(plane.net, plane.X, plane.y, features=plane.features, title=title)


def _named(runs: Sequence[Run]) -> dict[str, History]:
    """By the names of their folders, without what all of their paths begin with."""
    paths = [os.path.abspath(each.folder) for each in runs]
    if len(set(paths)) < len(paths):
        raise ConfigError("one run was named twice")
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return {os.path.relpath(path, shared): each.history for path, each in zip(paths, runs, strict=True)}


def _confusion(one: Run, settings: Settings) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """The matrix, the names of its classes and its title; or why there is none in place of the title."""
    if settings.data is not None:
        net = _model(one, settings)
        dataset = apply.load(settings, net, str(one.folder / MODEL))
        C, names = confusion_of(net, dataset.X.T, problem.encode_for(net, dataset)), names_of(net) or ()
        return (C, names, _right(C, dataset.name)) if C is not None else (None, (), "the model says no single class")
    if one.result is None:
        try:
            model_in(str(one.folder))
        except ConfigError as error:
            return None, (), str(error)
        return None, (), f"the run has no {RESULT}; give samples with --data"
    C = one.result.matrix()
    if C is None or one.result.classes is None:
        if "validation_r2" in one.history.records[0] or "r2" in one.result.metrics:
            return None, (), "it predicts numbers"
        return None, (), "the run held out no samples that have a class"
    return C, tuple(one.result.classes), _right(C, f"{one.result.part} samples")


def _right(C: np.ndarray, what: str) -> str:
    return f"{100 * np.trace(C) / C.sum():.1f} % right of {C.sum():,} {what}"


def _model(one: Run, settings: Settings) -> Network:
    return network.load(model_in(str(one.folder)), settings.device, limit_bytes=settings.limit_bytes)


class Plane(NamedTuple):
    """A network of two features, columns X (2, m) and their classes y (m,), and the names of the features."""

    net: Network
    X: np.ndarray
    y: np.ndarray
    features: tuple[str, ...] | None


def _plane(one: Run, settings: Settings) -> Plane:
    """With the samples that the run was trained on, or those of --data."""
    net = _model(one, settings)
    if net.sizes[0] != 2:
        raise ConfigError(f"--boundary draws the plane of two features; the model in {one.folder} has {net.sizes[0]}")
    if settings.data is not None:
        dataset = apply.load(settings, net, str(one.folder / MODEL))
        X, y = dataset.X.T, problem.encode_for(net, dataset)
    else:
        own = replace(config.settings({}, str(one.folder / CONFIG)), limit_bytes=settings.limit_bytes)
        try:
            for name in filter(None, (own.data, own.labels)):  # whoever wrote the folder says what is opened here
                if Path(name).exists() and not Path(name).is_file():
                    raise DataError(f"{name}: is a folder or a device, not a file")
            X, y = problem.problem(own).train
        except DataError as error:
            raise DataError(f"the data of the run cannot be read again: {error}; give them with --data") from None
    labels = labels_of(net, y)
    if labels is None:
        raise ConfigError("--boundary is one between classes; this network predicts numbers, or several labels at once")
    features = problem.columns_of(net).features or ()
    names = tuple(name for name in features if isinstance(name, str))
    return Plane(net, X, labels, names if len(names) == 2 else None)


def _nets(files: Sequence[Path], settings: Settings) -> Iterator[tuple[int, Network]]:
    """Of many every so many, and the last."""
    step = -(-len(files) // MOST_FRAMES)
    for path in [*files[:-1:step], files[-1]]:
        net = network.load(path, settings.device, limit_bytes=settings.limit_bytes)
        yield int(path.stem.removeprefix("epoch-")), net
