"""cuBLAS, as far as deepxp calls it: the same C signatures, reached through ctypes, computing on raw memory.

It reads and writes columns through leading dimensions as BLAS defines them, refuses what cuBLAS refuses, forgets the
workspace when the stream is set, and takes part in a capture of its stream.
"""

import ctypes

import numpy as np
from numpy.lib.stride_tricks import as_strided

from deepxp.kernels.cublas import PROTOTYPES

from . import cuda, state
from .array import memory_at

INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 7, 13, 15
DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: np.uint16}
FP32, TF32, FP64 = 68, 77, 70
# (type of A and B, type of C): the compute types that the manual lists
SUPPORTED = {(0, 0): {FP32, TF32}, (1, 1): {FP64}, (2, 2): {FP32}, (2, 0): {FP32}, (14, 14): {FP32}, (14, 0): {FP32}}


class Handle:
    def __init__(self) -> None:
        self.stream, self.workspace, self.on_device = 0, None, False


class Library:
    """What `ctypes.CDLL` gives: functions by name. `fail[name] = status` lets a call fail."""

    def __init__(self) -> None:
        self.handles: dict[int, Handle] = {}
        self.fail: dict[str, int] = {}
        self.calls: list[str] = []
        for name, arguments in PROTOTYPES.items():
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(self._called(name)))

    def _called(self, name):
        function = getattr(self, f"_{name.removeprefix('cublas').removesuffix('_v2')}")

        def call(*arguments):
            self.calls.append(name)
            if "cublas" in state.now.faults:
                return EXECUTION_FAILED
            return self.fail.get(name) or function(*arguments) or 0

        return call

    def _Create(self, out):
        handle = 0x1000 + 16 * len(self.handles)
        self.handles[handle] = Handle()
        ctypes.c_void_p.from_address(out).value = handle

    def _SetStream(self, handle, stream):
        self.handles[handle].stream, self.handles[handle].workspace = stream or 0, None

    def _SetWorkspace(self, handle, pointer, size):
        if pointer % 16:  # CuPy hands out multiples of 512
            return INVALID_VALUE
        self.handles[handle].workspace = (pointer, size)

    def _SetPointerMode(self, handle, mode):
        self.handles[handle].on_device = bool(mode)

    def _GemmEx(self, handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, b, type_b, ldb, beta, c, type_c, ldc,
                compute, algorithm):  # fmt: skip
        stored = ((m, k) if op_a == 0 else (k, m)), ((k, n) if op_b == 0 else (n, k)), (m, n)
        if any(ld < max(1, rows) for ld, (rows, _) in zip((lda, ldb, ldc), stored, strict=True)) or min(m, n, k) < 0:
            return INVALID_VALUE
        if type_a != type_b or compute not in SUPPORTED.get((type_a, type_c), ()):
            return NOT_SUPPORTED
        if cuda.get_current_stream().ptr != self.handles[handle].stream:
            return EXECUTION_FAILED  # real cuBLAS would not notice
        given = (a, type_a, lda), (b, type_b, ldb), (c, type_c, ldc)
        A, B, C = (columns(x, DTYPES[kind], shape, ld) for (x, kind, ld), shape in zip(given, stored, strict=True))
        real = np.float64 if compute == FP64 else np.float32
        scalar = ctypes.c_double if compute == FP64 else ctypes.c_float
        late = self.handles[handle].on_device  # then alpha and beta are read when the product is computed
        known = None if late else [scalar.from_address(pointer).value for pointer in (alpha, beta)]
        state.now.counters.gemms += 1

        def multiplied():
            factor, keep = map(real, known or [scalar.from_address(pointer).value for pointer in (alpha, beta)])
            left, right = (numbers(X, kind, compute) for X, kind in ((A, type_a), (B, type_b)))
            with np.errstate(all="ignore"):
                result = factor * ((left if op_a == 0 else left.T) @ (right if op_b == 0 else right.T))
                return result if keep == 0 else result + keep * C

        workspace, _ = self.handles[handle].workspace
        reads, writes = [memory_at(a), memory_at(b)], [memory_at(c), memory_at(workspace)]
        reads += [memory_at(pointer) for pointer in (alpha, beta) if late]
        cuda.run(multiplied, lambda value: np.copyto(C, value, casting="unsafe"), reads, writes)


def columns(pointer, dtype, shape, ld):
    """The (rows, columns) matrix at an address, column after column."""
    rows, count = shape
    size = np.dtype(dtype).itemsize
    length = ld * (count - 1) + rows
    flat = np.frombuffer((ctypes.c_char * (length * size)).from_address(pointer), dtype)
    return as_strided(flat, shape, (size, ld * size))


def numbers(X, kind, compute):
    """What the arithmetic takes an operand for: tf32 has 10 bits after the point, bfloat16 is half of a float32."""
    if kind == 14:
        return (X.astype(np.uint32) << 16).view(np.float32)
    if compute == TF32:
        bits = np.ascontiguousarray(X).view(np.uint32)
        return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return X.astype(np.float32) if kind == 2 else X
