"""The command line: arguments to calls, nothing else.

options     the table of settings: flags, config keys, defaults
parser      the commands and their help
config      flag over config file over default
problem     data, targets and loss, for train and check
train, apply, check, info, explain, plot, export, bench     the commands
resume, signals     a run that goes on, and one that is stopped
folder, views, report, progress, confusion, wording     what they write
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from signal import SIGINT

from deepxp import interrupt
from deepxp.cli.parser import parse
from deepxp.errors import ConfigError, DeepxpError

FAILED, USAGE, BROKEN_PIPE = 1, 2, 141  # the last one as a shell sees SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run `deepxp ARGV...` and return its exit code: 0, 1 for what went wrong, 2 for a wrong call, 130 for Ctrl-C,
    143 for SIGTERM."""
    try:
        interrupt.end()
        arguments = parse(argv)
        code: int = getattr(import_module(f"deepxp.cli.{arguments.module}"), arguments.function)(arguments)
        sys.stdout.flush()
    except SystemExit as end:  # argparse: --help, --version, a wrong call
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt as stopped:
        print(f"deepxp: stopped{f'; {stopped}' if str(stopped) else ''}", file=sys.stderr)
        return 128 + getattr(stopped, "number", SIGINT)
    except BrokenPipeError:
        _close_stdout()
        return BROKEN_PIPE
    except ConfigError as error:
        return _fail(error, USAGE)
    except DeepxpError as error:
        return _fail(error, FAILED)
    except MemoryError as error:
        return _fail(f"out of memory: {error}", FAILED)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error, FAILED)
    return code


def _fail(error: object, code: int) -> int:
    from deepxp.cli.wording import as_flags, visible

    print(f"deepxp: error: {visible(as_flags(' '.join(str(error).split())))}", file=sys.stderr)
    return code


def _close_stdout() -> None:
    """Nobody reads: what is still buffered goes nowhere, instead of to an error at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
