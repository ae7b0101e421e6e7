"""C = alpha A B on one thread, in registers: what a thread of a team does for its part of a product.

The algorithm is the known one (Goto & van de Geijn 2008; Van Zee & van de Geijn 2015): a tile of C stays in registers
while a column of A and a row of B come by for each k. A is read where it lies, and so is B, unless its rows are columns
in memory: then those are turned, a cacheful at a time. The tile and the turning are written as vectors in LLVM's
language; the compiler does the rest.

On an AMD EPYC with AVX-512 the products of a training step take 0.84 to 0.97 of the time of the OpenBLAS in NumPy's
wheel, one thread each (`OPENBLAS_NUM_THREADS=1 python bench/blas.py`). On other processors nothing was measured, and
products go to the BLAS.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from deepxp.kernels import native
from deepxp.kernels.native import REALS, WORD

LONGEST = 256  # of a sum over k that is taken at a time: what it reads of A stays in the first-level cache
ROOM = 2**16  # numbers of B that are copied at a time, for the second-level cache
TYPES = {"float32": types.float32, "float64": types.float64}


class Tile(NamedTuple):
    """rows x (vectors of some lanes) of C: with a row of B they fill the registers, and no more."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Of C."""
        return self.vectors * self.lanes


@cache  # to ask takes a lock of LLVM, which the child of a fork would find held
def tile(dtype: str) -> Tile | None:
    """The tile for this processor; None where nothing was measured."""
    _, processor, features = cpu_target.target_context.codegen().magic_tuple()
    if processor in ("znver4", "znver5") and "+avx512f" in features:
        return Tile(8, 2, 64 // np.dtype(dtype).itemsize)
    return None


def scratch(shape: Tile, n: int, k: int, *, rows: bool) -> int:
    """Numbers that a product needs room for. `rows`: a row of B is a row in memory."""
    depth = -(-k // -(-k // LONGEST) // shape.rows) * shape.rows
    if rows:
        return depth * shape.columns if n % shape.lanes else 0
    return depth * shape.columns * min(max(1, ROOM // depth // shape.columns), -(-n // shape.columns))


@cache
def product(dtype: str, shape: Tile) -> Any:
    """C = alpha A B for A (m, k), B (k, n), C (m, n), with rows of C in memory and one unit stride in A and in B.

    The words are (A, its strides, B, its strides, C, the distance of its rows, m, n, k, alpha, room for `scratch`).
    """
    real, size = np.dtype(dtype).type, np.dtype(dtype).itemsize
    height, width, lanes = shape.rows, shape.columns, shape.lanes
    multiply, turn, move = _tile(TYPES[dtype], shape), _turn(TYPES[dtype], height), _move(TYPES[dtype])

    @njit(inline="always")
    def pack(B: int, rows_b: int, columns_b: int, k: int, n: int, out: int) -> None:
        """A panel: out[p, q] = B[p, q] for p < k and q < n; rows of out are `width`."""
        whole = k // height * height if rows_b == 1 else 0
        for q in range(0, n, height):
            here, there, rest = B + size * q * columns_b, out + size * q, min(height, n - q)
            for p in range(0, whole, height):
                turn(here + size * p, columns_b, rest, there + size * p * width, width)
            for p in range(whole, k):
                for i in range(rest):
                    move(here + size * (p * rows_b + i * columns_b), there + size * (p * width + i))

    def part(words: Any) -> None:
        A, rows_a, columns_a, B, rows_b, columns_b = words[0], words[1], words[2], words[3], words[4], words[5]
        C, rows_c, m, n, k = words[6], words[7], words[8], words[9], words[10]
        alpha, space = real(native.number(words[11])), words[12]
        stacks, sums = (m + height - 1) // height, (k + LONGEST - 1) // LONGEST
        depth = ((k + sums - 1) // sums + height - 1) // height * height
        some = max(1, ROOM // depth // width) * width
        for start in range(0, k, depth):
            length = min(depth, k - start)
            for left in range(0, n, some):
                right = min(n, left + some)
                for j in range(left, right, width):
                    columns, source = min(width, right - j), B + size * (start * rows_b + j * columns_b)
                    if columns_b != 1:
                        pack(source, rows_b, columns_b, length, columns, space + size * (j - left) * length)
                    elif columns % lanes != 0:  # there is one of these, the last, and it has the room for itself
                        pack(source, rows_b, columns_b, length, columns, space)
                for stack in range(stacks):
                    top, bottom = m * stack // stacks, m * (stack + 1) // stacks  # of tiles of almost one height
                    a = A + size * (top * rows_a + start * columns_a)
                    for j in range(left, right, width):
                        c, columns = C + size * (top * rows_c + j), min(width, right - j)
                        b, step = space + size * (j - left) * length, width
                        if columns_b == 1:
                            b, step = (space, width) if columns % lanes else (B + size * (start * rows_b + j), rows_b)
                        multiply(a, rows_a, columns_a, b, step, length, c, rows_c, alpha, start, bottom - top, columns)

    return native.kernel(part, dtype, *shape)


# What is written in LLVM's language. Addresses are words; a vector may stand anywhere.

WORDS, INDEX, BIT = types.int64, ir.IntType(32), ir.IntType(1)


def _constants(numbers: Any, kind: Any) -> Any:
    return ir.Constant(ir.VectorType(kind, len(numbers)), list(numbers))


def _splat(builder: Any, x: Any, lanes: int) -> Any:
    nothing = ir.Constant(ir.VectorType(x.type, lanes), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, x, INDEX(0)), nothing, _constants([0] * lanes, INDEX))


def _load(builder: Any, address: Any, kind: Any, size: int) -> Any:
    x = builder.load(builder.inttoptr(address, kind.as_pointer()))
    x.align = size
    return x


def _store(builder: Any, x: Any, address: Any, size: int) -> None:
    builder.store(x, builder.inttoptr(address, x.type.as_pointer())).align = size


def _tile(real: Any, shape: Tile) -> Any:
    """A tile of C of some rows and columns: a loop over k for each number of rows and of vectors."""
    lanes, number = shape.lanes, REALS[real]
    size, vector, bits = int(real.bitwidth) // 8, ir.VectorType(number, lanes), ir.VectorType(BIT, lanes)
    none = _constants([0.0] * lanes, number)

    @intrinsic
    def multiply(
        typing_context: Any, a: Any, rows_a: Any, columns_a: Any, b: Any, rows_b: Any, k: Any, C: Any, rows_c: Any,
        alpha: Any, more: Any, rows: Any, columns: Any,
    ) -> Any:  # fmt: skip
        """C = alpha a b, or with `more` C + alpha a b"""

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, rows_a, columns_a, b, rows_b, k, C, rows_c, alpha, more, rows, columns = arguments
            next_a, step_a, step_b, step_c = (builder.mul(x, WORD(size)) for x in (rows_a, columns_a, rows_b, rows_c))
            kind = f"v{lanes}f{8 * size}"

            def function(name: str, result: Any, *parameters: Any) -> Any:
                return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, parameters), name)

            fused = function(f"llvm.fma.{kind}", vector, vector, vector, vector)
            load = function(f"llvm.masked.load.{kind}.p0", vector, vector.as_pointer(), INDEX, bits, vector)
            store = function(f"llvm.masked.store.{kind}.p0", ir.VoidType(), vector, vector.as_pointer(), INDEX, bits)
            vectors = builder.udiv(builder.add(columns, WORD(lanes - 1)), WORD(lanes))
            rest = builder.sub(columns, builder.mul(builder.sub(vectors, WORD(1)), WORD(lanes)))  # in the last of them
            here = builder.icmp_signed("<", _constants(range(lanes), WORD), _splat(builder, rest, lanes))
            every = _constants([1] * lanes, BIT)
            old = builder.icmp_signed("!=", more, WORD(0))

            def masked(mask: Any, address: Any) -> Any:
                return builder.call(load, [builder.inttoptr(address, vector.as_pointer()), INDEX(size), mask, none])

            def one(r: int, v: int) -> None:
                tops = [builder.add(a, builder.mul(next_a, WORD(i))) for i in range(r)]
                before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
                builder.branch(loop)
                builder.position_at_end(loop)
                left, at_a, at_b = (builder.phi(WORD) for _ in range(3))
                sums = [[builder.phi(vector) for _ in range(v)] for _ in range(r)]
                row = [_load(builder, builder.add(at_b, WORD(size * lanes * q)), vector, size) for q in range(v)]
                new = []
                for i in range(r):
                    x = _splat(builder, _load(builder, builder.add(tops[i], at_a), number, size), lanes)
                    new.append([builder.call(fused, [x, row[q], sums[i][q]]) for q in range(v)])
                ahead = builder.sub(left, WORD(1))
                for phi, first, then in (
                    (left, k, ahead),
                    (at_a, WORD(0), builder.add(at_a, step_a)),
                    (at_b, b, builder.add(at_b, step_b)),
                    *((sums[i][q], none, new[i][q]) for i in range(r) for q in range(v)),
                ):
                    phi.add_incoming(first, before)
                    phi.add_incoming(then, loop)
                builder.cbranch(builder.icmp_signed(">", ahead, WORD(0)), loop, after)
                builder.position_at_end(after)
                factor = _splat(builder, alpha, lanes)
                for i in range(r):
                    for q in range(v):
                        place = builder.add(C, builder.add(builder.mul(step_c, WORD(i)), WORD(size * lanes * q)))
                        mask = here if q == v - 1 else every
                        so_far = masked(builder.and_(mask, _splat(builder, old, lanes)), place)
                        y = builder.call(fused, [factor, new[i][q], so_far])
                        builder.call(store, [y, builder.inttoptr(place, vector.as_pointer()), INDEX(size), mask])

            end = builder.append_basic_block()
            choice = builder.switch(builder.add(builder.mul(vectors, WORD(shape.rows + 1)), rows), end)
            for v in range(1, shape.vectors + 1):
                for r in range(1, shape.rows + 1):
                    block = builder.append_basic_block()
                    choice.add_case(WORD(v * (shape.rows + 1) + r), block)
                    builder.position_at_end(block)
                    one(r, v)
                    builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[WORDS] * 8, real, *[WORDS] * 3), code

    return multiply


def _turn(real: Any, n: int) -> Any:
    """n x n numbers transposed, n a power of two: rows at a distance become rows of the target. Of the source `count`
    rows are there, the last of which stands for those that are not."""
    size, vector = int(real.bitwidth) // 8, ir.VectorType(REALS[real], n)
    halves = [_constants([x for i in half for x in (i, n + i)], INDEX) for half in (range(n // 2), range(n // 2, n))]

    @intrinsic
    def turn(typing_context: Any, source: Any, apart: Any, count: Any, target: Any, wide: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, apart, count, target, wide = arguments
            rows = []
            for i in range(n):
                last = builder.sub(count, WORD(1))
                there = builder.select(builder.icmp_signed("<", WORD(i), count), WORD(i), last)
                step = builder.mul(builder.mul(apart, there), WORD(size))
                rows.append(_load(builder, builder.add(source, step), vector, size))
            for _ in range(n.bit_length() - 1):  # every round interleaves the first half with the second
                pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
                rows = [builder.shuffle_vector(x, y, half) for x, y in pairs for half in halves]
            for i in range(n):
                _store(builder, rows[i], builder.add(target, builder.mul(wide, WORD(size * i))), size)
            return context.get_dummy_value()

        return types.void(*[WORDS] * 5), code

    return turn


def _move(real: Any) -> Any:
    """A number from one address to another."""
    size = int(real.bitwidth) // 8

    @intrinsic
    def move(typing_context: Any, source: Any, target: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _store(builder, _load(builder, arguments[0], REALS[real], size), arguments[1], size)
            return context.get_dummy_value()

        return types.void(WORDS, WORDS), code

    return move
