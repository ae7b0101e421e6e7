"""Is another BLAS faster than NumPy's? The products of a training step through `cblas_sgemm` of any library, beside
those of the OpenBLAS that NumPy carries, in turns in one process: `python bench/blas.py --library libmkl_rt.so.3`.

For oneMKL: `python -m pip install mkl`, and the library's folder on LD_LIBRARY_PATH. Threads are what each library
takes from OPENBLAS_NUM_THREADS and MKL_NUM_THREADS.
"""

import argparse
import ctypes
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
from deepxp.kernels import blas
from nets import NETS
from tables import table

ROUNDS, SECONDS = 15, 0.1


def product(address, integer):
    """C = op(A) op(B), row-major, by the cblas_sgemm at an address."""
    real, pointer, small = ctypes.c_float, ctypes.c_void_p, ctypes.c_int
    kind = (small, small, small, integer, integer, integer, real, pointer, integer, pointer, integer, real, pointer)
    call = ctypes.CFUNCTYPE(None, *kind, integer)(address)

    def multiply(A, B, C):
        turned = [not X.flags.c_contiguous for X in (A, B)]
        flags = [blas.TRANSPOSED if t else blas.PLAIN for t in turned]
        leading = [X.shape[0] if t else X.shape[1] for X, t in zip((A, B), turned, strict=True)]
        (m, n), k = C.shape, A.shape[1]
        at = [X.ctypes.data for X in (A, B, C)]
        words = (blas.ROW_MAJOR, *flags, m, n, k, 1.0, at[0], leading[0], at[1], leading[1], 0.0, at[2], n)
        return lambda: call(*words)

    return multiply


def step_of(net, multiply):
    """All products of a training step of a net, W A, dZ A^T and W^T dZ, each checked once."""
    rng, calls = np.random.default_rng(0), []
    for l, (n_prev, n) in enumerate(pairwise(net.sizes), start=1):
        W, A, dZ = (rng.random(shape, np.float32) for shape in ((n, n_prev), (n_prev, net.m), (n, net.m)))
        for left, right in ((W, A), (dZ, A.T), (W.T, dZ))[: 3 if l > 1 else 2]:
            C = np.zeros((left.shape[0], right.shape[1]), np.float32)
            call = multiply(left, right, C)
            call()
            np.testing.assert_allclose(C, left @ right, rtol=1e-4)
            calls.append((call, left, right, C))

    def step():
        for call, *_ in calls:
            call()

    return step


def seconds(step, calls):
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="blas.py", description=__doc__.split(":")[0])
    parser.add_argument("--library", required=True, help="a library with cblas_sgemm of 32-bit integers")
    given = parser.parse_args(arguments)
    if not blas.product("float32"):
        print("this NumPy carries no OpenBLAS of its own to compare with", file=sys.stderr)
        return 1
    other = ctypes.cast(ctypes.CDLL(given.library).cblas_sgemm, ctypes.c_void_p).value
    rows = []
    for net in NETS:
        steps = [
            step_of(net, product(*choice))
            for choice in ((blas.product("float32"), ctypes.c_int64), (other, ctypes.c_int))
        ]
        calls = [max(1, int(SECONDS / seconds(step, 3))) for step in steps]
        times = [[seconds(step, n) for step, n in zip(steps, calls, strict=True)] for _ in range(ROUNDS)]
        own, others = (1e3 * median(column) for column in zip(*times, strict=True))
        rows.append([net.name, own, others, median(theirs / mine for mine, theirs in times)])
        print(net.name, flush=True)
    print(table(["products of", "NumPy's BLAS, ms", f"{Path(given.library).name}, ms", "over NumPy's"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
