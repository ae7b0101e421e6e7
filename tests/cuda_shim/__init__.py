"""CUDA source run on the CPU: g++ compiles it behind `shim.h`, and launches go through ctypes.

    saxpy = Module(source).kernel("saxpy")
    saxpy((1,), (32,), [pointer_of_x, np.uint64(32), np.float32(2.0)])

It checks the arithmetic, the indexing, where barriers stand, that accesses are aligned to their size, and the types of
a launch's arguments, which must have the sizes of the kernel's parameters. A warp runs as far as it can before another,
which shows many a missing barrier; races within a warp and between blocks, and how fast anything is, it does not show.
"""

import atexit
import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

HEADER = Path(__file__).parent / "shim.h"
OPTIONS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-w",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",
    "-fno-strict-aliasing",
    "-fsanitize=alignment",
)
MISSING = "CUDA source is run with g++ on x86-64 Linux, and this machine has none"


def compiler() -> str | None:
    there = platform.system() == "Linux" and platform.machine() == "x86_64"
    return shutil.which("g++") if there else None


@cache
def _folder() -> Path:
    """Of what is compiled, for this process."""
    folder = Path(tempfile.mkdtemp(prefix="cuda-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def library(source: str) -> ctypes.CDLL:
    """The source compiled. Every `extern "C" __global__` function gets an entry that a launch can call."""
    names = kernel_names(source)
    entries = "".join(
        f'extern "C" int launch_{name}(void **given, const unsigned *grid, const unsigned *block, int flush) {{\n'
        f"    return shim::run([](void **all) {{ shim::call({name}, all); }}, given, grid, block, flush);\n}}\n"
        f'extern "C" void sizes_{name}(int *out) {{ shim::sizes({name}, out); }}\n'
        for name in names
    )
    path = _folder() / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.so"
    command = [compiler(), *OPTIONS, "-I", str(HEADER.parent), "-x", "c++", "-", "-o", str(path)]
    text = f'#include "{HEADER.name}"\n#line 1 "kernels.cu"\n{source}\n{entries}'
    made = subprocess.run(command, input=text, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(path))


KERNEL = re.compile(r'extern "C" __global__ (?:__launch_bounds__\((\d+)\) )?void (\w+)\(')


def kernel_names(source: str) -> list[str]:
    return [name for _, name in KERNEL.findall(source)]


class Module:
    """A source compiled; subnormals are flushed to zero where it begins with `typedef float T;`, as with -ftz=true."""

    def __init__(self, source: str) -> None:
        self.bounds = {name: int(bound or 256) for bound, name in KERNEL.findall(source)}
        self.library, self.flush = library(source), source.lstrip().startswith("typedef float T;")

    def kernel(self, name: str):
        launch, sizes = getattr(self.library, f"launch_{name}"), (ctypes.c_int * 64)()
        getattr(self.library, f"sizes_{name}")(sizes)
        expected = [size for size in sizes if size]

        def run(grid, block, arguments) -> None:
            """`arguments`: addresses of memory as int, everything else as a NumPy scalar."""
            if np.prod(block) > self.bounds[name]:
                raise RuntimeError(
                    f"{name} may not find the registers for more than {self.bounds[name]} threads a block"
                )
            given = [-8 if type(x) is int else x.dtype.itemsize for x in arguments]
            if given != expected:
                raise TypeError(f"{name} takes parameters of {expected} bytes (pointers negative), got {given}")
            cells = [np.array(x, np.uint64 if type(x) is int else x.dtype) for x in arguments]
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            three = [(ctypes.c_uint * 3)(*shape, *(1,) * (3 - len(shape))) for shape in (grid, block)]
            status = launch(pointers, *three, int(self.flush))
            if status == 1:
                raise RuntimeError(f"some threads of {name} wait at a barrier that others never reach")
            if status == 2:
                raise RuntimeError(f"CUDA_ERROR_MISALIGNED_ADDRESS: {name} reads or writes 16 bytes where none begin")

        return run
