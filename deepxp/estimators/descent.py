"""The solvers sgd and adam: epochs of batches, until the loss or the score on samples held out stops getting better."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import shuffle

from deepxp.estimators.rules import PenalizedAdam, PenalizedMomentum, change_rate
from deepxp.estimators.samples import Samples
from deepxp.network import Network
from deepxp.ops.regularization import l2_penalty
from deepxp.ops.typing import Array
from deepxp.step import TrainingStep


@dataclass
class Progress:
    """What a later fit goes on from: loss_curve_ and the others, without their underscore."""

    loss_curve: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    validation_scores: list[float] = field(default_factory=list)
    best_validation_score: float = -math.inf
    best_theta: Array | None = None  # on the host
    idle: int = 0  # epochs since it last got better
    t: int = 0  # samples seen
    n_iter: int = 0  # epochs of the fit that is the last one


class Descent:
    """A step over a network, to be run over epochs of samples; it can be pickled, and then goes on where it was."""

    def __init__(self, net: Network, p: Any) -> None:
        self.net = net
        self.optimizer: PenalizedAdam | PenalizedMomentum
        if p.solver == "adam":
            self.optimizer = PenalizedAdam(p.learning_rate_init, p.beta_1, p.beta_2, p.epsilon)
        else:
            self.optimizer = PenalizedMomentum(p.learning_rate_init, p.momentum, p.nesterovs_momentum)
        self.lr, self.steps = float(p.learning_rate_init), 0
        self.state: list[Array] = []
        self._step: TrainingStep | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = [self.net.backend.asnumpy(s) for s in (self.state if self._step is None else self._step.state)]
        steps = self.steps if self._step is None else self._step.t
        return vars(self) | {"_step": None, "state": kept, "steps": steps}  # a recorded step is of this process

    def step(self, batch_size: int) -> TrainingStep:
        """The step for batches of up to that size, with the state that there is."""
        if self._step is None or self._step.batch_size < batch_size:
            before = self.__getstate__()
            self._step = TrainingStep(self.net, self.optimizer, batch_size)
            self._step.lr, self._step.t = self.lr, before["steps"]
            for own, kept in zip(self._step.state, before["state"], strict=False):
                self.net.backend.write(own, kept)
        return self._step

    def set_rate(self, lr: float) -> None:
        """The learning rate from here on."""
        assert self._step is not None
        change_rate(self.optimizer, self._step.state, self.lr, lr)
        self.lr = self._step.lr = lr

    def epoch(self, samples: Samples, rows: Array, batch_size: int, alpha: float, outputs: int) -> float:
        """One step for each batch of `rows`. Returns the mean of J / outputs + alpha / (2 S) sum_l ||W[l]||^2.

        A batch whose weights are all 0 is passed over.
        """
        net, step, backend = self.net, self.step(batch_size), self.net.backend
        step.epoch, step.index, total = net.epochs, 0, 0.0
        penalty, weights = backend.zeros((), net.dtype), net.parameters.weights
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            work = step.workspace(len(batch), labels=samples.labels)
            S = samples.fill(batch, work)
            if S == 0:
                continue
            self.optimizer.strength[0] = alpha / S
            penalty[...] = 0.0
            backend[l2_penalty](weights, alpha / S, penalty)
            penalized = penalty + 0.0  # before the update, as J is
            J = step.run(work, labels=samples.labels, weighted=samples.w is not None)
            total = total + (J * (1 / outputs) + penalized) * len(batch)
        net.epochs += 1
        return float(total) / len(rows)


def descend(
    p: Any,
    descent: Descent,
    progress: Progress,
    samples: Samples,
    rows: Array,
    random: np.random.RandomState,
    score: Callable[[], float] | None,
    say: Callable[[str], None],
    *,
    epochs: int,
    outputs: int,
) -> bool:
    """Up to `epochs` epochs over the samples `rows`, by the parameters p of the estimator.

    Did they end because it got no better?
    """
    index, M = np.arange(len(rows)), len(rows)
    batch_size = min(200 if p.batch_size == "auto" else p.batch_size, M)
    descent.step(batch_size)
    progress.n_iter = 0
    for epoch in range(1, epochs + 1):
        if p.shuffle:
            index = shuffle(index, random_state=random)
        loss = descent.epoch(samples, rows[index], batch_size, p.alpha, outputs)
        progress.n_iter, progress.t = epoch, progress.t + M
        progress.loss_curve.append(loss)
        say(f"Iteration {epoch}, loss = {loss:.8f}")
        _watch(p, descent.net, progress, score, say)
        if p.solver == "sgd" and p.learning_rate == "invscaling":
            descent.set_rate(p.learning_rate_init / (progress.t + 1) ** p.power_t)
        if progress.idle > p.n_iter_no_change:
            what = "Training loss" if score is None else "Validation score"
            found = f"{what} did not improve more than tol={p.tol:f} for {p.n_iter_no_change} consecutive epochs."
            if p.solver != "sgd" or p.learning_rate != "adaptive":
                say(f"{found} Stopping.")
                return True
            if descent.lr <= 1e-6:
                say(f"{found} Learning rate too small. Stopping.")
                return True
            descent.set_rate(descent.lr / 5)
            say(f"{found} Setting learning rate to {descent.lr:f}")
            progress.idle = 0
    return False


def _watch(
    p: Any, net: Network, progress: Progress, score: Callable[[], float] | None, say: Callable[[str], None]
) -> None:
    """Has the epoch made it better, by more than tol?"""
    if score is None:
        loss, best = progress.loss_curve[-1], progress.best_loss
        progress.idle = progress.idle + 1 if loss > best - p.tol else 0
        progress.best_loss = loss if loss < best else best
        return
    reached, before = score(), progress.best_validation_score
    progress.validation_scores.append(reached)
    say(f"Validation score: {reached:f}")
    progress.idle = progress.idle + 1 if reached < before + p.tol else 0
    if reached > before:
        progress.best_validation_score, progress.best_theta = reached, net.backend.asnumpy(net.theta).copy()
