"""By what a run is seen, beside its model: result.json, curves.png, --html, --tensorboard and --keep-epochs."""

import platform
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from deepxp.cli.confusion import confusion_of, names_of
from deepxp.cli.problem import Problem
from deepxp.cli.report import Report, write_whole
from deepxp.cli.wording import as_flags
from deepxp.errors import ConfigError, DataError, DeepxpError
from deepxp.history import History
from deepxp.network import Network
from deepxp.runs.run import EPOCHS, MOST_CLASSES, RESULT, Result, counts, dumps, read
from deepxp.version import __version__

CURVES, BOARD = "curves.png", "tensorboard"


class Views:
    """A context manager. What was asked for and cannot be is an error before anything is trained; after that nothing
    here is a reason for a run to fail, and what goes wrong is a warning."""

    def __init__(self, arguments: Namespace, report: Report) -> None:
        self._report, self._open = report, ExitStack()
        self.command = shlex.join(["deepxp", *arguments.argv])
        self.html = None if arguments.html is None else Path(arguments.html)
        self._logs = arguments.tensorboard
        self._board: Any = None
        self._every: int | None = None
        self._unkept: Network | None = None
        self._failed = set[str]()
        self.folder = Path()
        self.notes: list[str] = []
        if self.html is not None and (self.html.is_dir() or not self.html.absolute().parent.is_dir()):
            raise ConfigError(f"--html {self.html}: this is a folder, or is in one that does not exist; name a file")
        if self._logs is not None:
            if Path(self._logs or ".").is_file():
                raise ConfigError(
                    f"--tensorboard takes a folder, and {self._logs} is a file; where it is the data, name it first: "
                    f"deepxp train {self._logs} --tensorboard"
                )
            import_board()

    def __enter__(self) -> "Views":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self._open.close()

    def begin(
        self, folder: Path, net: Network, keep_epochs: int | None, notes: Mapping[str, Any], *, goes_on: bool
    ) -> None:
        """The run has its folder, and its network is as it was drawn. Where the run goes on, nothing is written before
        `resumed`: it may yet be refused."""
        self.folder, self._every, self._net, self._model_notes = folder, keep_epochs, net, notes
        if goes_on:
            return
        self._open_board()
        if keep_epochs is not None:
            self._attempt("the weights of an epoch", self._keep, 0)

    def _open_board(self) -> None:
        if self._logs is None:
            return
        logs = Path(self._logs) / self.folder.name if self._logs else self.folder / BOARD
        try:
            self._board = self._open.enter_context(import_board()(logs))
        except OSError as error:
            raise ConfigError(f"--tensorboard {logs}: cannot be written: {error.strerror}") from None
        self._report.line("tensorboard", f"tensorboard --logdir {shlex.quote(str(logs.parent))}")

    def resumed(self, records: Sequence[Mapping[str, float]]) -> None:
        """The run goes on after these epochs."""
        self._open_board()
        for record in records:
            self._attempt("what TensorBoard shows", self._show, record)

    def epoch(self, record: Mapping[str, float], *, last: bool) -> None:
        """An epoch has ended."""
        self._attempt("what TensorBoard shows", self._show, record)
        if self._every is None:
            return
        kept = last or record["epoch"] % self._every == 0
        self._unkept = None if kept else self._net.to()  # a run that stops early ends here, with the best weights
        if kept:
            self._attempt("the weights of an epoch", self._keep, int(record["epoch"]))

    def end(self, history: History, result: Result) -> None:
        """The run has ended, and its model is written."""
        if self._unkept is not None:
            self._net = self._unkept
            self._attempt("the weights of an epoch", self._keep, len(history))
        self._attempt(RESULT, write_whole, self.folder / RESULT, dumps(result))
        self._curves(history)
        if self.html is not None:
            self._attempt("the page", self._page, self.html)

    def _page(self, path: Path) -> None:
        from deepxp.runs import page

        write_whole(path, page.html(read(self.folder)))
        self._report.line("page", str(path))

    def _show(self, record: Mapping[str, float]) -> None:
        if self._board is not None:
            self._board(record)

    def _keep(self, epoch: int) -> None:
        (self.folder / EPOCHS).mkdir(exist_ok=True)
        self._net.save(self.folder / EPOCHS / f"epoch-{epoch:06d}.safetensors", notes=self._model_notes)

    def _attempt(self, what: str, function: Any, *arguments: Any) -> None:
        """Call it; a failure is told of once."""
        try:
            function(*arguments)
        except (OSError, DeepxpError) as error:
            if what not in self._failed:
                self._report.warn(f"{what} could not be written: {error}; the run goes on")
            self._failed.add(what)

    def _curves(self, history: History) -> None:
        """curves.png, where Matplotlib is there; it is never a reason to fail."""
        path = self.folder / CURVES
        try:
            draw(history, path)
        except ImportError:
            self._report.line("curves", "none without Matplotlib: python -m pip install matplotlib")
        except Exception as error:
            self._report.line("curves", f"none: {error}")
        else:
            self._report.line("curves", str(path))


def draw(history: History, path: Path) -> None:
    """Raises ImportError where Matplotlib is not installed."""
    from deepxp import plots

    plots.save(plots.learning_curves(history), path)


def import_board() -> Any:
    """The class that writes for TensorBoard. Raises ConfigError where tensorboardX is not installed."""
    try:
        from deepxp.tensorboard import TensorBoard
    except ImportError as error:
        raise ConfigError(f"--tensorboard: {error}") from None
    return TensorBoard


def result_of(
    views: Views,
    task: Problem,
    net: Network,
    history: History,
    test: Mapping[str, float] | None,
    *,
    network: str,
    training: str,
) -> Result:
    """What is known of a run that has ended; `test` are the metrics of the test part, if there is one."""
    parts = {"train": task.train, "validation": task.validation, "test": task.test}
    part = "test" if task.test else "validation" if task.validation else None
    names, matrix, watched = names_of(net), None, task.test or task.validation
    if watched is not None and len(names or ()) <= MOST_CLASSES:
        with suppress(DataError), np.errstate(all="ignore"):  # NaN has no class
            matrix = confusion_of(net, *watched)
    metrics = dict(test or {})
    if part == "validation":
        best = next(record for record in history if record["epoch"] == history.best_epoch)
        metrics = {k.removeprefix("validation_"): v for k, v in best.items() if k.startswith("validation_")}
    return Result(
        command=views.command,
        when=datetime.now().astimezone().isoformat(timespec="seconds"),
        device=net.backend.name,
        data=str(task),
        network=network,
        training=training,
        versions={"deepxp": __version__, "Python": platform.python_version(), "NumPy": np.__version__},
        parts={name: int(samples.X.shape[1]) for name, samples in parts.items() if samples},
        best_epoch=history.best_epoch,
        stopped_early=history.stopped_early,
        part=part,
        metrics=metrics,
        classes=None if matrix is None or names is None else list(names),
        confusion=None if matrix is None else counts(matrix),
        notes=[as_flags(note) for note in views.notes],
    )
