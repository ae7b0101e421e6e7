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
from deepxp.ops.typing import Array, Namespace

WORKSPACE = 32 << 20  # bytes; what NVIDIA's manual of cuBLAS advises for Hopper, and enough for the others
PLAIN, TRANSPOSED = 0, 1  # cublasOperation_t
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT

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
    "cublasDestroy_v2": (_pointer,),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    # handle, op(A), op(B), m, n, k, alpha; A, its type, lda; B, ...; beta, C, ...; compute type, algorithm
    "cublasGemmEx": (
        *(_pointer, _int, _int, _int, _int, _int, _pointer),
        *(_pointer, _int, _int, _pointer, _int, _int, _pointer, _pointer, _int, _int, _int, _int),
    ),
}
"""What is called, with its arguments; every call returns a status."""


def product(xp: Namespace, A: Array, B: Array, out: Array, alpha: float = 1.0, *, tf32: bool = False) -> None:
    """out = alpha A B

    A (p, k), B (k, q), out (p, q): each any view with one unit stride, such as W.T or a part of the flat gradient; out
    is no part of A or B. float32 is multiplied in float32, or with `tf32` in its short form; float64 in float64; two
    operands of 16 bits are summed in float32, into out of either.
    """
    if not _unit(out, 0):  # cuBLAS writes columns; out^T = B^T A^T is the same memory, read that way
        A, B, out = B.T, A.T, out.T
    (rows, columns), inner = out.shape, A.shape[1]
    kind = A.dtype.name
    real = ctypes.c_double if kind == "float64" else ctypes.c_float
    one, zero = real(alpha), real(0.0)
    left, right = _operand(A), _operand(B)
    handle = _handle(xp)
    status = handle.library.cublasGemmEx(
        *(handle.pointer, left[0], right[0], rows, columns, inner, ctypes.addressof(one)),
        *(A.data.ptr, TYPES[kind], left[1], B.data.ptr, TYPES[B.dtype.name], right[1], ctypes.addressof(zero)),
        *(out.data.ptr, TYPES[out.dtype.name], _leading(out), TF32 if tf32 and kind == "float32" else COMPUTE[kind]),
        DEFAULT_ALGORITHM,
    )
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
    """A cuBLAS handle bound to one stream, with its workspace."""

    def __init__(self, xp: Namespace, stream: int) -> None:
        self.library = library(xp)
        self._made = ctypes.c_void_p()
        _check(self.library.cublasCreate_v2(ctypes.addressof(self._made)), "cublasCreate")
        self.pointer = self._made.value
        self.workspace = xp.empty((WORKSPACE,), dtype=xp.uint8)
        _check(self.library.cublasSetStream_v2(self.pointer, stream), "cublasSetStream")
        # after the stream: to set the stream takes the workspace away again
        status = self.library.cublasSetWorkspace_v2(self.pointer, self.workspace.data.ptr, WORKSPACE)
        _check(status, "cublasSetWorkspace")

    def __del__(self) -> None:  # when its thread ends
        if getattr(self, "pointer", None) and not sys.is_finalizing():
            self.library.cublasDestroy_v2(self.pointer)


class _Handles(threading.local):
    def __init__(self) -> None:
        self.made: dict[tuple[int, int], _Handle] = {}


_handles = _Handles()


def _handle(xp: Namespace) -> _Handle:
    """The handle of this thread for the current device and stream."""
    stream = xp.cuda.get_current_stream().ptr
    key = (xp.cuda.runtime.getDevice(), stream)
    handle = _handles.made.get(key)
    if handle is None:
        handle = _handles.made[key] = _Handle(xp, stream)
    return handle


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
