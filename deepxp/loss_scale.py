"""The part of a training step that float16 adds: a scale of its gradient that looks after itself, on the device."""

from dataclasses import replace
from functools import partial
from typing import Any

from deepxp.backend import Backend
from deepxp.network import Network
from deepxp.ops.guard import all_finite, remember
from deepxp.ops.loss_scale import FIRST, rescale
from deepxp.ops.typing import Array
from deepxp.ops.updates import rates_of, update_where
from deepxp.optimizers import Optimizer


class LossScale:
    """The scale S of a run and what it follows from (`ops.loss_scale`): `state` holds S, the steps since it was
    changed, the updates t, and the steps of this epoch that were left out for an overflow. `rates` are the optimizer's
    at t.

    Nobody waits for any of it: whether a step is applied is decided where it is computed.
    """

    def __init__(self, net: Network, optimizer: Optimizer) -> None:
        backend, self._optimizer = net.backend, optimizer
        xp = backend.xp
        self.state = backend.zeros((4,), net.dtype)
        self.S, self._good, self._t, self._skipped = (xp.reshape(self.state[k : k + 1], ()) for k in range(4))
        self.S[...] = FIRST
        self._fits, self._one = backend.zeros((), net.dtype), backend.zeros((), net.dtype) + 1.0
        self._lr, self._live_lr = backend.numbers(1, "float64")
        self.rates = backend.zeros((len(optimizer.rates(optimizer.lr, 1)),), net.dtype)
        self._kernels = backend.kernels.scaled(xp, self.S)  # type: ignore[union-attr]
        self._take_rates(backend)  # an optimizer whose rates cannot be computed there is refused before the run

    @classmethod
    def of(cls, net: Network, optimizer: Optimizer) -> "LossScale | None":
        """None where nothing is rounded to float16."""
        return cls(net, optimizer) if net.backend.precision == "fp16" and net.dtype == "float32" else None

    def send(self, lr: float) -> None:
        """The learning rate of the next step."""
        self._lr[:] = (lr,)

    def on(self, backend: Backend) -> Backend:
        """The backend whose products take S dZ in the place of dZ."""
        return replace(backend, kernels=self._kernels)

    def judge(self, backend: Backend, g: Array, J: Array) -> None:
        """Once the gradient is there, before anything is done with it: does it fit, and what follows?"""
        backend[remember](self._one, self._fits)
        backend[all_finite](g, self._fits)
        backend[rescale](self._fits, J, self.S, self._good, self._t, self._skipped)
        self._take_rates(backend)

    def _take_rates(self, backend: Backend) -> None:
        backend[rates_of](self._optimizer.rates, self._live_lr, self._t, self.rates)

    def update(self, backend: Backend) -> Any:
        """`update` of a step whose gradient fits."""
        return partial(backend[update_where], self._fits)

    def begin(self) -> None:
        """An epoch begins."""
        self._skipped[...] = 0.0

    def record(self, backend: Backend) -> dict[str, float]:
        """What to add to the record of an epoch: the steps left out, and S at its end."""
        S, _, _, skipped = backend.asnumpy(self.state).tolist()
        return {"overflowed": skipped, "loss_scale": S}
