"""What is compared: the engines that compute on the CPU, and every usable GPU."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import numpy as np

from deepxp.backend import Backend, backend
from deepxp.devices import Device, devices, parse


@dataclass(frozen=True)
class Contender:
    """A backend in the race. `default` is what `--device` runs there; `start_seconds` is what opening it took."""

    name: str
    device: str
    engine: str
    default: bool
    backend: Backend
    start_seconds: float = 0.0


def find(clock: Callable[[], float]) -> tuple[tuple[Device, ...], float]:
    """Every device, usable or not, and the seconds it took to find and try them."""
    start = clock()
    found = devices()
    return found, clock() - start


def contenders(
    found: Sequence[Device], asked: Sequence[str] | None, clock: Callable[[], float]
) -> tuple[Contender, ...]:
    """Those on the devices that were asked for, or on all that are usable.

    Raises ConfigError for a name that does not exist, DeviceError for a device that was asked for and is not usable.
    """
    if asked is None or "auto" in asked:
        asked = [device.name for device in found if device.usable]
    names = ["cpu" if parse(name)[0] == "cpu" else backend(name).name for name in asked]
    opened: list[Contender] = []
    for name in dict.fromkeys(names):
        opened += _engines(clock) if name == "cpu" else [_open(name, partial(backend, name), clock, True)]
    return tuple(opened)


def _engines(clock: Callable[[], float]) -> list[Contender]:
    """The CPU as users get it first, then its other engines: compiled kernels, NumPy's, and the definitions."""
    first = _open("cpu", partial(backend, "cpu"), clock, True)
    others: list[Callable[[], Backend]] = [_numpy, partial(Backend, "cpu", np)]
    with suppress(ImportError):  # not installed, or for another NumPy
        import_module("deepxp.kernels.numba")
        others.insert(0, _numba)
    opened = (_open("cpu", open, clock, False) for open in others)
    return [first, *(other for other in opened if other.engine != first.engine)]


def _numba() -> Backend:
    from deepxp.kernels import numba as kernels

    return Backend("cpu", np, kernels)


def _numpy() -> Backend:
    from deepxp.kernels import numpy as kernels

    return Backend("cpu", np, kernels)


def _open(device: str, open: Callable[[], Backend], clock: Callable[[], float], default: bool) -> Contender:
    start = clock()
    opened = open()
    with opened.active():
        opened.zeros((1,), "float32")
        opened.synchronize()
    seconds = clock() - start
    if opened.kernels is not None:
        engine = opened.kernels.__name__.rpartition(".")[2]
    else:
        engine = "definitions" if device == "cpu" else "cupy"
    return Contender(f"cpu {engine}" if device == "cpu" else device, device, engine, default, opened, seconds)
