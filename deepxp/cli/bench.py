"""`deepxp bench`: the benchmark of this machine, as text, JSON and HTML."""

import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from deepxp.cli.options import POSITIVE, SIZES, read_flag
from deepxp.cli.report import Report, as_json, write_whole
from deepxp.errors import ConfigError
from deepxp.hyperparameters import DTYPES
from deepxp.version import __version__

DESCRIPTION = """\
Measure matrix products, softmax and a training step of n-n-n-10 for every m
(samples in a batch) and n (units of a layer) on every usable device, and say
from which m on the GPU wins. First call, transfer and compute are told apart;
products are compared with the peak of the device, softmax with a copy, and on
the CPU its engines with each other."""
EXAMPLES = """\
examples:
  deepxp bench --quick
  deepxp bench --html bench.html --json bench.json
  deepxp bench --m 1,10,100,1000 --n 784 --device cpu,gpu:0 --dtype float64
"""


def add_arguments(parser: Any) -> None:
    """The options of the command."""
    parser.add_argument("--m", metavar="M,M", help="samples in a batch (32,128,512,2048)")
    parser.add_argument("--n", metavar="N,N", help="units of a layer (64,256,1024)")
    parser.add_argument("--device", metavar="NAMES", help="such as cpu,gpu:0 (all that are usable)")
    parser.add_argument(
        "--dtype", metavar="TYPE", choices=DTYPES, default="float32", help=f"{' or '.join(DTYPES)} (float32)"
    )
    parser.add_argument("--quick", action="store_true", help="about 20 seconds in place of 2 minutes")
    parser.add_argument("--limit", metavar="SECONDS", help="for one m and n; what would take longer is left out")
    parser.add_argument("--json", metavar="FILE", help="write every number, or - for stdout")
    parser.add_argument("--html", metavar="FILE", help="write a report with plots for a browser")


def run(arguments: Namespace, clock: Callable[[], float] = time.perf_counter) -> int:
    """Measure, print, write."""
    from deepxp.benchmark import report, tables
    from deepxp.benchmark.contenders import contenders, find
    from deepxp.benchmark.run import plan, run

    for file in (arguments.json, arguments.html):
        if file not in (None, "-") and not Path(file).absolute().parent.is_dir():
            raise ConfigError(f"{file}: there is no folder {Path(file).absolute().parent}; make it first")
    settings = plan(
        m=read_flag("m", SIZES, arguments.m),
        n=read_flag("n", SIZES, arguments.n),
        dtype=arguments.dtype,
        quick=arguments.quick,
        limit=read_flag("limit", POSITIVE, arguments.limit),
        asked=tuple(arguments.device.split(",")) if arguments.device else None,
    )
    with Progress(sys.stderr, clock) as progress:
        progress(0.0, "looking for devices")
        found, seconds = find(clock)
        racing = contenders(found, settings.asked, clock)
        version = __version__
        results = run(settings, racing, found, clock, version=version, finding_seconds=seconds, progress=progress)
    said = Report(as_json=arguments.json == "-")
    said.line(tables.text(results))
    if arguments.json == "-":
        print(as_json(results.as_dict()))
    elif arguments.json:
        write_whole(Path(arguments.json), as_json(results.as_dict()) + "\n")
    if arguments.html:
        write_whole(Path(arguments.html), report.html(results))
        said.line("page", arguments.html)
    return 0


class Progress:
    """One line on a terminal, gone at the end; elsewhere nothing."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self.stream = stream if stream.isatty() else None
        self.clock, self.started = clock, clock()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def __call__(self, fraction: float, text: str) -> None:
        """A share of the sweep is done; what is next."""
        self._draw(f"{100 * fraction:3.0f} %  {self.clock() - self.started:4.0f} s  {text}")

    def _draw(self, text: str) -> None:
        if self.stream is not None:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}\r", end="", file=self.stream, flush=True)
