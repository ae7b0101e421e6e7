"""What goes wrong with the numbers of a run: NaN and infinity, batches left out for them, dead units, long gradients.

Which layer went bad first is named from the arrays that the failed step left behind. By the time that a loss tells,
later steps may have gone over them, on a device that the host does not wait for, or where the loss was finite and the
update was not: the run goes back to the beginning of the epoch and repeats its steps, and looks at each.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepxp import rng
from deepxp.data.batches import Batches, Streamed
from deepxp.errors import HealthWarning, NonFiniteError
from deepxp.inputs import is_labels
from deepxp.network import CHUNK, Network
from deepxp.ops import dense
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient
from deepxp.workspace import Workspace

EXPLODED = 1000.0  # times as long as at the beginning
DEAD = 0.25  # of a layer: fewer are no reason to worry
FEW = 50  # samples, of which it says nothing that a unit is off for all of them
PROBE = 512  # samples on which a unit is looked at that may be dead
KEPT = ". The network has the last good weights from before this epoch"
ADVICE = "lower the learning rate, clip the gradient (clip_norm=1.0) or scale the inputs"


def last_good(records: Sequence[Mapping[str, float]]) -> int:
    """The last epoch whose losses and norms are finite, or 0. Of a batch that may be left out the gradient may not be
    finite, and says nothing of the weights."""
    for record in reversed(records):
        names = ("loss", "validation_loss", "norm_W", *(() if "skipped" in record else ("norm_dW",)))
        if all(math.isfinite(x) for name, x in record.items() if name.startswith(names)):
            return int(record["epoch"])
    return 0


def quantities(
    net: Network, work: Workspace, gradient: Gradient, state: Sequence[Array] = ()
) -> Iterator[tuple[str, Array]]:
    """The arrays of a step in the order in which they are computed."""
    yield "the input A[0]", work.A[0]
    for l in range(1, net.L + 1):
        if work.Z[l] is not work.A[l]:
            yield f"Z[{l}]", work.Z[l]
        yield (f"Z[{l}]" if l == net.L else f"A[{l}]"), work.A[l]
    yield "the loss", work.losses
    for l in range(net.L, 0, -1):
        yield f"dW[{l}]", gradient.dW[l]
        yield f"db[{l}]", gradient.db[l]
    for vector in state:
        yield "the optimizer's state", vector
    for l in range(1, net.L + 1):
        yield f"the updated W[{l}]", net.W[l]
        yield f"the updated b[{l}]", net.b[l]


def first_bad(
    net: Network,
    work: Workspace,
    gradient: Gradient,
    epoch: int,
    step: int,
    state: Sequence[Array] = (),
    rows: Array | None = None,
) -> str:
    """What was met at a step whose loss or update is NaN or infinite, in which quantity of it first, and what helps.

    `rows` are the samples of its batch, counted from 0 in the training data.
    """
    for name, array in quantities(net, work, gradient, state):
        values = net.backend.asnumpy(array)
        bad = ~np.isfinite(values)
        if bad.any():
            advice, sample = ADVICE, ""
            if array is work.A[0]:
                advice = "remove or replace those values"
            if rows is not None and (name[0] in "AZ" or array is work.A[0] or array is work.losses):
                column = int(np.flatnonzero(bad.reshape(-1, work.m).any(axis=0))[0])
                sample = f" (sample {int(rows[column]) + 1} is the first)"
            return (
                f"{values[bad].flat[0]} at step {step} of epoch {epoch}: the first bad values are in {name}, "
                f"{int(bad.sum())} of {bad.size}; {advice}{sample}"
            )
    return (
        f"a loss that is not finite at step {step} of epoch {epoch}, but every layer's values are finite: the sum over "
        f"the batch overflowed; {ADVICE}"
    )


class Health:
    """Looks after a run: `begin` an epoch, `failed` where a loss was not finite, `end` after the epoch; and in a run
    that skips, `counted` for every loss and `read` whenever losses were read. What it finds is told in words to `tell`,
    or else as a HealthWarning.

    A step is looked at only where it failed; an epoch costs a look at the last gradient, and epochs 1, 2, 4, 8, ... a
    forward pass of some samples where a quarter of a layer got no gradient.
    """

    def __init__(self, net: Network, step: Any, tell: Callable[[str], object] | None) -> None:
        self._net, self._step, self._tell = net, step, tell
        self._epoch, self._order = 0, np.arange(0)
        self._pending: list[tuple[int, Array]] = []  # of steps that may have been skipped: their m, and `applied`
        self._steps = self._skipped = self.unused = 0
        self._first_norm, self._told = math.inf, set[str]()
        self._vectors = (net.theta, *step.state, *([] if step.loss_scale is None else [step.loss_scale.state]))
        self._kept = [net.backend.copied(vector) for vector in self._vectors if step.applied is None]
        self._at = 0, 0  # what `_kept` is of: the index of the next step, and the steps done

    def _say(self, text: str) -> None:
        if self._tell is None:
            warnings.warn(text, HealthWarning, stacklevel=6)
        else:
            self._tell(text)

    @property
    def skipped(self) -> tuple[int, int, int]:
        """Of this epoch: steps looked at, steps left out, and their samples."""
        return self._steps, self._skipped, self.unused

    def begin(self, epoch: int, order: Array, skipped: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Epoch `epoch`, counted from 1, takes the samples in this order. `skipped` is of its steps that are done."""
        self._epoch, self._order = epoch, order
        self._steps, self._skipped, self.unused = skipped
        self._at = self._step.index, self._step.t
        for old, vector in zip(self._kept, self._vectors, strict=False):
            old[...] = vector

    def counted(self, J: Array, m: int) -> Array:
        """J, or 0 where the step was not applied. Every step of a run that skips is counted, in its order."""
        self._steps += 1
        xp = self._net.backend.xp
        applied = self._step.applied + 0.0
        self._pending.append((m, applied))
        return xp.where(applied > 0.0, J, xp.zeros_like(J))

    def read(self, work: Workspace, i: int) -> None:
        """The losses up to step i, counted from 0, were read, and all were finite."""
        for k, (m, applied) in enumerate(self._pending, start=i + 1 - len(self._pending)):
            if float(applied) > 0.0:
                continue
            self._skipped, self.unused = self._skipped + 1, self.unused + m
            if self._skipped == 1:
                seen = f"a loss or an update that is not finite at step {k + 1} of epoch {self._epoch}"
                self._say(f"a batch was left out, for it gave {self._seen(work, k) if k == i else seen}")
        self._pending.clear()

    def _seen(self, work: Workspace, i: int) -> str:
        step = self._step
        return first_bad(self._net, work, step.gradient, self._epoch, i + 1, step.state, self._rows(i))

    def _finite(self) -> bool:
        xp = self._net.backend.xp
        finite = xp.all(xp.isfinite(self._vectors[0]))
        for vector in self._vectors[1:]:
            finite = finite & xp.all(xp.isfinite(vector))
        return bool(finite)

    def failed(self, run: Callable[[int], tuple[Workspace, Array]], i: int) -> NonFiniteError:
        """The error for a step, up to step i of the epoch, that went wrong; `run` repeats a step."""
        for vector, old in zip(self._vectors, self._kept, strict=True):
            vector[...] = old
        start, self._step.t = self._at
        self._step.index = start
        for failed in range(start, i + 1):
            work, J = run(failed)
            if not (math.isfinite(float(J)) and self._finite()):
                break
        seen = self._seen(work, failed)
        return NonFiniteError(f"training met {seen}{KEPT}")

    def _rows(self, i: int) -> Array:
        size = self._step.batch_size
        return self._order[i * size : (i + 1) * size]

    def end(
        self, batches: Batches | Streamed, run: Callable[[int], tuple[Workspace, Array]], steps: int
    ) -> dict[str, float]:
        """What to add to the record of the epoch.

        Raises NonFiniteError where the last update was not finite, which no loss has seen, where a part of the
        optimizer's state is not, which no loss will see, and where every batch was left out.
        """
        if self._step.applied is None and not self._finite():
            raise self.failed(run, steps - 1)
        if self._skipped and self._skipped == self._steps:
            raise NonFiniteError(f"every batch of epoch {self._epoch} gave NaN or infinity and was left out; {ADVICE}")
        lengths, idle = self._summary()
        self._check_length(list(lengths.values())[self._net.L :])
        some = any(n >= max(2.0, DEAD * units) for n, units in zip(idle, self._net.sizes[1:-1], strict=True))
        if some and self._epoch & (self._epoch - 1) == 0 and len(batches) >= FEW:
            self._check_units(batches)
        return lengths if self._step.applied is None else lengths | {"skipped": float(self._skipped)}

    def _summary(self) -> tuple[dict[str, float], list[float]]:
        """||W[l]|| and ||dW[l]|| of every layer, and how many units of a hidden layer got no gradient, of the last
        step."""
        net, xp, gradient = self._net, self._net.backend.xp, self._step.gradient
        squares = [xp.sum(v * v) for v in (*net.W[1:], *gradient.dW[1:])]
        idle = [xp.sum(xp.where(db == 0.0, xp.ones_like(db), 0.0)) for db in gradient.db[1:-1]]
        found = net.backend.asnumpy(xp.stack([*squares, *idle])).tolist()  # one transfer
        names = [f"norm_{letter}{l}" for letter in ("W", "dW") for l in range(1, net.L + 1)]
        return {name: math.sqrt(x) for name, x in zip(names, found, strict=False)}, found[len(names) :]

    def _check_length(self, norms: list[float]) -> None:
        """Is the gradient of the last step far longer than that after the first epoch?"""
        norm = math.hypot(*norms)
        if not math.isfinite(norm):  # of a step that was left out: it overflowed float16
            return
        if norm > EXPLODED * self._first_norm and "gradient" not in self._told:
            self._told.add("gradient")
            worst = norms.index(max(norms)) + 1
            self._say(
                f"the gradient explodes: its length is {norm:.3g} after epoch {self._epoch}, {self._first_norm:.3g} "
                f"after the first, most of it in dW[{worst}]; lower the learning rate or clip it (clip_norm=1.0)"
            )
        if self._first_norm == math.inf and norm > 0:
            self._first_norm = norm

    def _check_units(self, batches: Batches | Streamed) -> None:
        """Does a quarter of a hidden layer say the same of every sample? Such a unit learns nothing any more."""
        net, xp = self._net, self._net.backend.xp
        for l, A in enumerate(self._layers(batches)):
            same = net.backend.asnumpy(xp.max(A, axis=1) == xp.min(A, axis=1))
            if l == 0 and same.all():
                return  # the samples are all alike, and so is what any unit says of them
            dead = int(same.sum())
            if l > 0 and dead >= max(2.0, DEAD * same.size) and f"layer {l}" not in self._told:
                self._told.add(f"layer {l}")
                self._say(
                    f"{dead} of {same.size} units of layer {l} are dead after epoch {self._epoch}: A[{l}] is the same "
                    "for every sample; lower the learning rate, scale the inputs, or take hidden='leaky_relu'"
                )

    def _layers(self, batches: Batches | Streamed) -> Iterator[Array]:
        """A[0], ..., A[L-1] of some samples from all over the data, in memory of their own."""
        net, backend, labels = self._net, self._net.backend, is_labels(self._net.loss, batches.Y)
        m = min(len(batches), PROBE, max(2, CHUNK // max(net.sizes)))
        X, w = backend.empty((m, net.sizes[0]), net.dtype), backend.empty((m,), net.dtype)
        Y = backend.empty((m,), "int32") if labels else backend.empty((m, net.sizes[-1]), net.dtype)
        batches.fill(batches.order(rng.order(net.seed, 0, len(batches))[:m]), X, Y, w)
        A, forward = X.T, backend[dense.dense_forward]
        yield A
        for l in range(1, net.L):
            Z = backend.empty((net.sizes[l], m), net.dtype)
            forward(net.W[l], net.b[l], A, net.g[l], Z, Z)
            yield Z
            A = Z
