"""Calls in machine code: a kernel is a function of one block of 64-bit words, and a program is a list of such calls.

A word is an address, a size, or the bits of a float64. A program runs with one call from Python and without the
interpreter's lock; it is what a CUDA graph is on the other device.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from deepxp.kernels.blas import ROW_MAJOR
from deepxp.kernels.compile import cached

WORDS = 16  # of a block
WORD = ir.IntType(64)
BLOCK = types.CPointer(types.int64)
REALS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


@intrinsic
def call(typing_context: Any, function: Any, block: Any) -> Any:
    """Call the function at an address with the block at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = WORD.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer])
        target = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(target, [builder.inttoptr(arguments[1], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def as_pointer(typing_context: Any, address: Any, example: Any) -> Any:
    """An address as a pointer to numbers of the example's type."""
    pointer = types.CPointer(example)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, example), code


@intrinsic
def number(typing_context: Any, word: Any) -> Any:
    """The float64 whose bits a word holds."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), code


@intrinsic
def gemm(
    typing_context: Any, address: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, alpha: Any,
    A: Any, lda: Any, B: Any, ldb: Any, C: Any, ldc: Any,
) -> Any:  # fmt: skip
    """C = alpha A B by the cblas function at an address, all row-major"""
    real = REALS[alpha]
    i = types.int64

    def code(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        small, pointer = ir.IntType(32), real.as_pointer()
        kind = ir.FunctionType(
            ir.VoidType(),
            [small, small, small, WORD, WORD, WORD, real, pointer, WORD, pointer, WORD, real, pointer, WORD],
        )
        target = builder.inttoptr(a[0], kind.as_pointer())
        flags = [small(ROW_MAJOR), builder.trunc(a[1], small), builder.trunc(a[2], small)]
        A, B, C = (builder.inttoptr(a[p], pointer) for p in (7, 9, 11))
        builder.call(target, [*flags, a[3], a[4], a[5], a[6], A, a[8], B, a[10], real(0.0), C, a[12]])
        return context.get_dummy_value()

    return types.void(i, i, i, i, i, i, alpha, i, i, i, i, i, i), code


def bits(x: float) -> int:
    """The word for `number`."""
    return int(np.float64(x).view(np.int64))


def kernel(function: Callable[[Any], None], *key: Any) -> Any:
    """A function of a block compiled, and kept on disk under `key`."""
    compiled = cached(CFunc, function, key, sig=((BLOCK,), types.void), locals={}, options={})
    compiled.compile()
    return compiled
