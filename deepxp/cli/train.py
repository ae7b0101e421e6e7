"""`deepxp train`"""

import time
from argparse import Namespace
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from deepxp import training
from deepxp.backend import Backend
from deepxp.backend import backend as backend_of
from deepxp.cli import config
from deepxp.cli.folder import CURVES, Folder
from deepxp.cli.options import Settings
from deepxp.cli.problem import Problem, problem
from deepxp.cli.progress import Progress
from deepxp.cli.report import Report, count, shown, size
from deepxp.devices import devices
from deepxp.errors import ConfigError, OutOfMemoryError
from deepxp.evaluation import evaluate
from deepxp.network import Network
from deepxp.optimizers import OPTIMIZERS, Constant, Cosine, Optimizer, StepDecay

RATES = {"adam": 2e-3, "adamw": 2e-3}  # with a schedule that falls to 0; other optimizers bring their own rate
NAMES = {"momentum": "mu"}  # of a flag -> of the optimizer's field
OF_ONE = {"momentum": "momentum and nesterov", "weight_decay": "adamw"}


def run(arguments: Namespace) -> int:
    """Train, evaluate and write the run's folder."""
    settings = config.settings(arguments.flags, arguments.config)
    report = Report(quiet=arguments.quiet, as_json=arguments.json)
    name = Path(settings.data).name.split(".")[0] if settings.data else "digits"
    folder = Folder(settings.out, name or "run", force=arguments.force)
    optimizer, schedule = optimizer_of(settings), schedule_of(settings)
    backend = backend_of(settings.device)
    task = problem(settings)
    if settings.patience is not None and task.validation is None:
        raise ConfigError("--patience watches the validation loss; leave it a part of the data with --validation")
    try:
        return _train(settings, report, folder, task, optimizer, schedule, backend)
    except MemoryError as error:
        smaller = max(1, settings.batch_size // 2)
        raise OutOfMemoryError(
            f"the memory of {backend.name} does not suffice ({error}); "
            f"take a smaller --hidden, or --batch-size {smaller}"
        ) from None
    except KeyboardInterrupt:
        kept = f"what was written is in {folder.path}; a model is written at the end" if folder.path else ""
        raise KeyboardInterrupt(kept) from None


def _train(
    settings: Settings,
    report: Report,
    folder: Folder,
    task: Problem,
    optimizer: Optimizer,
    schedule: Constant,
    backend: Backend,
) -> int:
    net = task.network(settings, backend=backend)
    resolved = replace(
        settings, lr=optimizer.lr, device=backend.name, loss=task.loss, scale=net.scaler.kind if net.scaler else "none"
    )
    path = folder.open(config.dumps(resolved))
    _introduce(report, settings, task, net, optimizer)
    started = time.perf_counter()
    with np.errstate(all="ignore"), Progress(report.stream, settings.epochs) as progress:

        def on_epoch(record: dict[str, float]) -> None:
            folder.record(record)
            progress.on_epoch(record)

        history = training.train(
            net,
            *task.train,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            optimizer=optimizer,
            schedule=schedule,
            validation=task.validation,
            class_weight=None if settings.class_weight == "none" else settings.class_weight,
            l2=settings.l2,
            clip_norm=settings.clip_norm,
            patience=settings.patience,
            on_epoch=on_epoch,
            on_step=progress.on_step,
        )
    seconds = time.perf_counter() - started
    net.save(folder.model)
    if history.stopped_early:
        report.line("stopped", f"early; the weights are those of epoch {history.best_epoch}, the best")
    with np.errstate(all="ignore"):
        test = evaluate(net, *task.test) if task.test else None
    report.line(
        "test", f"{shown(test)} ({count(task.test.X.shape[1], 'sample')})" if task.test and test else "no test part"
    )
    report.line("model", str(folder.model))
    _curves(report, history, path)
    report.result(
        {
            "device": backend.name,
            "epochs": len(history),
            "seconds": round(seconds, 3),
            "test": test,
            "model": str(folder.model),
        }
    )
    return 0


def optimizer_of(settings: Settings) -> Optimizer:
    """The optimizer with what the settings say of it. Raises ConfigError for a setting that is not one of its own."""
    kind = OPTIMIZERS[settings.optimizer]
    own = {"lr": settings.lr if settings.lr is not None else RATES.get(settings.optimizer, kind.lr)}
    for name, users in OF_ONE.items():
        value, attribute = getattr(settings, name), NAMES.get(name, name)
        if value is None:
            continue
        if attribute not in {row.name for row in fields(kind)}:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is of --optimizer {users}, and has no effect on {settings.optimizer}")
        own[attribute] = value
    return kind(**own)


def schedule_of(settings: Settings) -> Constant:
    """The schedule; "step" has its steps after each third of the run."""
    match settings.schedule:
        case "step":
            return StepDecay(settings.warmup, every=-(-settings.epochs // 3))
        case "cosine":
            return Cosine(settings.warmup)
    return Constant(settings.warmup)


def device_line(asked: str, backend: Backend) -> str:
    """Which device, and for `auto` why that one."""
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


def _introduce(report: Report, settings: Settings, task: Problem, net: Network, optimizer: Optimizer) -> None:
    if report.stream is None:
        return
    parts = {"to train": task.train, "to validate": task.validation, "to test": task.test}
    m = task.train.X.shape[1]
    batch = min(settings.batch_size, m)
    need, held = training.memory_need(net, optimizer, batch), task.train.X.nbytes + task.train.y.nbytes
    report.line("device", device_line(settings.device, net.backend))
    report.line("data", str(task))
    report.line("parts", "; ".join(f"{part.X.shape[1]:,} {what}" for what, part in parts.items() if part))
    report.line("network", network_line(net))
    report.line(
        "memory", f"{size(need)} for {count(net.theta.shape[0], 'parameter')} and a batch, {size(held)} of data"
    )
    report.line(
        "training",
        f"{count(settings.epochs, 'epoch')} of {count(-(-m // batch), 'step')}, {optimizer.name}, "
        f"lr {optimizer.lr:g} ({settings.schedule})",
    )
    report.line("")


def _curves(report: Report, history: training.History, path: Path) -> None:
    """curves.png, where Matplotlib is there; it is never a reason to fail."""
    try:
        from deepxp.cli import curves

        curves.draw(list(history), path / CURVES)
    except ImportError:
        report.line("curves", 'none without Matplotlib: python -m pip install "deepxp[plot]"')
    except Exception as error:
        report.line("curves", f"none: {error}")
    else:
        report.line("curves", str(path / CURVES))
