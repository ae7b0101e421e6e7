import importlib
import importlib.util
import re
import subprocess
import sys

import pytest
from cupy_double import break_import, install, uninstall

from deepxp.errors import ConfigError, DeviceError

devices = importlib.import_module("deepxp.devices")  # `deepxp.devices` is the function of that name


def has_cupy() -> bool:
    return importlib.util.find_spec("cupy") is not None


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("cpu", ("cpu", None)),
        ("auto", ("auto", None)),
        ("gpu", ("gpu", None)),
        ("cuda", ("gpu", None)),
        ("gpu:0", ("gpu", 0)),
        ("cuda:12", ("gpu", 12)),
    ],
)
def test_parse(name, parsed):
    assert devices.parse(name) == parsed


@pytest.mark.parametrize(
    "name", ["", "GPU", "tpu", "gpu:", "gpu:-1", "gpu:1.0", "gpu:one", "cpu:0", "gpu:0 ", "gpu:²", 0, None]
)
def test_parse_refuses(name):
    with pytest.raises(ConfigError, match=r"'auto', 'cpu', 'gpu'") as caught:
        devices.parse(name)
    assert repr(name) in str(caught.value)


def test_import_is_light():
    code = "import sys, deepxp.devices; deepxp.devices; print({'cupy', 'numba'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_usable(cupy_double):
    cpu, gpu = devices.devices()
    assert (cpu.name, cpu.usable, cpu.reason) == ("cpu", True, "")
    assert "thread" in cpu.description
    assert (gpu.name, gpu.usable, gpu.reason, gpu.fix) == ("gpu:0", True, "", "")
    for part in ("Double GPU", "1.0 GiB free of 1.0 GiB", "compute capability 9.0", "CUDA 13.2", "CuPy 14.2.0"):
        assert part in gpu.description
    cupy, index = devices.cupy_for(None)
    assert cupy is sys.modules["cupy"]
    assert index == 0


def test_current_device_and_index(monkeypatch):
    install(monkeypatch, devices=3)
    cupy, index = devices.cupy_for(2)
    assert index == 2
    assert cupy.cuda.runtime.getDevice() == 0  # the probe gives the current device back
    with cupy.cuda.Device(1):
        assert devices.cupy_for(None)[1] == 1
    assert [device.name for device in devices.devices()] == ["cpu", "gpu:0", "gpu:1", "gpu:2"]
    assert all(device.usable for device in devices.devices())
    with pytest.raises(DeviceError, match=r"gpu:3 does not exist: the 3 GPUs are gpu:0 to gpu:2"):
        devices.cupy_for(3)


def test_index_of_the_only_gpu(cupy_double):
    with pytest.raises(DeviceError, match=r"gpu:1 does not exist: gpu:0 is the only GPU"):
        devices.cupy_for(1)


MACHINES = {
    "no driver": (
        {"driver": 0},
        r"There is no NVIDIA driver on this machine",
        r"install the driver .* until `nvidia-smi` works",
    ),
    "old driver": (
        {"driver": 12040},
        r"driver is too old: it supports CUDA 12\.4 and this CuPy is for CUDA 13\.2",
        r"pip uninstall --yes cupy-cuda13x && python -m pip install \"cupy-cuda12x\[ctk\]\"",
    ),
    "very old driver": (
        {"driver": 11080, "runtime": 12090},
        r"supports CUDA 11\.8 and this CuPy is for CUDA 12\.9",
        r"update the NVIDIA driver",
    ),
    "no device": ({"devices": 0}, r"driver works but CUDA shows no GPU: cudaErrorNoDevice", r"`nvidia-smi -L`"),
    "old device": (
        {"capability": "61"},
        r"gpu:0 has compute capability 6\.1, and CUDA 13 needs 7\.5",
        r"install \"cupy-cuda12x\[ctk\]\"",
    ),
    "very old device": (
        {"capability": "35", "driver": 12020, "runtime": 12020},
        r"compute capability 3\.5, and CUDA 12 needs 5\.0",
        r"use a newer GPU, or the CPU",
    ),
    "old cupy": (
        {"version": "13.6.0"},
        r"CuPy 13\.6\.0 is too old: deepxp needs 14\.1 or newer",
        r"pip install --upgrade cupy-cuda13x",
    ),
    "no nvrtc": (
        {"faults": ("nvrtc",)},
        r"NVRTC, the CUDA library that compiles kernels, is missing",
        r'install "cupy-cuda13x\[ctk\]".*"cuda-toolkit\[cublas,cudart,nvrtc\]==13\.\*"',
    ),
    "no headers": ({"faults": ("headers",)}, r"the CUDA headers are missing", r'"cupy-cuda13x\[ctk\]"'),
    "no cublas": (
        {"faults": ("cublas",)},
        r"cuBLAS, the CUDA library that multiplies matrices, is missing",
        r'"cupy-cuda13x\[ctk\]"',
    ),
    "full": (
        {"memory": 512},
        r"gpu:0 has no memory left, not even for a kernel of a few KB \(0\.0 GiB free of 0\.0 GiB\)",
        r"end the process that holds its memory",
    ),
    "wrong": ({"faults": ("wrong",)}, r"computes wrongly: a matrix product gave 17\.0, not 16\.0", r"defective"),
}


