"""When a run is saved, and how it is put back."""

import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from deepxp.checkpoints.config import check
from deepxp.checkpoints.lock import FolderLock
from deepxp.checkpoints.position import Position
from deepxp.errors import CheckpointError, ConfigError, DeepxpError, ModelFileError, StoppedError
from deepxp.network import Network
from deepxp.ops.typing import Array
from deepxp.optimizers import Constant
from deepxp.version import __version__

if TYPE_CHECKING:
    from deepxp.checkpoints.file import About  # json and hashes are slow to import: where a run is saved only

EVERY = re.compile(r"(\d+(?:\.\d+)?) ?(min|epoch|step)s?")
SHARE = 30  # where saves are minutes apart, training goes on at least this many times as long as one takes
SLOW = 1e8  # bytes a second: how fast the first one is taken to be


class Interval(NamedTuple):
    """How often a run is saved: `number` of the unit min, epoch or step."""

    number: float
    unit: str

    @classmethod
    def of(cls, text: str) -> "Interval":
        """Of '2min', '1epoch', '500steps' and the like, or 'none'. Raises ConfigError for any other text."""
        if text == "none":
            return cls(math.inf, "min")
        found = EVERY.fullmatch(text) if isinstance(text, str) else None
        number = float(found[1]) if found else 0.0
        if found is None or not number > 0 or (found[2] != "min" and number != int(number)):
            raise ConfigError(f"every must be such as '2min', '1epoch', '500steps' or 'none', got {text!r}")
        return cls(number, found[2])


class Checkpoints:
    """Where a run is saved and how often; `deepxp.train(..., checkpoints=...)` does it.

    `every` is such as '2min', '1epoch' or '500steps'; 'none' saves only what `stop` asks for. The last `keep` are
    kept, and the best: that whose last whole epoch had the lowest validation loss, or loss. With `resume` the run goes
    on from the newest that is whole, or begins where there is none. `say` is told what goes wrong without ending the
    run, and `on_resume` where it goes on, before the first step. `lock` is that of the folder, where
    the caller holds it already.

    Of one run, and one run at a time has the folder. Raises ConfigError for what does not fit.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: str = "2min",
        keep: int = 3,
        resume: bool = False,
        say: Callable[[str], object] = warnings.warn,
        on_resume: Callable[[Path, Position], object] | None = None,
        lock: FolderLock | None = None,
    ) -> None:
        if type(keep) is not int or keep < 1:
            raise ConfigError(f"keep must be a whole number, 1 or more, got {keep!r}")
        self.folder, self.every, self.keep, self.resume = Path(folder), Interval.of(every), keep, resume
        self.say, self.on_resume = say, on_resume
        self.lock = lock or FolderLock(self.folder)
        self.stopping = False

    def stop(self) -> None:
        """Ask the run to save itself after the step it is at, and to end with StoppedError; a signal handler may."""
        self.stopping = True


def versions(net: Network) -> dict[str, str]:
    """What a run's bits depend on beside its configuration; the number of threads as far as it is known."""
    found = {"deepxp": __version__, "python": sys.version.split()[0], "numpy": np.__version__}
    kernels = "none" if net.backend.kernels is None else net.backend.kernels.__name__.rpartition(".")[2]
    for name in {kernels, net.backend.xp.__name__, net.backend.name.split(":")[0]} & {"numba", "cupy", "torch", "jax"}:
        found[name] = str(getattr(sys.modules.get(name), "__version__", "unknown"))
    if kernels == "numba":
        from deepxp.kernels.team import size

        found["threads"] = str(size())
    return found | {"kernels": kernels, "device": net.backend.name.split(":")[0]}


class Stepper(Protocol):
    """The counter of a training step that lasts beyond an epoch."""

    t: int


