"""The benchmark suite: `nox -s bench [-- --quick]`, or `python bench/suite.py`; pytest alone collects tests/ only."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
try:
    import deepxp  # noqa: F401
except ImportError:  # not installed: the checkout's
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from engines import engines
from grid import GRID, LONG
from harness import machine

BLAS = machine.blas()


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="a small grid and short measurements")
    parser.addoption("--engine", default="", help="only this, such as 'cpu, Numba'; 'others' is what has none")
    parser.addoption("--mnist", metavar="FILE.npz", help="x_train and y_train, for the epoch of MNIST")


def pytest_generate_tests(metafunc):
    """Arguments of a benchmark that are named in GRID run over the grid; `engine_name` over the engines."""
    quick = metafunc.config.getoption("quick")
    for name, values in GRID.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values[quick], ids=lambda value, name=name: f"{name}={value}")
    if "engine_name" in metafunc.fixturenames:
        only = metafunc.config.getoption("engine")
        chosen = {name: engine for name, engine in ENGINES.items() if only in ("", name)}
        marks = {name: pytest.mark.benchmark(timer=engine.timer, **LONG[quick]) for name, engine in chosen.items()}
        metafunc.parametrize("engine_name", [pytest.param(name, marks=mark) for name, mark in marks.items()])
    elif "benchmark" in metafunc.fixturenames:
        metafunc.definition.add_marker(pytest.mark.benchmark(**LONG[quick]))


def pytest_collection_modifyitems(config, items):
    """What runs on an engine, or what runs on none."""
    only = config.getoption("engine")
    if only:
        out = [item for item in items if ("engine_name" in item.fixturenames) == (only == "others")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


ENGINES = engines()


@pytest.fixture
def engine(engine_name):
    return ENGINES[engine_name]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def timed(benchmark):
    """timed(function, table=..., row=...) times it and says where it stands; `flops` and `bytes` become rates."""

    def run(function, table, row, flops=0, bytes=0, **info):
        benchmark(function)
        benchmark.extra_info.update(table=table, row=row, threads=machine.cores(), blas=BLAS, **info)
        benchmark.extra_info["versions"] = machine.versions()
        if benchmark.stats is not None:  # it is with --benchmark-disable
            seconds = benchmark.stats.stats.median
            benchmark.extra_info |= {"flop/s": flops / seconds, "bytes/s": bytes / seconds}

    return run


@pytest.fixture
def mnist(request):
    """X (60000, 784) in uint8 and labels y."""
    if request.config.getoption("mnist") is None:
        pytest.skip("no file: give it with --mnist FILE.npz")
    with np.load(request.config.getoption("mnist")) as file:
        return file["x_train"].reshape(len(file["x_train"]), -1), file["y_train"].astype(np.int64)


def pytest_benchmark_update_machine_info(config, machine_info):
    """Nothing that names the machine; its kind is in the extra_info and in the result file."""
    machine_info.clear()
