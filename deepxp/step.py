"""One static training step: forward, loss, backward, update, in memory that is allocated once."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from deepxp import rng
from deepxp.backend import Backend
from deepxp.data.batches import Filling
from deepxp.errors import ConfigError, ShapeError
from deepxp.footprint import check_memory
from deepxp.inputs import count, sample_weights, samples, targets
from deepxp.loss_scale import LossScale
from deepxp.network import Network
from deepxp.ops.guard import all_finite, remember, restore
from deepxp.ops.random import dropout_bits
from deepxp.ops.regularization import clip_by_norm, l2_gradient, l2_penalty
from deepxp.ops.typing import Array
from deepxp.ops.updates import update
from deepxp.optimizers import Adam, Optimizer
from deepxp.recursions import backward, class_column, evaluate_loss, forward
from deepxp.workspace import Memory, Workspace

MANY = 2**14  # numbers of a batch from which on it is read where it is, and not copied first
ON_NONFINITE = ("stop", "skip")


class TrainingStep:
    """One step of gradient descent: forward, loss, backward, update, in memory that is allocated once.

    After the first batch of a given size the recursions allocate no arrays, copy nothing between host and device, and
    never wait for the device; the few numbers that change from step to step are sent ahead. `lr` is the learning rate
    of the next step, `t` the number of steps done, `epoch` and `index` (of the step in its epoch, from 0) the counters
    that its random masks depend on. `l2` is lambda in J + lambda/2 sum_l ||W[l]||^2; `clip_norm` the greatest length
    of the gradient. With `on_nonfinite="skip"` a step whose loss, update or optimizer state is NaN or infinite leaves
    theta and the state as they were, and `applied` at 0; `t` counts it all the same. In float16 `loss_scale` is the
    scale of the gradient, else None: a step that overflows leaves theta and the state as they were, too.
    """

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer | None = None,
        batch_size: int = 128,
        *,
        l2: float = 0.0,
        clip_norm: float | None = None,
        on_nonfinite: str = "stop",
    ) -> None:
        if not isinstance(optimizer, Optimizer | None):
            raise ConfigError(f"optimizer must be one such as dx.Adam(lr=1e-3), got {optimizer!r}")
        batch_size = count("batch_size", batch_size)
        if not (math.isfinite(l2) and l2 >= 0):
            raise ConfigError(f"l2 must be a finite number >= 0, got {l2!r}")
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigError(f"clip_norm must be positive, got {clip_norm!r}; None does not clip")
        if on_nonfinite not in ON_NONFINITE:
            raise ConfigError(f"on_nonfinite must be one of {', '.join(ON_NONFINITE)}, got {on_nonfinite!r}")
        self.net, self.optimizer, self.batch_size = net, optimizer or Adam(), batch_size
        check_memory(net, self.optimizer, batch_size, net.backend.free_memory())
        self._l2, self._clip_norm = l2, clip_norm
        self.lr, self.t, self.epoch, self.index = self.optimizer.lr, 0, net.epochs, 0
        self.gradient = net.gradient()
        with net.backend.active():
            self.state = tuple(net.backend.zeros(net.theta.shape, net.dtype) for _ in range(self.optimizer.states))
            skips = on_nonfinite == "skip"
            self._vectors = (net.theta, *self.state)  # what a step that is taken back leaves as it was
            self._kept = [net.backend.zeros(net.theta.shape, net.dtype) for _ in self._vectors if skips]
            self.applied = net.backend.zeros((), net.dtype) if skips else None
            self._one = net.backend.zeros((), net.dtype) + 1.0
            self.loss_scale = LossScale.of(net, self.optimizer)
        self._updates = self.optimizer.updates(net.parameters, self.gradient, self.state)
        # what changes from step to step: the host writes it here, a recorded step reads it where the device can
        numbers = [net.backend.numbers(count, net.dtype) for *_, count in self._updates]
        self._rates, self._live_rates = [sent for sent, _ in numbers], [read for _, read in numbers]
        if self.loss_scale is not None:  # it depends on the device how many updates there were
            self._rates, self._live_rates = [], [self.loss_scale.rates[:count] for *_, count in self._updates]
        self._counter, self._live_counter = net.backend.numbers(2, "uint64")
        self._key, self._drops = net.backend.asarray(rng.dropout_stream(net.seed, 0, 0)[0]), any(net.keep)
        self._recorded: dict[tuple[Any, ...], Callable[..., None]] = {}
        self._memory: dict[bool, Memory] = {}
        self._workspaces: dict[tuple[int, bool], Workspace] = {}
        self._classes = class_column(net, labels=True)

    def __call__(self, X: Any, y: Any, sample_weight: Any = None) -> Array:
        """J of columns X (n[0], m) and targets y before the update, m at most `batch_size`.

        `sample_weight` (m,) is taken as it is; `train` scales the weights of all samples to mean 1 first.

        J is a number of the device: the host waits for it only when it is asked for, as in float(J).
        """
        net = self.net
        table = samples(X, net.sizes[0])
        rows = net.as_learned(targets(y, net.loss, net.sizes[-1], table.shape[0]))
        labels = rows.ndim == 1
        w = sample_weights(rows, table.shape[0], sample_weight)
        with net.backend.here():
            work = self.workspace(table.shape[0], labels=labels)
            net.backend.write(work.Y, rows)
            if w is not None:
                net.backend.write(work.w, w)
            if work.m * net.sizes[0] >= MANY and net.takes(table):
                return self.run(work, labels=labels, weighted=w is not None, X=table)
            net.fill(work.X, table)
            return self.run(work, labels=labels, weighted=w is not None)

    def workspace(self, m: int, *, labels: bool) -> Workspace:
        """The arrays of a batch of m samples: fill X (`net.fill`), Y and w, then `run`. The same arrays every time."""
        if m > self.batch_size:
            raise ShapeError(f"this step was made for batches of at most {self.batch_size} samples, got {m}")
        work = self._workspaces.get((m, labels))
        if work is None:
            if labels not in self._memory:
                self._memory[labels] = self.net.memory(self.batch_size, labels=labels)
            with self.net.backend.active():
                work = self._workspaces[m, labels] = self._memory[labels].workspace(m)
        return work

    def run(
        self,
        work: Workspace,
        *,
        labels: bool,
        weighted: bool = False,
        X: Array | None = None,
        filling: Filling | None = None,
    ) -> Array:
        """The step on a workspace whose X (scaled), Y and w are filled. Returns a copy of `work.J`.

        A table X that the network takes as it is may be given instead of being written into `work.X`. `filling(work)`
        fills the workspace at the beginning of the step, and is recorded with it.
        """
        if self._drops:
            self._counter[:] = self.index, self.epoch
        self.t, self.index = self.t + 1, self.index + 1
        rates = self.optimizer.rates(self.lr, self.t)
        for live in self._rates:
            live[:] = rates[: len(live)]
        if self.loss_scale is not None:
            self.loss_scale.send(self.lr)
        recorded = self._recorded.get((work.m, labels, weighted, filling))
        if recorded is None:
            recorded = self.net.backend.record(partial(self._step, work, labels, weighted, filling), work.X)
            self._recorded[work.m, labels, weighted, filling] = recorded
        recorded(X)
        return self.net.backend.copied(work.J)

    def _step(self, work: Workspace, labels: bool, weighted: bool, filling: Filling | None, backend: Backend) -> None:
        if filling is not None:
            filling(work)
        scale, change = self.loss_scale, backend[update]
        if scale is not None:
            backend, change = scale.on(backend), scale.update(backend)
        net, gradient, l2 = self.net.on(backend), self.gradient, self._l2
        for l, bits in enumerate(work.bits):
            if bits is not None:
                backend[dropout_bits](self._key, self._live_counter, l, bits)
        forward(net, work)
        evaluate_loss(net, work, self._classes if labels else None, weighted=weighted)
        backward(net, work, gradient)
        if scale is not None:
            scale.judge(backend, gradient.g, work.J)
        if l2:
            backend[l2_penalty](net.parameters.weights, l2, work.J)
            backend[l2_gradient](net.parameters.weights, gradient.weights, l2)
        if self._clip_norm is not None:
            backend[clip_by_norm](gradient.g, self._clip_norm)
        if self.applied is not None:
            backend[remember](self._one, self.applied)
            for vector, old in zip(self._vectors, self._kept, strict=True):
                backend[remember](vector, old)
        for rates, (rule, theta, g, state, _) in zip(self._live_rates, self._updates, strict=True):
            change(rule, theta, g, state, rates)
        if self.applied is not None:
            for quantity in (work.J, *self._vectors):
                backend[all_finite](quantity, self.applied)
            for vector, old in zip(self._vectors, self._kept, strict=True):
                backend[restore](self.applied, old, vector)
