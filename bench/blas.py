"""Who multiplies fastest? The products of a training step by deepxp's own kernel beside those of the OpenBLAS that
NumPy carries, on one thread each, and of any other library with `cblas_sgemm`, in turns in one process:
`OPENBLAS_NUM_THREADS=1 python bench/blas.py [--library libmkl_rt.so.3]`.

For oneMKL: `python -m pip install mkl`, the library's folder on LD_LIBRARY_PATH, and MKL_NUM_THREADS=1.
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
from deepxp.kernels import blas, native, product
from nets import NETS
from tables import table

ROUNDS, SECONDS = 15, 0.1


def called(address, integer):
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
        A = A if l > 1 else np.ascontiguousarray(A.T).T  # a table keeps the numbers of a sample together
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


def own():
    """C = A B by deepxp's kernel; None where this processor has none."""
    shape = product.tile("float32")
    if shape is None:
        return None
    run, kernel = caller(), product.product("float32", shape)

    def multiply(A, B, C):
        strides = [[stride // 4 for stride in X.strides] for X in (A, B)]
        (m, n), k = C.shape, A.shape[1]
        space = np.empty(product.scratch(shape, n, k, rows=strides[1][1] == 1) + 16, np.float32)
        at = [X.ctypes.data for X in (A, B, C, space)]
        words = (at[0], *strides[0], at[1], *strides[1], at[2], n, m, n, k, native.bits(1.0), at[3])
        block = np.array(words, np.int64)
        return lambda: run(kernel.address, block.ctypes.data, space)

    return multiply


def caller():
    """Python's way to a kernel at an address."""
    from numba import njit

    @njit(nogil=True)
    def run(kernel, block, space):
        native.call(kernel, block)

    return run


def seconds(step, calls):
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="blas.py", description=__doc__.split("?")[0] + "?")
    parser.add_argument("--library", help="a library with cblas_sgemm of 32-bit integers")
    given = parser.parse_args(arguments)
    choices = {"deepxp's": own()}
    if blas.product("float32"):
        choices["NumPy's BLAS"] = called(blas.product("float32"), ctypes.c_int64)
    if given.library:
        other = ctypes.cast(ctypes.CDLL(given.library).cblas_sgemm, ctypes.c_void_p).value
        choices[Path(given.library).name] = called(other, ctypes.c_int)
    choices = {name: multiply for name, multiply in choices.items() if multiply}
    if len(choices) < 2:
        print("there is nothing to compare: this processor has no kernel, or this NumPy no OpenBLAS", file=sys.stderr)
        return 1
    rows = []
    for net in NETS:
        steps = [step_of(net, multiply) for multiply in choices.values()]
        calls = [max(1, int(SECONDS / seconds(step, 3))) for step in steps]
        times = [[seconds(step, n) for step, n in zip(steps, calls, strict=True)] for _ in range(ROUNDS)]
        columns = list(zip(*times, strict=True))
        over = [
            median(first / other for first, other in zip(columns[0], column, strict=True)) for column in columns[1:]
        ]
        rows.append([net.name, *(1e3 * median(column) for column in columns), *over])
        print(net.name, flush=True)
    first, *others = choices
    head = [f"{name}, ms" for name in choices] + [f"{first} over {name}" for name in others]
    print(table(["products of", *head], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
