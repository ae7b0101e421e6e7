"""From which m on a GPU wins, and what else the numbers say."""

import pytest
from cupy_double import cupy_double, install  # noqa: F401 - fixtures
from test_benchmark_fakes import (
    FAST,
    SETTINGS,
    SLOW,
    World,
    both,  # noqa: F401
    measured,
    pair,
    step_seconds,
    transfer_seconds,
)

from deepxp.benchmark.crossover import conclusions, crossovers, phrase
from deepxp.benchmark.results import Cell, Crossover, Measured, Row
from deepxp.devices import Device

CPU = Row("cpu numba", "cpu", "numba", True, 0.0, None)
NUMPY = Row("cpu numpy", "cpu", "numpy", False, 0.0, None)
GPU = Row("gpu:0", "gpu:0", "cupy", True, 0.0, None)


def item(seconds, low=None, rounds=5):
    return Measured(seconds, seconds, low or seconds, seconds, rounds, 1)


def cell(m, contender, seconds, transfer=0.0, n=4):
    items = {} if seconds is None else {"step": item(seconds)}
    return Cell(m, n, contender, items, {}, transfer, None)


def found(cpu, gpu, transfer=0.0):
    """The crossovers of a step, alone and with the transfer, for seconds at m = 1, 10, 100, ..."""
    cells = [cell(10**i, "cpu numba", s) for i, s in enumerate(cpu)]
    cells += [cell(10**i, "gpu:0", s, transfer) for i, s in enumerate(gpu)]
    alone, moved = (c for c in crossovers([CPU, GPU], cells) if c.item == "step")
    assert (alone.transfer, moved.transfer) == (False, True)
    return alone, moved


def test_the_first_m_from_which_on_it_always_wins():
    alone, moved = found([1, 3, 9, 27], [2, 2, 2, 2], transfer=5)
    assert (alone.wins, alone.loses, alone.from_m) == ((10, 100, 1000), (1,), 10)
    assert (moved.wins, moved.loses, moved.from_m) == ((100, 1000), (1, 10), 100)


def test_a_win_before_a_loss_is_no_crossover():
    alone, _ = found([3, 1, 9], [2, 2, 2])
    assert (alone.wins, alone.loses, alone.from_m) == ((1, 100), (10,), 100)
    assert phrase(alone) == "from m = 100 on (and at m = 1)"


@pytest.mark.parametrize(
    ("cpu", "gpu", "from_m", "said"),
    [
        ([1, 3, 9], [2, 2, 2], 10, "from m = 10 on"),
        ([3, 3, 3], [2, 2, 2], 1, "at every m from 1 on"),
        ([1, 1, 1], [2, 2, 2], None, "at no m up to 100"),
        ([3, 1, 1], [2, 2, 2], None, "only at m = 1"),
        ([3, 3, 1], [2, 2, 2], None, "only at m = 1 and 10"),
        ([2, 2, 2], [2, 2, 2], None, "at no m up to 100"),  # a tie is not a win
        ([None, 3, 3], [2, 2, None], 10, "at every m from 10 on"),  # where both were measured
        ([None, None], [2, 2], None, "at no m that both were measured at"),
    ],
)
def test_what_is_said(cpu, gpu, from_m, said):
    alone, _ = found(cpu, gpu)
    assert (alone.from_m, phrase(alone)) == (from_m, said)


def test_a_transfer_that_was_not_measured_leaves_nothing_to_compare():
    alone, moved = found([9, 9], [1, 1], transfer=None)
    assert alone.from_m == 1
    assert moved.wins == moved.loses == ()


def test_it_is_compared_with_what_the_cpu_runs_by_default():
    cells = [cell(1, "cpu numba", 1.0), cell(1, "cpu numpy", 9.0), cell(1, "gpu:0", 2.0)]
    assert {c.against for c in crossovers([CPU, NUMPY, GPU], cells)} == {"cpu numba"}
    assert next(c for c in crossovers([CPU, NUMPY, GPU], cells) if c.item == "step").from_m is None


def test_the_crossover_of_known_speeds(both):  # noqa: F811
    def expected(n, moved):
        wins = [
            m
            for m in SETTINGS.m
            if step_seconds(m, n, FAST) + moved * transfer_seconds(m, n, FAST) < step_seconds(m, n, SLOW)
        ]
        return min(wins, default=None)

    steps = {(c.n, c.transfer): c.from_m for c in both.crossovers if c.item == "step"}
    assert steps == {(n, moved): expected(n, moved) for n in SETTINGS.n for moved in (False, True)}
    assert len({*steps.values()}) >= 3  # the speeds are such that there is something to find


def test_one_sentence_names_it(both):  # noqa: F811
    steps = {(c.n, c.transfer): c.from_m for c in both.crossovers if c.item == "step"}
    assert both.conclusions[0].startswith("A training step is faster on gpu:0 than on cpu ")
    alone, moved = both.conclusions[0].split("; with the transfer of the batch ")
    for text, transfer in ((alone, False), (moved, True)):
        for n in SETTINGS.n:
            if steps[n, transfer] not in (None, SETTINGS.m[0]):
                assert f"at n = {n} from m = {steps[n, transfer]} on" in text


def test_sizes_with_the_same_answer_share_a_phrase():
    made = [
        Crossover("gpu:0", "cpu numba", "step", n, moved, (8,), (2,), 8) for n in (4, 16, 64) for moved in (False, True)
    ]
    (said,) = conclusions([CPU, GPU], [], [], made, False)
    assert said == (
        "A training step is faster on gpu:0 than on cpu numba at n = 4, 16 and 64 from m = 8 on; "
        "the same with the transfer of the batch."
    )


# no crossover


def test_with_one_device_it_says_so_and_why():
    devices = [Device("cpu", True, "a CPU"), Device("gpu", False, "", "It is out.", "buy one")]
    (said,) = conclusions([CPU], [], devices, (), False)
    assert said == (
        "There is no crossover to name: only cpu was measured. gpu is not usable: It is out. To fix it: buy one."
    )


@pytest.mark.parametrize("row", [CPU, GPU])
def test_a_device_that_was_asked_for_alone_needs_no_reason(row):
    devices = [Device("cpu", True, "a CPU"), Device("gpu", False, "", "It is out.", "buy one")]
    (said,) = conclusions([row], [], devices, (), True)
    assert said == f"There is no crossover to name: only {row.device} was measured, as asked for."


def test_a_sweep_without_a_gpu_has_no_crossovers():
    world = World()
    results = measured(world, pair(world)[:1])
    assert results.crossovers == ()
    assert results.conclusions[0].startswith("There is no crossover to name: only cpu was measured")


# engines, noise


def test_the_engines_are_compared_by_their_geometric_mean():
    cells = [
        cell(1, "cpu numba", 1.0),
        cell(1, "cpu numpy", 2.0),
        cell(10, "cpu numba", 1.0),
        cell(10, "cpu numpy", 8.0),
    ]
    _, said = conclusions([NUMPY, CPU], cells, [], (), True)
    assert said == (
        "On the CPU a training step with the Numba kernels takes 0.25 of the time that the NumPy kernels need "
        "(0.12 to 0.50)."
    )


@pytest.mark.parametrize(("low", "warned"), [(0.6, False), (0.4, True)])
def test_a_noisy_machine_is_told(low, warned):
    cells = [Cell(m, 4, "cpu numba", {"step": item(1.0, low)}, {}, 0.0, 1.0) for m in (1, 2, 3)]
    said = conclusions([CPU], cells, [], (), True)
    assert any(text.startswith("Other programs were using this machine: 3 of 3 medians") for text in said) is warned
