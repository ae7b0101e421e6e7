"""The matrix product of the BLAS that NumPy carries, as an address that compiled code can call.

Called there, a product may be scaled on the way (1/m in dW) and costs about half of what `numpy.matmul` takes to look
at its arguments. Where no such library is found, there is no address, and products go through NumPy.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # CBLAS_ORDER and CBLAS_TRANSPOSE of cblas.h
SYMBOLS = {"float32": "cblas_sgemm", "float64": "cblas_dgemm"}


@cache
def address(dtype: str) -> int | None:
    """Of cblas_sgemm or cblas_dgemm with 64-bit integers, in the OpenBLAS of NumPy's wheel; None without one."""
    for folder in (Path(np.__file__).parent.parent / "numpy.libs", Path(np.__file__).parent / ".dylibs"):
        for path in sorted(folder.glob("*scipy_openblas64_*")):
            try:
                function = getattr(ctypes.CDLL(str(path)), f"scipy_{SYMBOLS[dtype]}64_")
            except (OSError, AttributeError):
                continue
            return ctypes.cast(function, ctypes.c_void_p).value
    return None
