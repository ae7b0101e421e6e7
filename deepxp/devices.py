"""What this machine can compute on: is there a usable GPU, and if not, why not and what fixes it.

CuPy loads its CUDA libraries lazily, so neither "CuPy imports" nor "there is a GPU" means "it computes". The probe
therefore goes on until a kernel and a matrix product have run with the right result, and every way to fail has its own
sentence and its own fix. `cupy.cuda.is_available()` is not asked: it raises on CuPy 13 and hides the reason on CuPy 14.

Importing this module imports nothing but the standard library; CuPy is imported by the first call that needs it.
"""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from deepxp.errors import ConfigError, DeviceError

CUPY_MINIMUM = (14, 1)
"""14.0 brought NumPy 2's type promotion, 14.1 the last of the array-API names that deepxp.ops may use."""

LOWEST_CAPABILITY = {12: 50, 13: 75}
"""Compute capability times ten that a CUDA major version still serves (NVIDIA's release notes of CUDA 12.0, 13.0)."""

# CuPy's own list of distributions that overwrite each other's files, with room for the CUDA versions to come
_WHEELS = (
    "cupy",
    "amd-cupy",
    *(f"cupy-cuda{version}" for version in (102, *range(110, 118))),
    *(f"cupy-cuda{major}x" for major in range(11, 20)),
    *(f"cupy-rocm-{version}" for version in ("4-0", "4-2", "4-3", "5-0", "7-0", "7-1", "7-14")),
)
_NAME = re.compile(r"(?:gpu|cuda)(?::([0-9]+))?")


@dataclass(frozen=True)
class Device:
    """A device by the name that `backend` and `--device` take, and whether it computes here."""

    name: str
    usable: bool
    description: str
    reason: str = ""
    fix: str = ""


