"""What a run needs is known before it starts, and said where there is not so much."""

import re

import numpy as np
import pytest
from cupy_double import install

import deepxp as dx
import deepxp.cli
from deepxp.footprint import memory_need, out_of_memory
from deepxp.kernels import cublas

SIZES = (20, 3000, 3)


def data(m=256):
    rng = np.random.default_rng(0)
    return rng.standard_normal((20, m)), rng.integers(0, 3, m)


def gpu_with(monkeypatch, room):
    """A network on a GPU with so many bytes left beside what a batch of no samples needs."""
    machine = install(monkeypatch)
    net = dx.Network(SIZES, backend="gpu")
    machine.memory = machine.used[0] + memory_need(net, dx.Adam(), 0) - net.theta.nbytes + room
    return machine, net


def per_sample(net):
    return memory_need(net, dx.Adam(), 1) - memory_need(net, dx.Adam(), 0)


def test_a_gpu_needs_the_workspace_of_its_products_too(monkeypatch):
    _, net = gpu_with(monkeypatch, 0)
    on_the_cpu = net.to("cpu")
    assert memory_need(net, dx.Adam(), 7) == memory_need(on_the_cpu, dx.Adam(), 7) + cublas.WORKSPACE


def test_a_run_that_cannot_fit_ends_before_it_begins_and_names_the_batch_that_fits(monkeypatch):
    machine, net = gpu_with(monkeypatch, 0)
    machine.memory += 60 * per_sample(net) + 1
    with machine.counting() as seen, pytest.raises(dx.OutOfMemoryError) as caught:
        dx.train(net, *data(), batch_size=200)
    assert seen.allocations == 0
    need = (memory_need(net, dx.Adam(), 200) - net.theta.nbytes) / 1e6
    said = rf"batches of 200 needs {need:.1f} MB on gpu:0 .* MB are free; the largest batch that fits has 60 samp"
    assert re.search(said, str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_batch_that_is_named_fits_and_the_next_one_does_not(monkeypatch):
    """With room for the data and for what is no array of the step, together less than the memory of 40 samples."""
    machine, net = gpu_with(monkeypatch, 0)
    machine.memory += 61 * per_sample(net) - 1
    with pytest.raises(dx.OutOfMemoryError, match="largest batch that fits has 60 samples"):
        dx.train(net, *data(), batch_size=61, epochs=1)
    machine.memory += 39 * per_sample(net)
    assert len(dx.train(net, *data(), batch_size=60, epochs=1)) == 1


def test_a_step_of_ones_own_is_checked_as_well(monkeypatch):
    _, net = gpu_with(monkeypatch, 100)
    with pytest.raises(dx.OutOfMemoryError, match="no batch fits: take narrower layers"):
        dx.TrainingStep(net, dx.Adam(), 64)


def test_memory_that_runs_out_on_the_way_is_the_same_sentence(monkeypatch):
    machine, net = gpu_with(monkeypatch, 1 << 22)
    allocate, left = machine.allocate, [40]

    def scarce(size):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError(f"Out of memory allocating {size} bytes")
        return allocate(size)

    monkeypatch.setattr(machine, "allocate", scarce)
    with pytest.raises(dx.OutOfMemoryError, match=r"needs .* on gpu:0 .* are free") as caught:
        dx.train(net, *data(), batch_size=64)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_where_nobody_counts_free_memory_the_need_is_named():
    net = dx.Network(SIZES, backend="cpu")
    said = str(out_of_memory(net, dx.Adam(), 64, None))
    need = memory_need(net, dx.Adam(), 64) - net.theta.nbytes
    assert f"needs {need / 1e6:.1f} MB on cpu beside the data" in said
    assert "smaller batch_size" in said


def test_the_command_line_says_what_is_needed_what_is_free_and_where_the_data_stay(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--device", "gpu", "--hidden", "300", "--epochs", "1"]
    machine = install(monkeypatch)
    assert dx.cli.main(command) == 0
    said = capsys.readouterr().out
    assert "free on gpu:0" in said and "stay on the host" not in said
    install(monkeypatch, memory=machine.peak[0] + 1_000_000)  # too little to hold the data beside an evaluation
    assert dx.cli.main(command) == 0
    assert "kB of data, which stay on the host and are sent batch by batch; " in capsys.readouterr().out
    install(monkeypatch, memory=35 << 20)
    assert dx.cli.main([*command, "--batch-size", "1000"]) == 1
    error = capsys.readouterr().err
    assert "needs" in error and "the largest batch that fits has" in error and len(error.splitlines()) == 1
