"""`deepxp train`"""

import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np

from deepxp import training
from deepxp.backend import Backend
from deepxp.backend import backend as backend_of
from deepxp.checkpoints.file import files
from deepxp.checkpoints.position import Position
from deepxp.checkpoints.saver import Checkpoints
from deepxp.cli import config, resume
from deepxp.cli.choices import batch_size_of, optimizer_of, schedule_of
from deepxp.cli.folder import LAST_GOOD, Folder
from deepxp.cli.options import Settings
from deepxp.cli.problem import Problem, problem
from deepxp.cli.progress import Progress
from deepxp.cli.report import Report, count, shown, size, tell_unit
from deepxp.cli.signals import Signals, StoppedBySignal
from deepxp.cli.views import Views, result_of
from deepxp.cli.wording import as_flags
from deepxp.devices import devices
from deepxp.errors import ConfigError, NonFiniteError, OutOfMemoryError, StoppedError
from deepxp.evaluation import evaluate
from deepxp.footprint import memory_need, need_of_a_prediction
from deepxp.health import KEPT
from deepxp.history import History
from deepxp.network import Network
from deepxp.optimizers import Optimizer

MANY = 20  # classes from which on whole numbers may be meant as numbers
FAR = 100  # mean or deviation of targets from which on they are hard to learn in their own unit


