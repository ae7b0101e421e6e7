"""The loop over epochs and batches around a training step."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from deepxp import rng
from deepxp.checkpoints.config import configuration
from deepxp.checkpoints.position import Position
from deepxp.checkpoints.saver import Checkpoints, Saver
from deepxp.data.batches import Batches, Streamed
from deepxp.errors import ConfigError, NonFiniteError, OutOfMemoryError
from deepxp.evaluation import Evaluation
from deepxp.footprint import need_of_a_prediction, need_of_a_step, out_of_memory
from deepxp.health import Health, last_good
from deepxp.history import History
from deepxp.inputs import count, is_labels, sample_weights, samples, targets
from deepxp.network import Network
from deepxp.ops.typing import Array
from deepxp.optimizers import Adam, Constant, Optimizer
from deepxp.step import TrainingStep
from deepxp.workspace import Workspace


def train(
    net: Network,
    X: Any,
    y: Any,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    schedule: Constant | None = None,
    validation: tuple[Any, Any] | None = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | Sequence[float] | str | None = None,
    l2: float = 0.0,
    clip_norm: float | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    shuffle: bool = True,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
    on_step: Callable[[int, int, float], object] | None = None,
    on_nonfinite: str = "stop",
    on_note: Callable[[str], object] | None = None,
    checkpoints: Checkpoints | str | os.PathLike[str] | None = None,
) -> History:
    """Train the network on columns X (n[0], M) and targets y: labels (M,), or columns (n[L], M).

    Every epoch takes all samples once, in an order that depends on the seed and the epoch; a last, smaller batch is
    trained on too. With `patience` training stops when the validation loss has not fallen by more than `min_delta`
    for that many epochs, and the best weights are restored. Weights of samples are scaled to mean 1.
    `on_epoch(record)` is called after every epoch, `on_step(step, steps, loss)` whenever the loss has been read.
    `checkpoints`, a folder or a `Checkpoints`, saves the run, and goes on with it to the bits it would have ended with,
    had it not been interrupted; it must be called with the arguments it had: only a number of epochs that the schedule
    does not depend on may grow.

    Where a batch gives NaN or infinity, `on_nonfinite="stop"` raises NonFiniteError, with the weights of the last epoch
    whose losses and norms are finite restored and the history in its `history`; "skip" does without its update, counts
    it under `skipped` in the record of the epoch, and only raises for an epoch that has no other batch.
    `on_note(text)` is told of these, of units that died and of a gradient that explodes; without it, it is a
    HealthWarning.

    Raises StoppedError where `checkpoints.stop` asked for it; OutOfMemoryError, with the batch size that fits, where
    the memory does not suffice; ConfigError, ShapeError and DataError for what does not fit.
    """
    epochs, batch_size = count("epochs", epochs), count("batch_size", batch_size)
    if not isinstance(schedule, Constant | None):
        raise ConfigError(f"schedule must be one such as dx.Cosine(warmup=1), got {schedule!r}")
    if patience is not None and (patience < 1 or validation is None):
        raise ConfigError("early stopping needs patience >= 1 and validation data to watch")
    if validation is not None and not (isinstance(validation, tuple | list) and len(validation) == 2):
        raise ConfigError(f"validation must be a pair (X, y) of columns and their targets, got {_kind(validation)}")
    if isinstance(checkpoints, str | os.PathLike):
        checkpoints = Checkpoints(checkpoints)
    if not isinstance(checkpoints, Checkpoints | None):
        raise ConfigError(f"checkpoints must be a folder or dx.Checkpoints(folder), got {_kind(checkpoints)}")
    schedule = schedule or Constant()
    table = samples(X, net.sizes[0])
    rows = targets(y, net.loss, net.sizes[-1], table.shape[0])
    w = sample_weights(rows, table.shape[0], sample_weight, class_weight)
    w = None if w is None else w / w.mean()
    watched = None if validation is None else Evaluation.of(net, *validation)
    optimizer, batch_size, free = optimizer or Adam(), min(batch_size, table.shape[0]), net.backend.free_memory()
    try:
        with net.backend.active():
            fillable, scale = net.fillable(table)
            step = TrainingStep(net, optimizer, batch_size, l2=l2, clip_norm=clip_norm, on_nonfinite=on_nonfinite)
            need = need_of_a_step(net, optimizer, batch_size) + need_of_a_prediction(net)
            batches = Batches.of(net.backend, fillable, net.as_learned(rows), w, scale, need=need)
            run = _Epochs(net, step, batches, schedule, epochs, shuffle, on_step, Health(net, step, on_note))
            copied = net.backend.copied
            good, best = copied(net.theta), None if patience is None else copied(net.theta)
            loop = partial(_loop, net, run, watched, good, best, patience or 0, min_delta, on_epoch)
            if checkpoints is None:
                return loop()
            config = configuration(
                net,
                step.optimizer,
                schedule,
                [table, rows, w, *([] if watched is None else [watched.X, watched.Y])],
                epochs=epochs,
                samples=len(batches),
                batch_size=step.batch_size,
                l2=l2,
                clip_norm=clip_norm,
                patience=patience,
                min_delta=min_delta,
                shuffle=shuffle,
                on_nonfinite=on_nonfinite,
            )
            vectors = {"theta": net.theta, "good": good} | ({} if best is None else {"best": best})
            vectors |= {f"state{k}": vector for k, vector in enumerate(step.state)}
            vectors |= {} if step.loss_scale is None else {"loss_scale": step.loss_scale.state}
            with Saver(checkpoints, net, step, run.at, vectors, run.unread, config, schedule) as run.saver:
                return loop()
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise out_of_memory(net, optimizer, batch_size, free) from error


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{' '.join(repr(value).split()):.60}" if shape is None else f"one array of shape {tuple(shape)}"


def _loop(
    net: Network,
    run: "_Epochs",
    watched: Evaluation | None,
    good_theta: Array,
    best_theta: Array | None,
    patience: int,
    min_delta: float,
    on_epoch: Callable[[dict[str, float]], object] | None,
) -> History:
    at = run.at
    history = History(at.records, (at.epoch if best_theta is None else at.best_epoch) or None)
    for epoch in range(at.epoch, run.epochs):
        run.started = time.perf_counter() - at.seconds
        try:
            record = run(epoch)
        except NonFiniteError as error:
            _go_back(net, good_theta, history)
            error.history = history
            raise
        net.epochs += 1
        if watched is not None:
            record |= {f"validation_{name}": value for name, value in watched.run(net).items()}
        record["seconds"] = time.perf_counter() - run.started
        history.records.append(record)
        if last_good([record]):
            good_theta[...] = net.theta
        history.best_epoch = epoch + 1
        if on_epoch is not None:
            on_epoch(dict(record))  # what is done to it is not done to the history
        if best_theta is not None:
            if record["validation_loss"] < at.best_loss - min_delta:
                at.best_loss, at.best_epoch = record["validation_loss"], epoch + 1
                best_theta[...] = net.theta
            history.best_epoch = at.best_epoch
            if epoch + 1 - at.best_epoch >= patience:
                history.stopped_early = True
                break
        run.after_epoch()
    if best_theta is not None:
        if at.best_epoch == 0:
            _go_back(net, good_theta, history)
            raise NonFiniteError(
                "the validation loss was never finite: look for NaN or infinity in the validation data"
            )
        net.theta[...] = best_theta
    return history


def _go_back(net: Network, good_theta: Array, history: History) -> None:
    """To the last good epoch of the run, or to its beginning."""
    net.theta[...] = good_theta
    net.epochs -= len(history) - last_good(history.records)


@dataclass
class _Epochs:
    """One epoch at a time: the order, the batches, the learning rate of each step, the loss read now and then."""

    net: Network
    step: TrainingStep
    batches: Batches | Streamed
    schedule: Constant
    epochs: int
    shuffle: bool
    on_step: Callable[[int, int, float], object] | None
    health: Health
    at: Position = field(default_factory=Position)
    unread: list[Array] = field(default_factory=list)  # losses of steps, still on the device
    started: float = 0.0
    saver: Saver | None = None

    def __call__(self, epoch: int) -> dict[str, float]:
        """The record of an epoch, counted from 0 in this run."""
        net, step, M, size = self.net, self.step, len(self.batches), self.step.batch_size
        pending, saver = self.unread, self.saver
        order = rng.order(net.seed, net.epochs, M) if self.shuffle else np.arange(M)
        rows, steps = self.batches.order(order), -(-M // size)
        labels, weighted = is_labels(net.loss, self.batches.Y), self.batches.w is not None
        pending, saver = self.unread, self.saver
        step.epoch, step.index, total = net.epochs, self.at.steps, self.at.loss
        health, skips = self.health, None if step.applied is None else self.health.counted
        if step.loss_scale is not None and step.index == 0:
            step.loss_scale.begin()
        health.begin(epoch + 1, order, self.at.skipped)

        def run(i: int) -> tuple[Workspace, Array]:
            index = rows[i * size : min((i + 1) * size, M)]
            work = step.workspace(index.shape[0], labels=labels)
            filling = self.batches.ready(index, work)
            step.lr = step.optimizer.lr * self.schedule.factor(epoch + (i + 0.5) / steps, self.epochs)
            return work, step.run(work, labels=labels, weighted=weighted, filling=filling)

        for i in range(step.index, steps):
            work, J = run(i)
            pending.append((J if skips is None else skips(J, work.m)) * work.m)
            if len(pending) >= net.backend.read_loss_every or i == steps - 1:
                total += self._read(run, i)
                if skips is not None:
                    health.read(work, i)
                if self.on_step is not None:
                    self.on_step(i + 1, steps, total / max(1, min(M, (i + 1) * size) - health.unused))
            if saver is not None and saver.due() and i < steps - 1:
                if skips is not None and pending:  # what was left out is a part of where the run is
                    total += self._read(run, i)
                    health.read(work, i)
                self.at.skipped = health.skipped
                self.at.steps, self.at.loss, self.at.seconds = i + 1, total, time.perf_counter() - self.started
                saver.save()
        record = {"epoch": epoch + 1, "loss": total / max(1, M - health.unused), "lr": step.lr}
        record |= health.end(self.batches, run, steps)
        return record if step.loss_scale is None else record | step.loss_scale.record(net.backend)

    def _read(self, run: Callable[[int], tuple[Workspace, Array]], i: int) -> float:
        """The sum of the losses up to step i that were not read yet, in one transfer."""
        xp, losses = self.net.backend.xp, self.unread
        total = float(losses[0] if len(losses) == 1 else xp.sum(xp.stack(losses)))
        if not math.isfinite(total):
            raise self.health.failed(run, i)
        losses.clear()
        return total

    def after_epoch(self) -> None:
        """Begin the next epoch, and save the run before it where that is due."""
        self.at.epoch, self.at.steps, self.at.loss, self.at.seconds = self.at.epoch + 1, 0, 0.0, 0.0
        self.at.skipped = (0, 0, 0)
        if self.saver is not None and self.saver.due_after_epoch():
            self.saver.save()
