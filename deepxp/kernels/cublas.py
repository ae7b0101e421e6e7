"""Matrix products on a GPU, straight to cuBLAS: no copy of a view, no temporary, and allowed while a step is recorded.

CuPy's own product copies operands and results that are not contiguous, cannot fold in a factor, and refuses to run
while a stream is captured; cuBLAS can do all of it. So deepxp holds handles of its own, on the library that CuPy uses:
one for each thread, device and stream, each with its own workspace, so that no two streams ever share one.
"""

import ctypes
import sys
import threading
from functools import cache
from typing import Any

from deepxp.errors import DeviceError
from deepxp.kernels import streams
from deepxp.ops.typing import Array, Namespace

WORKSPACE = 32 << 20  # bytes; what NVIDIA's manual of cuBLAS advises for Hopper, and enough for the others
PLAIN, TRANSPOSED = 0, 1  # cublasOperation_t
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
HOST, DEVICE = 0, 1  # cublasPointerMode_t: where alpha and beta are

# cudaDataType_t. NumPy has no bfloat16: its bits are kept in uint16, which nobody multiplies as whole numbers
TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint16": 14}
COMPUTE = {"float32": 68, "float64": 70, "float16": 68, "uint16": 68}  # cublasComputeType_t: 16 bits sum in 32
TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32

STATUS = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    3: "CUBLAS_STATUS_ALLOC_FAILED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    8: "CUBLAS_STATUS_ARCH_MISMATCH",
    11: "CUBLAS_STATUS_MAPPING_ERROR",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
}

_pointer, _int = ctypes.c_void_p, ctypes.c_int
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (_pointer,),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    "cublasSetPointerMode_v2": (_pointer, _int),
    # handle, op(A), op(B), m, n, k, alpha; A, its type, lda; B, ...; beta, C, ...; compute type, algorithm
    "cublasGemmEx": (
        *(_pointer, _int, _int, _int, _int, _int, _pointer),
        *(_pointer, _int, _int, _pointer, _int, _int, _pointer, _pointer, _int, _int, _int, _int),
    ),
}
"""What is called, with its arguments; every call returns a status."""


def product(
    xp: Namespace,
    A: Array,
    B: Array,
    out: Array,
    alpha: float = 1.0,
    *,
    tf32: bool = False,
    factors: Array | None = None,
) -> None:
    """out = alpha A B

    A (p, k), B (k, q), out (p, q): each any view with one unit stride, such as W.T or a part of the flat gradient; out
    is no part of A or B. float32 is multiplied in float32, or with `tf32` in its short form; float64 in float64; two
    operands of 16 bits are summed in float32, into out of either. `factors` (2,) are alpha and 0 in float32 on the
    device, read there when the product is computed, each time that a recorded one is.
    """
    if not _unit(out, 0):  # cuBLAS writes columns; out^T = B^T A^T is the same memory, read that way
        A, B, out = B.T, A.T, out.T
    (rows, columns), inner = out.shape, A.shape[1]
    kind = A.dtype.name
    real = ctypes.c_double if kind == "float64" else ctypes.c_float
    one, zero = real(alpha), real(0.0)
    left, right = _operand(A), _operand(B)
    handle = lease(xp).handle
    places = ctypes.addressof(one), ctypes.addressof(zero)
    if factors is not None:
        places = factors.data.ptr, factors.data.ptr + factors.itemsize
        handle.point(DEVICE)
    status = handle.library.cublasGemmEx(
        *(handle.pointer, left[0], right[0], rows, columns, inner, places[0]),
        *(A.data.ptr, TYPES[kind], left[1], B.data.ptr, TYPES[B.dtype.name], right[1], places[1]),
        *(out.data.ptr, TYPES[out.dtype.name], _leading(out), TF32 if tf32 and kind == "float32" else COMPUTE[kind]),
        DEFAULT_ALGORITHM,
    )
    if factors is not None:
        handle.point(HOST)
    if status:
        raise DeviceError(
            f"cuBLAS could not multiply {_words(A)} by {_words(B)} into {_words(out)}: {_said(status)} (cublasGemmEx); "
            "each needs one unit stride"
        )


def _unit(X: Array, axis: int) -> bool:
    """Are the numbers along an axis neighbours? A single one is."""
    return bool(X.shape[axis] == 1 or X.strides[axis] == X.itemsize)


