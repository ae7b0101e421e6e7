"""`cupy.RawModule`: CUDA source runs on the host, behind the shim of `tests/cuda_shim`, on the memory of the double."""

import threading

import numpy as np
import pytest
from cuda_shim import MISSING, Module, compiler, kernel_names

from . import cuda, state
from .array import ndarray, operand

_one_at_a_time = threading.Lock()  # the shim's threadIdx is a global, and ctypes lets other threads run meanwhile
_modules = {}  # by source: compiled once for all machines that are pretended


class RawModule:
    def __init__(
        self,
        code=None,
        *,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=None,
    ):
        if code is None or path or backend != "nvrtc" or name_expressions:
            raise NotImplementedError("the double compiles plain source")
        self._code = code

    def get_function(self, name):
        if name not in kernel_names(self._code):
            raise RuntimeError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        state.now.check_driver()
        if "nvrtc" in state.now.faults:
            raise RuntimeError(state.FAULTS["nvrtc"])
        if compiler() is None:
            pytest.skip(MISSING)
        if self._code not in _modules:
            _modules[self._code] = Module(self._code)
        return RawKernel(_modules[self._code].kernel(name))


class RawKernel:
    """Takes arrays as addresses, whatever their order, as CuPy does, and numbers of NumPy and Python as what
    they are: an int is 64 bits wide, a float a double."""

    def __init__(self, run):
        self._run = run

    def __call__(self, grid, block, args, *, shared_mem=0):
        if not 0 < np.prod(block) <= 1024 or max(grid[1:], default=1) > 65535 or min(grid) < 1:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        given, memories = [], []
        for x in args:
            host = operand(x)
            if isinstance(x, ndarray):
                memories.append(x._memory)
                given.append(int(host.ctypes.data))
            else:
                given.append(host if isinstance(host, np.generic) else np.asarray(host)[()])
        state.now.counters.kernels += 1
        state.now.thread.reads = []

        def run():
            with _one_at_a_time:
                self._run(grid, block, given)

        cuda.run(run, lambda done: None, [], memories)
