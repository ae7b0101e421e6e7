"""How much memory there is, and what is refused for want of it."""

import pytest

import deepxp as dx
from deepxp.backend import Backend
from deepxp.footprint import memory_need
from deepxp.memory import available

MIB = 2**20


def machine(root, meminfo="", **files):
    """The files of a system below a folder."""
    for path, text in {"/proc/meminfo": meminfo, **files}.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


MEMINFO = f"MemTotal: 99 kB\nMemFree: 1 kB\nMemAvailable: {300 * 1024} kB\nSwapFree: {20 * 1024} kB\n"


def test_a_machine_has_what_it_says_is_available(tmp_path):
    assert available(machine(tmp_path, MEMINFO)) == 320 * MIB


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"/sys/fs/cgroup/memory.max": f"{200 * MIB}\n", "/sys/fs/cgroup/memory.current": f"{50 * MIB}"}, 150),
        ({"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "5"}, 320),
        (
            {
                "/proc/self/cgroup": "0::/user/run\n",
                "/sys/fs/cgroup/user/memory.max": f"{100 * MIB}",
                "/sys/fs/cgroup/user/memory.current": f"{90 * MIB}",
                "/sys/fs/cgroup/user/memory.stat": f"anon 1\ninactive_file {40 * MIB}\n",
                "/sys/fs/cgroup/user/run/memory.max": "max",
                "/sys/fs/cgroup/user/run/memory.current": "1",
            },
            50,
        ),
        (
            {
                "/proc/self/cgroup": "4:memory:/box\n",
                "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{64 * MIB}",
                "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{65 * MIB}",
            },
            0,
        ),
    ],
)
def test_control_groups_leave_less(tmp_path, files, left):
    assert available(machine(tmp_path, MEMINFO, **files)) == left * MIB


def test_this_machine_says_something():
    free = available()
    assert free is None or free > MIB


def test_a_run_that_does_not_fit_is_refused_with_the_batch_that_does(monkeypatch):
    net = dx.Network((50, 400, 3), backend="cpu")
    free = memory_need(net, dx.Adam(), 100) - net.theta.nbytes
    monkeypatch.setattr(Backend, "free_memory", lambda self: free)
    X, y = [[0.0] * 2000] * 50, [0] * 2000
    dx.TrainingStep(net, dx.Adam(), 100)
    with pytest.raises(dx.OutOfMemoryError, match=r"batches of 101 needs .* that fits has 100 samples"):
        dx.train(net, X, y, epochs=1, batch_size=101)
    with pytest.raises(MemoryError, match="the largest batch that fits has 100 samples"):
        dx.TrainingStep(net, dx.Adam(), 10**9)
    monkeypatch.setattr(Backend, "free_memory", lambda self: 1000)
    with pytest.raises(dx.OutOfMemoryError, match="no batch fits: take narrower layers"):
        dx.train(net, X, y, epochs=1, batch_size=1)
    monkeypatch.setattr(Backend, "free_memory", lambda self: None)
    dx.TrainingStep(net, dx.Adam(), 100)


def test_the_command_line_says_the_batch_size(monkeypatch, tmp_path, capsys):
    from deepxp.cli import main

    monkeypatch.setattr(Backend, "free_memory", lambda self: 2 * MIB)
    run = ["train", "--hidden", "32", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "r")]
    assert main([*run, "--batch-size", "1400"]) == 0
    assert main([*run, "--hidden", "3000", "--force"]) == 1
    assert "narrower layers" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_refused_before_they_are_drawn(monkeypatch):
    from deepxp.backend import Backend

    monkeypatch.setattr(Backend, "free_memory", lambda self: 10**6)
    with pytest.raises(dx.OutOfMemoryError, match=r"weights of 4-1000-1000-2 need 4.0 MB on cpu.*narrower layers"):
        dx.Network((4, 1000, 1000, 2), backend="cpu")
    dx.Network((4, 100, 100, 2), backend="cpu")


def test_the_notes_of_the_command_line_speak_of_flags():
    from deepxp.cli.wording import as_flags

    said = as_flags("clip the gradient (clip_norm=1.0), or take hidden='leaky_relu'")
    assert said == "clip the gradient (--clip-norm 1), or take --activation leaky_relu"