class Saver:
    """Saves a run and puts it back, on any device: its vectors, the losses not yet read, its position, and the
    counters of `net` and `step`. As a context manager it holds the lock."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        net: Network,
        step: Stepper,
        at: Position,
        vectors: Mapping[str, Array],
        unread: list[Array],
        config: Mapping[str, Any],
        schedule: Constant,
    ) -> None:
        self.checkpoints, self.net, self.step, self.at, self.unread = checkpoints, net, step, at, unread
        self._vectors, self._config, self._schedule = vectors, config, schedule
        self._skipped: set[Path] = set()
        self._failed = False

    def __enter__(self) -> "Saver":
        """Lock the folder, and go where the run was saved last, if it is to go on."""
        from deepxp.checkpoints.file import files, remove_temporary

        checkpoints = self.checkpoints
        try:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            checkpoints.lock.acquire()
        except OSError as error:
            raise ModelFileError(f"{checkpoints.folder}: cannot hold checkpoints: {error.strerror}") from None
        try:
            remove_temporary(checkpoints.folder)
            found = files(checkpoints.folder)
            if found and not checkpoints.resume:
                raise ConfigError(f"{checkpoints.folder} holds checkpoints; go on with resume=True, or move them away")
            if found:
                self._restore(found)
            self._plan(len(self._vectors) * self.net.theta.shape[0] * np.dtype(self.net.dtype).itemsize / SLOW)
        except BaseException:
            checkpoints.lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.checkpoints.lock.release()

    # Saving

    def due(self) -> bool:
        """Is it time to save, after a step? Asked after every one, so it has to be cheap."""
        return self.step.t >= self._step or time.monotonic() >= self._time or self.checkpoints.stopping

    def due_after_epoch(self) -> bool:
        """The same after a whole epoch."""
        number, unit = self.checkpoints.every
        return self.due() or (unit == "epoch" and self.at.epoch % number == 0)

    def _plan(self, cost: float) -> None:
        number, unit = self.checkpoints.every
        self._step = self.step.t + number if unit == "step" else math.inf
        self._time = time.monotonic() + max(60 * number, SHARE * cost) if unit == "min" else math.inf

    def save(self) -> None:
        """Write a checkpoint, whole or not at all; what prevents it is said, and training goes on.

        Raises StoppedError where the run was asked to stop.
        """
        started = time.monotonic()
        path = self._write()
        self._plan(time.monotonic() - started)
        if self.checkpoints.stopping:
            at = self.at
            where = f"after step {at.steps} of epoch {at.epoch + 1}" if at.steps else f"after epoch {at.epoch}"
            error = StoppedError(f"training was stopped {where}" + (f" and saved in {path}" if path else ""))
            error.saved = path
            raise error

    def _write(self) -> Path | None:
        from deepxp.checkpoints.file import About, files, prune, write

        net, folder = self.net, self.checkpoints.folder
        tensors = {name: net.backend.asnumpy(vector) for name, vector in self._vectors.items()}
        if not np.isfinite(tensors["theta"]).all():
            return None  # the run is about to fail, and NaN is nothing to go on from
        if self.unread:
            tensors["unread"] = net.backend.asnumpy(net.backend.xp.stack(self.unread))
        about = About(self.step.t, net.epochs, self.at, self._config, versions(net))
        try:
            path = write(folder, about, tensors)
        except DeepxpError as error:
            if not self._failed or self.checkpoints.stopping:
                self.checkpoints.say(f"no checkpoint was saved: {error}")
            self._failed = True
            return None
        self._failed = False
        prune([path for path in files(folder) if path not in self._skipped], self.checkpoints.keep)
        return path

    # Going on

    def _restore(self, found: list[Path]) -> None:
        from deepxp.checkpoints.file import read

        for path in reversed(found):
            try:
                about, tensors = read(path)
                check(path, about.config, self._config, self._schedule)
                self._check_tensors(path, about, tensors)
            except ModelFileError as error:
                self._skipped.add(path)
                self.checkpoints.say(f"a checkpoint was skipped: {error}")
                continue
            self._take(about, tensors)
            here = versions(self.net)
            if other := [f"{name} {was}" for name, was in about.versions.items() if here.get(name) != was]:
                self.checkpoints.say(f"{path} was saved with {', '.join(other)}: the last bits may come out otherwise")
            if self.checkpoints.on_resume is not None:
                self.checkpoints.on_resume(path, self.at)
            return
        raise CheckpointError(f"{self.checkpoints.folder}: none of its checkpoints is whole; restore a copy of one")

    def _check_tensors(self, path: Path, about: "About", tensors: Mapping[str, Array]) -> None:
        needed = {name: tuple(vector.shape) for name, vector in self._vectors.items()}
        if "unread" in tensors:
            needed["unread"] = (tensors["unread"].size,)
        found = {name: x.shape for name, x in tensors.items() if x.dtype == self.net.dtype}
        steps, at = -(-self._config["samples"] // self._config["batch_size"]), about.position
        if found != needed or len(tensors) != len(needed) or at.steps >= steps or at.epoch > self._config["epochs"]:
            raise ModelFileError(f"{path}: its tensors or counters do not fit the run")

    def _take(self, about: "About", tensors: Mapping[str, Array]) -> None:
        net = self.net
        for name, vector in self._vectors.items():
            net.backend.write(vector, tensors[name])
        unread = net.backend.asarray(tensors.get("unread", np.empty(0, net.dtype)))
        self.unread[:] = [unread[k] for k in range(unread.shape[0])]
        vars(self.at).update(vars(about.position))
        self.step.t, net.epochs = about.t, about.epochs