@pytest.mark.parametrize("case", MACHINES)
def test_each_failure_has_its_sentence_and_its_fix(monkeypatch, case):
    machine, reason, fix = MACHINES[case]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install(monkeypatch, **machine)
    with pytest.raises(DeviceError, match=reason) as caught:
        devices.cupy_for(0)
    assert str(caught.value).count(caught.value.fix) == 1
    _, gpu = devices.devices()
    assert not gpu.usable
    assert gpu.name in ("gpu", "gpu:0")
    assert gpu.reason == caught.value.reason
    assert gpu.fix == caught.value.fix
    assert re.search(fix, gpu.fix)
    assert not [line for line in (gpu.reason, gpu.fix) if "\n" in line]


def test_sentences_differ(monkeypatch):
    reasons = set()
    for machine, _, _ in MACHINES.values():
        install(monkeypatch, **machine)
        reasons.add(devices.devices()[1].reason)
    assert len(reasons) == len(MACHINES)


def test_busy_device(monkeypatch):
    machine = install(monkeypatch)
    machine.faults.add("busy")
    with pytest.raises(DeviceError, match=r"failed on it: cudaErrorDevicesUnavailable.*nvidia-smi"):
        devices.cupy_for(0)


@pytest.mark.parametrize("value", ["", "-1"])
def test_hidden_devices(monkeypatch, value):
    install(monkeypatch, devices=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with pytest.raises(DeviceError, match=f"CUDA_VISIBLE_DEVICES is set to {value!r}.*unset CUDA_VISIBLE_DEVICES"):
        devices.cupy_for(None)


@pytest.mark.parametrize(
    ("driver", "fix"),
    [
        (13000, r'pip install "cupy-cuda13x\[ctk\]"$'),
        (14010, r'pip install "cupy-cuda13x\[ctk\]"$'),
        (12080, r'pip install "cupy-cuda12x\[ctk\]"$'),
        (11040, r"update the NVIDIA driver, which supports CUDA 11\.4"),
        (None, r'"cupy-cuda13x\[ctk\]"  \(12x where `nvidia-smi` shows'),
    ],
)
def test_not_installed(monkeypatch, driver, fix):
    uninstall(monkeypatch)
    monkeypatch.setattr(devices, "driver_version", lambda: driver)
    with pytest.raises(DeviceError, match=r"CuPy is not installed.*" + fix):
        devices.cupy_for(0)
    assert devices.devices()[1].name == "gpu"


def test_not_on_macos(monkeypatch):
    uninstall(monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(DeviceError, match="no CUDA for macOS"):
        devices.cupy_for(0)


def test_two_wheels(monkeypatch):
    install(monkeypatch, wheels=("cupy-cuda12x", "cupy-cuda13x"))
    monkeypatch.setattr(devices, "driver_version", lambda: 13020)
    with pytest.raises(
        DeviceError,
        match=r"2 CuPy packages .*: cupy-cuda12x, cupy-cuda13x\..*"
        r"pip uninstall --yes cupy-cuda12x cupy-cuda13x && python -m pip install \"cupy-cuda13x\[ctk\]\"",
    ):
        devices.cupy_for(0)


def test_wheels_are_found_by_their_metadata(tmp_path, monkeypatch):
    for name in ("cupy_cuda12x-14.2.0", "cupy_rocm_7_0-14.2.0", "cupy-14.2.0", "cupy_xarray-0.1"):
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info" / "METADATA").write_text(f"Name: {name.partition('-')[0]}\nVersion: 14.2.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert devices.cupy_wheels() == ("cupy", "cupy-cuda12x", "cupy-rocm-7-0")


BANNER = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches.

Original error:
  ImportError: libcudart.so.13: cannot open shared object file
================================================================
"""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ImportError(BANNER), r"ImportError: libcudart\.so\.13: cannot open shared object file\. To fix it"),
        (ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"), r"No module named 'fastrlock'"),
        (AttributeError(), r"AttributeError"),
    ],
)
def test_broken_import(monkeypatch, error, cause):
    break_import(monkeypatch, error)
    with pytest.raises(DeviceError, match=rf"does not import: {cause}.*--force-reinstall cupy-cuda13x"):
        devices.cupy_for(0)


def test_success_is_remembered_and_failure_is_not(monkeypatch):
    machine = install(monkeypatch, faults=("cublas",))
    with pytest.raises(DeviceError):
        devices.cupy_for(0)
    machine.faults.clear()
    devices.cupy_for(0)
    with machine.counting() as seen:
        devices.cupy_for(0)
    assert seen.kernels == seen.host_waits == 0
    assert machine.used == {0: 0}


@pytest.mark.skipif(not has_cupy(), reason="CuPy is not installed")
@pytest.mark.skipif(devices.driver_version() is not None, reason="there is an NVIDIA driver here")
def test_real_cupy_without_a_driver():
    _, gpu = devices.devices()
    assert (gpu.name, gpu.usable) == ("gpu", False)
    assert gpu.reason.startswith("There is no NVIDIA driver")
    with pytest.raises(DeviceError, match="until `nvidia-smi` works"):
        devices.cupy_for(None)


def test_devices_of_this_machine():
    cpu, *gpus = devices.devices()
    assert cpu.usable
    assert gpus
    assert all(bool(gpu.reason) != gpu.usable and bool(gpu.fix) != gpu.usable for gpu in gpus)
