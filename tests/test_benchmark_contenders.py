import importlib.util
import os
import subprocess
import sys

import pytest
from cupy_double import install, uninstall

import deepxp as dx
from deepxp.benchmark.contenders import contenders, find
from deepxp.machine import describe


class Ticking:
    """A clock that moves by one whenever it is read."""

    now = 0

    def __call__(self):
        self.now += 1
        return float(self.now)


def names(asked=None):
    found, seconds = find(Ticking())
    assert seconds == 1.0
    return [(c.name, c.device, c.default, c.start_seconds) for c in contenders(found, asked, Ticking())]


def engines():
    there = importlib.util.find_spec("numba") is not None
    return ["cpu numba", "cpu numpy", "cpu definitions"] if there else ["cpu numpy", "cpu definitions"]


def test_the_engines_of_the_cpu_with_the_one_that_users_get_first(monkeypatch):
    uninstall(monkeypatch)
    found = names()
    assert sorted(name for name, *_ in found) == sorted(engines())
    assert [default for _, _, default, _ in found] == [True] + [False] * (len(found) - 1)
    assert {seconds for *_, seconds in found} == {1.0}
    kernels = dx.backend("cpu").kernels
    assert found[0][0] == f"cpu {kernels.__name__.rpartition('.')[2]}"


def test_without_numba_there_are_two_engines(monkeypatch):
    uninstall(monkeypatch)
    for module in ("deepxp.kernels.numba", "deepxp.kernels.team"):
        monkeypatch.setitem(sys.modules, module, None)
    assert [name for name, *_ in names()] == ["cpu numpy", "cpu definitions"]
    assert describe(dx.devices()[:1])["kernel_threads"] == 1


def test_the_command_runs_where_numba_cannot_be_imported(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('for another NumPy')")
    words = ["bench", "--m", "2", "--n", "2", "--quick", "--limit", "0.1", "--device", "cpu"]
    script = (
        f"import deepxp.benchmark.run as run, deepxp.cli as cli; run.LARGEST = 0; raise SystemExit(cli.main({words}))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cpu definitions" in done.stdout and "cpu numba" not in done.stdout


def test_every_usable_gpu_takes_part(monkeypatch):
    install(monkeypatch, devices=2)
    found = names()
    assert [(device, default) for _, device, default, _ in found[-2:]] == [("gpu:0", True), ("gpu:1", True)]
    assert [name for name, *_ in found[-2:]] == ["gpu:0", "gpu:1"]


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        (("cpu",), ["cpu"]),
        (("gpu:1",), ["gpu:1"]),
        (("cuda:1", "gpu:1"), ["gpu:1"]),
        (("gpu", "cpu"), ["gpu:0", "cpu"]),
        (("auto",), ["cpu", "gpu:0", "gpu:1"]),
    ],
)
def test_those_that_were_asked_for(monkeypatch, asked, devices):
    install(monkeypatch, devices=2)
    assert list(dict.fromkeys(device for _, device, *_ in names(asked))) == devices


def test_a_gpu_that_was_asked_for_and_is_not_usable_is_an_error(monkeypatch):
    uninstall(monkeypatch)
    with pytest.raises(dx.DeviceError, match="To fix it: "):
        names(("cpu", "gpu"))
    with pytest.raises(dx.ConfigError, match="'tpu' does not exist"):
        names(("tpu",))


def test_all_engines_compute_the_same(monkeypatch):
    import numpy as np

    uninstall(monkeypatch)
    found, _ = find(Ticking())
    Z = np.linspace(-3, 3, 12, dtype=np.float32).reshape(4, 3)
    for contender in contenders(found, None, Ticking()):
        A = contender.backend[dx.ops.activations.softmax](Z)
        np.testing.assert_allclose(A, dx.softmax(Z), rtol=1e-6)


def test_the_machine_says_what_a_time_depends_on():
    found = describe(dx.devices()[:1])
    assert set(found) >= {"cpu", "cores", "system", "python", "numpy", "blas", "blas_threads", "kernel_threads"}
    assert all(found[name] for name in ("cpu", "cores", "numpy", "blas", "blas_threads", "kernel_threads"))
    assert "thread" not in found["cpu"]
