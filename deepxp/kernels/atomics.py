"""What threads that share memory need, for compiled code: words read and written as one, and a C function called.

A word is 64 bits at an address; every access is sequentially consistent, so all threads see one order of them.
"""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD = ir.IntType(64)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, WORD.as_pointer())


@intrinsic
def load(typing_context: Any, address: Any) -> Any:
    """The word at an address, after everything that was written before it."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(builder, arguments[0]), "seq_cst", align=8)

    return types.int64(types.int64), code


@intrinsic
def exchange(typing_context: Any, address: Any, value: Any) -> Any:
    """Write a word, return what stood there."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("xchg", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def replace(typing_context: Any, address: Any, old: Any, new: Any) -> Any:
    """Write `new` where `old` stands; return what stood there."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pair = builder.cmpxchg(_pointer(builder, arguments[0]), *arguments[1:], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.int64(types.int64, types.int64, types.int64), code


@intrinsic
def add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to a word, return what stood there."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def pause(typing_context: Any) -> Any:
    """Tell the processor that this thread waits."""
    machine = platform.machine().lower()

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if machine in ("x86_64", "amd64"):
            hint = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), hint), [])
        elif machine in ("aarch64", "arm64"):
            hint = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            builder.call(builder.module.declare_intrinsic("llvm.aarch64.hint", (), hint), [ir.IntType(32)(1)])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def call_integer(typing_context: Any, function: Any, argument: Any) -> Any:
    """The C function of an int at an address; its int result."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        small = ir.IntType(32)
        target = builder.inttoptr(arguments[0], ir.FunctionType(small, [small]).as_pointer())
        return builder.sext(builder.call(target, [builder.trunc(arguments[1], small)]), WORD)

    return types.int64(types.int64, types.int64), code