def run(arguments: Namespace) -> int:
    """Train, evaluate and write the run's folder."""
    settings = config.settings(arguments.flags, arguments.config)
    report = Report(quiet=arguments.quiet, as_json=arguments.json)
    views = Views(arguments, report)
    name = (Path(settings.data).name.split(".")[0] if settings.data else "digits") or "run"
    if arguments.resume:
        if arguments.force:
            raise ConfigError("--resume goes on with a run, --force replaces it; choose one of them")
        settings = resume.settings(arguments.flags, arguments.config, name)
    folder = Folder(settings.out, name, force=arguments.force, resume=arguments.resume)
    optimizer, backend = optimizer_of(settings), backend_of(settings.device, settings.precision)
    task = problem(settings)
    if settings.patience is not None and task.validation is None:
        raise ConfigError("--patience watches the validation loss; leave it a part of the data with --validation")
    chosen = replace(settings, lr=optimizer.lr, batch_size=batch_size_of(settings, task.train.X.shape[1]))
    try:
        with views:
            return _train(chosen, report, folder, task, optimizer, backend, views)
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        smaller = max(1, (chosen.batch_size or 1) // 2)
        raise OutOfMemoryError(
            f"the memory of {backend.name} does not suffice ({error}); "
            f"take a smaller --hidden, or --batch-size {smaller}"
        ) from None
    except StoppedBySignal:
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: {_again(folder)}" if folder.lock else "") from None
    finally:
        folder.close()


def _train(
    settings: Settings,
    report: Report,
    folder: Folder,
    task: Problem,
    optimizer: Optimizer,
    backend: Backend,
    views: Views,
) -> int:
    net = task.network(settings, backend=backend)
    scale = net.scaler.kind if net.scaler else "none"
    resolved = replace(settings, device=backend.name, loss=task.loss, scale=scale)
    resolved = replace(resolved, data=_absolute(settings.data), labels=_absolute(settings.labels))
    path = folder.open(config.dumps(resolved), task.about)
    goes_on = folder.resume and bool(files(path))
    views.begin(path, net, settings.keep_epochs, task.notes, goes_on=goes_on)
    _introduce(report, settings, task, net, optimizer, resumed=folder.resume)
    if folder.resume and not goes_on:
        report.line("resumed", "from the beginning: no checkpoint was saved yet")
    started = time.perf_counter()
    try:
        history = _fit(resolved, report, folder, task, net, optimizer, views)
    except NonFiniteError as error:
        said, saved = str(error).removesuffix(KEPT), folder.save(net, task.notes, LAST_GOOD)
        which = (
            f"The model of epoch {net.epochs}, the last good one," if net.epochs else "The model from before training"
        )
        raise NonFiniteError(f"{said}. {which} is {saved}") from None
    seconds = time.perf_counter() - started
    folder.save(net, task.notes)
    if history.stopped_early:
        report.line("stopped", f"early; the weights are those of epoch {history.best_epoch}, the best")
    test = None
    if task.test:
        with np.errstate(all="ignore"):
            test = evaluate(net, *task.test)
        report.line("test", f"{shown(test)} ({count(task.test.X.shape[1], 'sample')})")
    report.line("model", str(folder.model))
    result = result_of(
        views, task, net, history, test, network=whole_network_line(net), training=training_line(settings, task)
    )
    views.end(history, result)
    outcome = {"device": backend.name, "epochs": len(history), "seconds": round(seconds, 3), "test": test}
    report.result(outcome | {"model": str(folder.model)})
    return 0


def _again(folder: Folder) -> str:
    return f"deepxp train --resume --out {quote(str(folder.path))}"


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _fit(
    settings: Settings,
    report: Report,
    folder: Folder,
    task: Problem,
    net: Network,
    optimizer: Optimizer,
    views: Views,
) -> History:
    def on_epoch(record: dict[str, float]) -> None:
        try:
            folder.record(record)
        except OSError as error:
            report.warn(f"epoch {record['epoch']} is missing in {error.filename}: {error.strerror}; training goes on")
        views.epoch(record, last=record["epoch"] == settings.epochs)
        progress.on_epoch(record)

    def on_resume(path: Path, at: Position) -> None:
        folder.go_on(config.dumps(settings), at.records)
        views.resumed(at.records)
        progress.done = at.epoch
        steps = f" and step {at.steps} of epoch {at.epoch + 1}" if at.steps else ""
        report.line("resumed", f"after {count(at.epoch, 'epoch')}{steps}, from {path}")

    assert folder.path is not None
    checkpoints = Checkpoints(
        folder.path,
        every=settings.checkpoint_every,
        keep=settings.checkpoint_keep,
        resume=folder.resume,
        say=report.warn,
        on_resume=on_resume,
        lock=folder.lock,
    )
    progress = Progress(report.stream, settings.epochs, compiles=_compiles(net))
    signals = Signals(checkpoints.stop, quiet=report.stream is None)
    try:
        with np.errstate(all="ignore"), progress, signals:
            return training.train(
                net,
                *task.train,
                epochs=settings.epochs,
                batch_size=settings.batch_size or 1,
                optimizer=optimizer,
                schedule=schedule_of(settings),
                validation=task.validation,
                class_weight=None if settings.class_weight == "none" else settings.class_weight,
                l2=settings.l2,
                clip_norm=settings.clip_norm,
                patience=settings.patience,
                on_nonfinite=settings.on_nonfinite,
                on_note=views.notes.append,
                on_epoch=on_epoch,
                on_step=progress.on_step,
                checkpoints=checkpoints,
            )
    except StoppedError as stopped:
        text = "go on with" if stopped.saved else "this was not saved; go on from before it with"
        raise StoppedBySignal(f"{text}: {_again(folder)}", signals.number) from None
    finally:
        for note in views.notes:
            report.line("note", as_flags(note))


def _compiles(net: Network) -> bool:
    kernels = net.backend.kernels
    return kernels is not None and kernels.__name__ == "deepxp.kernels.numba"


def device_line(asked: str, backend: Backend, *, resumed: bool = False) -> str:
    """Which device, and for `auto` why that one; a run that goes on has chosen one, whatever it was asked for."""
    if asked != "auto" and resumed:
        return f"{backend.name}, on which the run goes on"
    if asked != "auto":
        return f"{backend.name}, as asked for"
    if backend.name != "cpu":
        return f"{backend.name}: a usable GPU"
    reason = next((device.reason for device in devices() if not device.usable), "there is none")
    return f"cpu: no usable GPU ({reason.rstrip('.')})"


def network_line(net: Network) -> str:
    """Sizes, activations, loss and precision in words."""
    hidden = dict.fromkeys(g.name for g in net.g[1:-1])
    return ", ".join(["-".join(map(str, net.sizes)), *hidden, net.loss.name, net.dtype])


def whole_network_line(net: Network) -> str:
    """The same, and how many parameters it has."""
    return f"{network_line(net)}: {count(net.theta.shape[0], 'parameter')}"


def training_line(settings: Settings, task: Problem) -> str:
    """Epochs, steps, optimizer and its learning rate in words."""
    m = task.train.X.shape[1]
    batch = min(settings.batch_size or 1, m)
    return (
        f"{count(settings.epochs, 'epoch')} of {count(-(-m // batch), 'step')} with {count(batch, 'sample')}, "
        f"{settings.optimizer}, lr {settings.lr:g} ({settings.schedule})"
    )


def _introduce(
    report: Report, settings: Settings, task: Problem, net: Network, optimizer: Optimizer, *, resumed: bool
) -> None:
    if report.stream is None:
        return
    parts = {"to train": task.train, "to validate": task.validation, "to test": task.test}
    m = task.train.X.shape[1]
    batch = min(settings.batch_size or 1, m)
    need, held = memory_need(net, optimizer, batch), task.train.X.nbytes + task.train.y.nbytes
    report.line("device", device_line(settings.device, net.backend, resumed=resumed))
    report.line("data", str(task))
    if told := _columns(task):
        report.line("columns", told)
    shares = "; of every class in its share" if task.stratified else ""
    report.line("parts", "; ".join(f"{part.X.shape[1]:,} {what}" for what, part in parts.items() if part) + shares)
    report.line("network", whole_network_line(net))
    free = net.backend.free_memory()
    there = "" if free is None else f"; {size(free)} are free on {net.backend.name}"
    fits = free is None or net.backend.name == "cpu" or need + need_of_a_prediction(net) + held <= free
    stays = "" if fits else ", which stay on the host and are sent batch by batch"
    told = f"{size(need)} for the network and a batch, {size(held)} of data{stays}{there}"
    report.line("memory", f"{size(need + held)}: {told}")
    report.line("training", training_line(settings, task))
    tell_unit(report, net)
    for note in notes(settings, task):
        report.line("note", as_flags(note))
    report.line("")


def _columns(task: Problem) -> str:
    """What was made of the columns of a table, where it is not what they hold."""
    table = task.table
    names, words = table.columns.features or (), table.columns.categories
    coded = [f"{_column(name)}: {len(each)} categories" for name, each in zip(names, words, strict=False) if each]
    return "; ".join([*coded, *([f"left out: {', '.join(table.ignored)}"] if table.ignored else [])])


def _column(name: str | int) -> str:
    return f"column {name + 1}" if isinstance(name, int) else name


def notes(settings: Settings, task: Problem) -> Iterator[str]:
    """What to know of the targets before they are learned."""
    classes = task.classes or ()
    if task.kind == "classes" and settings.loss == "auto" and len(classes) > MANY and all(map(_is_whole, classes)):
        yield f"{len(classes)} whole numbers are taken as classes; --loss squared-error predicts them as numbers"
    if task.kind == "numbers" and settings.scale_target == "none":
        y = np.atleast_2d(task.train.y)
        means, deviations = y.mean(axis=1), y.std(axis=1)
        largest = np.maximum(np.abs(means), deviations)
        worst = int(largest.argmax())
        if largest[worst] > FAR:
            yield (
                f"the targets (mean {means[worst]:.4g}, deviation {deviations[worst]:.4g}) are learned in their own "
                "unit; expect a slow and poor fit: leave out --scale-target none"
            )


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal()