def _leading(X: Array) -> int:
    """From one column to the next; 0, which cuBLAS refuses, where the numbers of a column are no neighbours."""
    rows, columns = X.shape
    if not _unit(X, 0):
        return 0
    return max(1, rows) if columns == 1 else int(X.strides[1] // X.itemsize)


def _operand(X: Array) -> tuple[int, int]:
    """How an operand is to be read, and its leading dimension."""
    return (PLAIN, _leading(X)) if _unit(X, 0) else (TRANSPOSED, _leading(X.T))


def _words(X: Array) -> str:
    return f"{X.dtype.name} {tuple(X.shape)} with strides {tuple(X.strides)}"


def _said(status: int) -> str:
    return STATUS.get(status, f"status {status}")


# handles


class _Handle:
    """A cuBLAS handle of one device with its workspace, on one stream at a time, which it keeps alive."""

    def __init__(self, xp: Namespace) -> None:
        self.library = library(xp)
        self._stream: Any = None
        self.workspace = streams.lasting(xp, WORKSPACE, "uint8")
        made = ctypes.c_void_p()
        _check(self.library.cublasCreate_v2(ctypes.addressof(made)), "cublasCreate")
        self.pointer = made.value

    def bind(self, xp: Namespace, stream: Any) -> None:
        """What the stream before was asked for comes before what this one will be: they use the same workspace."""
        if self._stream is not None:
            event = xp.cuda.Event(disable_timing=True)
            event.record(self._stream)
            stream.wait_event(event)
        self._stream = stream
        _check(self.library.cublasSetStream_v2(self.pointer, stream.ptr), "cublasSetStream")
        # after the stream: to set the stream takes the workspace away again
        status = self.library.cublasSetWorkspace_v2(self.pointer, self.workspace.data.ptr, WORKSPACE)
        _check(status, "cublasSetWorkspace")

    def point(self, mode: int) -> None:
        """Where the products that follow read alpha and beta."""
        _check(self.library.cublasSetPointerMode_v2(self.pointer, mode), "cublasSetPointerMode")


_free: dict[int, list[_Handle]] = {}  # by device


class Lease:
    """A handle on a stream, as long as somebody holds this: the thread, and every graph that was captured with it.

    Then it is free for another stream of its device. No handle is ever destroyed: that waits for the whole device,
    which ends the capture that another thread may be at.
    """

    def __init__(self, xp: Namespace, device: int, stream: Any) -> None:
        self._free = _free.setdefault(device, [])
        try:
            self.handle = self._free.pop()
        except IndexError:
            self.handle = _Handle(xp)
        self.handle.bind(xp, stream)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._free.append(self.handle)


class _Leases(threading.local):
    def __init__(self) -> None:
        self.made: dict[tuple[int, int], Lease] = {}


_leases = _Leases()


def lease(xp: Namespace) -> Lease:
    """The lease of this thread for the current device and stream."""
    stream = xp.cuda.get_current_stream()
    key = (xp.cuda.runtime.getDevice(), stream.ptr)
    found = _leases.made.get(key)
    if found is None:
        found = _leases.made[key] = Lease(xp, key[0], stream)
    return found


def _check(status: int, call: str) -> None:
    if status:
        hint = "; the device is out of memory" if status in (1, 3) else ""
        raise DeviceError(f"cuBLAS could not be set up: {_said(status)} ({call}){hint}")


@cache
def library(xp: Namespace) -> Any:
    """cuBLAS of the CUDA that CuPy was built for. Raises DeviceError, with what is missing, where it is not found."""
    major = int(xp.cuda.runtime.runtimeGetVersion()) // 1000
    names = [f"cublas64_{major}.dll"] if sys.platform == "win32" else [f"libcublas.so.{major}"]
    causes = []
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        names.insert(0, load_nvidia_dynamic_lib("cublas").abs_path or names[0])
    except Exception as error:  # not installed, or it found none: then the system's loader may
        causes.append(str(error))
    for name in names:
        try:
            found = ctypes.CDLL(name)
            for call, arguments in PROTOTYPES.items():
                getattr(found, call).argtypes = arguments
        except (OSError, AttributeError) as error:  # not there, or not cuBLAS
            causes.append(str(error))
            continue
        return found
    raise DeviceError(
        f"cuBLAS for CUDA {major} cannot be loaded ({causes[-1]}); "
        f'install it with: python -m pip install "nvidia-cublas{"" if major >= 13 else f"-cu{major}"}"'
    )
