"""The machine that the double pretends to run on: its devices, their memory, what is broken, and what was counted."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from .order import Order

FAULTS = {
    "nvrtc": 'Failure finding "libnvrtc.so.13": No such file: libnvrtc.so.13',
    "headers": "Failed to find CUDA headers. Please install CUDA toolkit headers (e.g., pip install cupy-cuda12x[ctk]) "
    "or specify CUDA_PATH environment variable.",
    "cublas": 'Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13',
    "busy": 46,
    "wrong": "every matrix product is off by one",
}
"""What `faults=` may name, and the message or the CUDA status that the real CuPy shows (its source, 14.2)."""

STATUS = {
    1: "cudaErrorInvalidValue: invalid argument",
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    46: "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable",
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(STATUS[status])


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited}).")


@dataclass
class Counters:
    """What a static training step must not do; see `State.counting`."""

    allocations: int = 0
    host_waits: int = 0
    host_to_device: int = 0
    sent_ahead: int = 0  # from page-locked memory on a stream: the host does not wait, and the copy overlaps
    device_to_host: int = 0
    kernels: int = 0
    gemms: int = 0
    gemm_temporaries: int = 0  # a matmul whose out= is not C-contiguous, has another dtype, or overlaps an operand
    gemm_operand_copies: int = 0  # an operand with no unit stride, such as a column slice

    def __sub__(self, other: "Counters") -> "Counters":
        return Counters(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class Thread(threading.local):
    """What CUDA and CuPy keep per thread; CuPy's current stream belongs to a thread and a device."""

    def __init__(self) -> None:
        self.device = 0
        self.devices: list[int] = []
        self.streams: dict[int, list[object]] = {}
        self.reads: list[object] = []  # operands of the kernel that is about to be launched
        self.pools: list[object] = []


class State:
    """One pretended machine. `counters` runs on for ever; `with state.counting() as seen:` gives the difference."""

    def __init__(
        self,
        devices: int = 1,
        driver: int = 13020,
        runtime: int = 13020,
        memory: int = 1 << 30,
        capability: str = "90",
        version: str = "14.2.0",
        faults: tuple[str, ...] = (),
    ) -> None:
        assert set(faults) <= set(FAULTS), f"faults are {sorted(FAULTS)}"
        self.devices = devices
        self.driver = driver
        self.runtime = runtime
        self.memory = memory
        self.capability = capability
        self.version = version
        self.faults = set(faults)
        self.counters = Counters()
        self.used = dict.fromkeys(range(devices), 0)
        self.peak = dict(self.used)
        self.thread = Thread()
        self.order = Order(self)
        self.blocks: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()  # memory by its address
        self.uploads: dict[int, tuple[object, int]] = {}  # from page-locked memory, by its address

    @contextmanager
    def counting(self) -> Iterator[Counters]:
        before, seen = replace(self.counters), Counters()
        try:
            yield seen
        finally:
            seen.__dict__.update((self.counters - before).__dict__)

    def check_driver(self) -> None:
        if self.driver < self.runtime // 1000 * 1000:
            raise CUDARuntimeError(35)
        if self.devices == 0:
            raise CUDARuntimeError(100)
        if "busy" in self.faults:
            raise CUDARuntimeError(46)

    @property
    def device(self) -> int:
        self.check_driver()
        return self.thread.device

    def allocate(self, size: int) -> tuple[int, int]:
        """(device, bytes) taken from the pool of the current device, which hands out multiples of 512 bytes."""
        device, size = self.device, -(-size // 512) * 512
        if self.used[device] + size > self.memory:
            raise OutOfMemoryError(size, self.used[device])
        self.used[device] += size
        self.peak[device] = max(self.peak[device], self.used[device])
        self.counters.allocations += size > 0
        return device, size


now = State()
"""The pretended machine in force; `install` replaces it."""