class UnusableDeviceError(DeviceError):
    """A DeviceError that keeps apart the sentence that says why and the line that fixes it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason, fix)
        self.reason = reason
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.reason} To fix it: {self.fix}"


def parse(name: str) -> tuple[str, int | None]:
    """("cpu" | "gpu" | "auto", index) of "cpu", "gpu", "gpu:N" or "auto"; "cuda" is another word for "gpu".

    Without N the index is None: the current device of the calling thread. Raises ConfigError for any other name.
    """
    if name in ("cpu", "auto"):
        return name, None
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ConfigError(
            f"device {name!r} does not exist: use 'auto', 'cpu', 'gpu', or 'gpu:N' for the GPU number N = 0, 1, ..."
        )
    return "gpu", None if match[1] is None else int(match[1])


def devices() -> tuple[Device, ...]:
    """The CPU, then every GPU, usable or not; one unusable "gpu" with its reason where none can be counted.

    Never raises. Every GPU is really tried, which takes the memory of a CUDA context (some hundred MB) on each.
    """
    cpu = Device("cpu", True, _describe_cpu())
    try:
        cupy = _import_cupy()
        count = _count(cupy)
    except UnusableDeviceError as error:
        return cpu, Device("gpu", False, "no GPU can be counted", error.reason, error.fix)
    return cpu, *(_device(cupy, index) for index in range(count))


def cupy_for(index: int | None) -> tuple[ModuleType, int]:
    """CuPy, and the index of a GPU on which it computes; None is the current device of the calling thread.

    Raises DeviceError with the reason and the fix. A device that passed is not probed again in this process; a failure
    is not remembered, so that a user who mends it (an installation in a notebook, say) need only try again.
    """
    cupy = _import_cupy()
    count = _count(cupy)
    if index is None:
        index = int(cupy.cuda.runtime.getDevice())
    if not 0 <= index < count:
        there = "gpu:0 is the only GPU" if count == 1 else f"the {count} GPUs are gpu:0 to gpu:{count - 1}"
        raise UnusableDeviceError(f"gpu:{index} does not exist: {there} that CUDA shows.", "choose one of these")
    _probe(cupy, index)
    return cupy, index


def cupy_wheels() -> tuple[str, ...]:
    """The installed distributions that provide the package `cupy`."""
    from importlib import metadata  # slow to import, and only a GPU asks

    found = []
    for name in _WHEELS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return tuple(found)


def driver_version() -> int | None:
    """CUDA version of the NVIDIA driver, 13020 for 13.2, asked without CuPy; None where there is no driver."""
    import ctypes  # slow to import, and only a GPU asks

    version = ctypes.c_int()
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        status = library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return version.value if status == 0 and version.value > 0 else None


def _import_cupy() -> ModuleType:
    """CuPy, imported, from exactly one wheel."""
    wheels = cupy_wheels()
    if len(wheels) > 1:
        raise UnusableDeviceError(
            f"{len(wheels)} CuPy packages are installed and overwrite each other's files: {', '.join(wheels)}.",
            _reinstall(wheels, driver_version()),
        )
    if "cupy" not in sys.modules:
        importlib.invalidate_caches()  # CuPy may have been installed since Python last looked
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name == "cupy" and sys.platform == "darwin":
            raise UnusableDeviceError("There is no CUDA for macOS.", "use the CPU here") from None
        if error.name == "cupy":
            raise UnusableDeviceError("CuPy is not installed.", _install(driver_version())) from None
        raise UnusableDeviceError(
            f"CuPy is installed but does not import: {_cause(error)}.", _repair(wheels)
        ) from error
    except Exception as error:  # a broken installation may raise anything
        raise UnusableDeviceError(
            f"CuPy is installed but does not import: {_cause(error)}.", _repair(wheels)
        ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", cupy.__version__)[:2])
    if version < CUPY_MINIMUM:
        raise UnusableDeviceError(
            f"CuPy {cupy.__version__} is too old: deepxp needs {'.'.join(map(str, CUPY_MINIMUM))} or newer.",
            f"python -m pip install --upgrade {wheels[0] if wheels else 'cupy'}",
        )
    return cupy


def _count(cupy: Any) -> int:
    """How many GPUs there are, at least one, with a driver that is new enough."""
    runtime = cupy.cuda.runtime
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        driver = int(runtime.driverGetVersion())
    except Exception:  # CUDARuntimeError; older versions of CuPy raise others
        driver = 0
    if driver == 0:
        raise UnusableDeviceError(
            "There is no NVIDIA driver on this machine (CUDA reports driver version 0).",
            "install the driver for your GPU from https://www.nvidia.com/drivers "
            "(a container must be started with its GPU, for docker: --gpus all), until `nvidia-smi` works",
        )
    built = int(runtime.runtimeGetVersion())
    if not runtime.is_hip and driver // 1000 < built // 1000:
        raise UnusableDeviceError(
            f"The NVIDIA driver is too old: it supports CUDA {_dotted(driver)} and this CuPy is for "
            f"CUDA {_dotted(built)}.",
            _reinstall(cupy_wheels(), driver),
        )
    cause = ""
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        count, cause = 0, _cause(error)
    if count > 0:
        return count
    if hidden is not None:
        raise UnusableDeviceError(
            f"CUDA shows no GPU, most likely because CUDA_VISIBLE_DEVICES is set to {hidden!r}.",
            "unset CUDA_VISIBLE_DEVICES (or set it to a number that `nvidia-smi -L` lists) and start Python again",
        )
    raise UnusableDeviceError(
        f"The NVIDIA driver works but CUDA shows no GPU{': ' + cause if cause else ''}.",
        "`nvidia-smi -L` must list a GPU (a container must be started with it, for docker: --gpus all)",
    )


def _device(cupy: Any, index: int) -> Device:
    """One enumerated GPU, tried."""
    try:
        _probe(cupy, index)
    except UnusableDeviceError as error:
        return Device(f"gpu:{index}", False, _describe(cupy, index), error.reason, error.fix)
    return Device(f"gpu:{index}", True, _describe(cupy, index))


@functools.cache  # keeps what is returned, not what is raised: only a success is remembered
def _probe(cupy: Any, index: int) -> None:
    """Run one elementwise kernel (NVRTC) and one matrix product (cuBLAS) on the device, and look at the results."""
    capability, needed = _capability(cupy, index), LOWEST_CAPABILITY.get(_cuda_major(cupy), 0)
    if not cupy.cuda.runtime.is_hip and 0 < capability < needed:
        raise UnusableDeviceError(
            f"gpu:{index} has compute capability {capability / 10}, and CUDA {_cuda_major(cupy)} needs {needed / 10}.",
            _reinstall(cupy_wheels(), 12000) if capability >= LOWEST_CAPABILITY[12] else "use a newer GPU, or the CPU",
        )

    def run(what: str, library: str, compute: Callable[[], Any], expected: float) -> None:
        try:
            with cupy.cuda.Device(index):
                result = float(compute())
        except Exception as error:  # CUDA, NVRTC, cuBLAS, the loader: each raises its own
            raise _explained(cupy, index, what, library, error) from error
        if result != expected:
            raise UnusableDeviceError(
                f"gpu:{index} computes wrongly: {what} gave {result}, not {expected}.",
                "update the driver and CuPy; if it stays, the GPU is defective",
            )

    def ones() -> Any:
        return cupy.ones((16, 16), dtype=cupy.float32)

    run("a kernel", "NVRTC", lambda: (ones() + 2.0)[0, 0], 3.0)
    run("a matrix product", "cuBLAS", lambda: (ones() @ ones())[0, 0], 16.0)


def _explained(cupy: Any, index: int, what: str, library: str, error: Exception) -> UnusableDeviceError:
    """The sentence and the fix for what went wrong while the device computed."""
    text = str(error)
    if isinstance(error, MemoryError) or "cudaErrorMemoryAllocation" in text or "CUBLAS_STATUS_ALLOC_FAILED" in text:
        return UnusableDeviceError(
            f"gpu:{index} has no memory left, not even for {what} of a few KB ({_memory(cupy, index)}).",
            "end the process that holds its memory (`nvidia-smi` lists them), or choose another device",
        )
    wheels = cupy_wheels()
    toolkit = (
        f'python -m pip install "{wheels[0] if wheels else "cupy"}[ctk]"  (or only what deepxp needs: '
        f'"cuda-toolkit[cublas,cudart,nvrtc]=={_cuda_major(cupy)}.*")'
    )
    if "CUDA headers" in text:
        return UnusableDeviceError(
            f"CuPy cannot compile kernels: the CUDA headers are missing ({_cause(error)}).", toolkit
        )
    # A missing library is found by the loader, an ImportError, OSError or RuntimeError that names it; an error that
    # the library itself reports begins with its status instead.
    if library.lower() in text.lower() and "STATUS" not in text:
        role = {"NVRTC": "compiles kernels", "cuBLAS": "multiplies matrices"}[library]
        return UnusableDeviceError(f"{library}, the CUDA library that {role}, is missing ({_cause(error)}).", toolkit)
    return UnusableDeviceError(
        f"gpu:{index} is there, but {what} failed on it: {_cause(error)}.",
        "see whether `nvidia-smi` shows an error or a process that holds the device exclusively; "
        "after an update of the driver restart the machine",
    )


def _describe(cupy: Any, index: int) -> str:
    runtime = cupy.cuda.runtime
    try:
        name = runtime.getDeviceProperties(index)["name"].decode()
    except Exception:  # a description is no reason to fail
        name = "unnamed GPU"
    return (
        f"{name}, {_memory(cupy, index)}, compute capability {_capability(cupy, index) / 10}, driver for "
        f"CUDA {_dotted(runtime.driverGetVersion())}, CuPy {cupy.__version__} for "
        f"CUDA {_dotted(runtime.runtimeGetVersion())}"
    )


def _describe_cpu() -> str:
    import platform  # slow to import, and only a description asks

    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    name = model[1] if model else platform.processor() or platform.machine()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {threads} thread{'' if threads == 1 else 's'}"


def _memory(cupy: Any, index: int) -> str:
    try:
        free, total = cupy.cuda.Device(index).mem_info
    except Exception:
        return "memory unknown"
    return f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB"


def _capability(cupy: Any, index: int) -> int:
    """Compute capability times ten; 0 where it cannot be read."""
    try:
        return int(cupy.cuda.Device(index).compute_capability)
    except Exception:
        return 0


def _cuda_major(cupy: Any) -> int:
    return int(cupy.cuda.runtime.runtimeGetVersion()) // 1000


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _cause(error: BaseException) -> str:
    """The first line that says something: CuPy frames the errors of its import in several lines of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip().strip("=")]
    if "Original error:" in lines[:-1]:
        lines = lines[lines.index("Original error:") + 1 :]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _install(driver: int | None) -> str:
    """The line that installs CuPy for this driver."""
    if driver is None:
        where = "where there is an NVIDIA GPU install its driver, none was found; then "
        return where + 'python -m pip install "cupy-cuda13x[ctk]"  (12x where `nvidia-smi` shows CUDA Version 12.x)'
    if driver < 12000:
        return f"update the NVIDIA driver, which supports CUDA {_dotted(driver)}: CuPy needs 12.0 or newer"
    return f'python -m pip install "cupy-cuda{min(driver // 1000, 13)}x[ctk]"'


def _reinstall(wheels: tuple[str, ...], driver: int | None) -> str:
    install = _install(driver)
    if not wheels or install.startswith("update"):
        return install
    return f"python -m pip uninstall --yes {' '.join(wheels)} && {install}"


def _repair(wheels: tuple[str, ...]) -> str:
    return f"python -m pip install --force-reinstall {wheels[0] if wheels else 'cupy'}  (then start Python again)"
