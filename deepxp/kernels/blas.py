"""The BLAS that NumPy carries, as addresses that compiled code can call.

Called there, a product may be scaled on the way (1/m in dW) and costs about half of what `numpy.matmul` takes to look
at its arguments. Where no such library is found, there is no address, and products go through NumPy.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # CBLAS_ORDER and CBLAS_TRANSPOSE of cblas.h
PRODUCTS = {"float32": "cblas_sgemm", "float64": "cblas_dgemm"}


@cache
def address(name: str) -> int:
    """Of a function of the OpenBLAS in NumPy's wheel, which has 64-bit integers; 0 without one."""
    for folder in (Path(np.__file__).parent.parent / "numpy.libs", Path(np.__file__).parent / ".dylibs"):
        for path in sorted(folder.glob("*scipy_openblas64_*")):
            try:
                function = getattr(ctypes.CDLL(str(path)), f"scipy_{name}64_")
            except (OSError, AttributeError):
                continue
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def product(dtype: str) -> int:
    """The address of cblas_sgemm or cblas_dgemm; 0 without one."""
    return address(PRODUCTS[dtype])


def threads() -> int:
    """On how many threads it computes; 0 where there is none to ask."""
    ask = address("openblas_get_num_threads")
    return ctypes.PYFUNCTYPE(ctypes.c_int)(ask)() if ask else 0
