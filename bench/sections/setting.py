"""What all sections share: the options of a run, contenders ready to be timed, and who was left out and why."""

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.contender import Contender, ContenderError, start
from harness.rounds import Entry, Times, take_turns


@dataclass
class Setting:
    """Options of the command line, and `skipped`: (where, contender, reason)."""

    device: str
    threads: int
    quick: bool
    rounds: int
    seconds: float
    limit: float
    folder: Path
    contenders: tuple[str, ...] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)
    nets: tuple[str, ...] = ()
    mnist: Path | None = None
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    blas: dict[str, str] = field(default_factory=dict)

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those of the names that the command line did not leave out."""
        return [name for name in names if not self.contenders or name in self.contenders]

    def skip(self, where: str, name: str, reason: str) -> None:
        """Remember who was left out, once."""
        if (where, name, reason) not in self.skipped:
            self.skipped.append((where, name, reason))
            print(f"    left out: {name}: {reason}", flush=True)

    @contextmanager
    def ready(self, where: str, names: Iterable[str], task: str, **request: object):
        """The contenders that have built a task, by name; ended when the block is left. They build at the same time,
        each up to the limit."""
        environment = {
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of compilers that lives beside the contender
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX would take three quarters of a GPU from the others
        }
        built: dict[str, Contender] = {}
        try:
            for name in self.wanted(names):
                built[name] = start(name, self.threads, self.limit, self.pythons.get(name), environment)
            for contender in built.values():
                contender.send(do="build", task=task, threads=self.threads, device=self.device, **request)
            for name, contender in list(built.items()):
                try:
                    answer = contender.answer()
                except ContenderError as error:
                    self.leave_out(where, built, name, str(error))
                    continue
                for package, version in answer["versions"].items():
                    self.versions.setdefault(package, version)
                self.blas[name] = answer["blas"]
            yield built
        finally:
            for contender in built.values():
                contender.kill()

    def leave_out(self, where: str, built: dict[str, Contender], name: str, reason: str) -> None:
        """End a contender and say why."""
        self.skip(where, name, reason)
        built.pop(name).kill()

    def turns(self, where: str, entries: list[Entry]) -> dict[str, Times]:
        """The times of the entries, by label."""
        return take_turns(entries, self.rounds, self.seconds, lambda name, reason: self.skip(where, name, reason))
