"""The GPU: the operations as kernels of CUDA source, launched by CuPy on the current stream of the current device.

Elementwise definitions write the body of their kernels (`kernels.expressions`); reductions are written by hand in the
.cu files. A launch allocates nothing after the first one of its kind, waits for nothing, and reads from device memory
what changes from step to step, so that a stream may be captured around it. Arrays are C-contiguous; only targets `Y`
may lie in any order.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from deepxp.kernels import cuda
from deepxp.kernels.cublas import product
from deepxp.kernels.graph import record as record
from deepxp.kernels.streams import lasting
from deepxp.ops import activations, batches, loss_scale, regularization
from deepxp.ops import losses as losses_of
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace
from deepxp.ops.updates import Rule

THREADS = 256  # of a block
MOST_BLOCKS = 4096  # of a loop over a vector; more only means that a thread goes round it more than once
MOST_ROWS = 65535  # of blocks in a grid
PARTIAL_SUMS = 8192  # room for what blocks leave for the next kernel
SUMMANDS = 512  # blocks that share a vector in a sum; a fixed number, so that every device adds in the same order
KEPT = {4: 32, 8: 6}  # numbers of so many bytes that a thread of softmax.cu keeps
CACHED = 256  # rows of 32 columns that are still in the cache of a multiprocessor when they are read again
LONG_ROW = 8192  # numbers that a block may well add up alone


@cache
def _module(xp: Namespace, device: int, source: str) -> Any:
    return xp.RawModule(code=source)


@cache
def _kernel(xp: Namespace, device: int, source: str, name: str) -> Any:
    return _module(xp, device, source).get_function(name)


def _run(xp: Namespace, source: str, name: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any) -> None:
    """Launch; whole numbers become the kernels' Index, the others are what they are."""
    given = tuple(np.uint64(x) if type(x) is int else x for x in arguments)
    _kernel(xp, xp.cuda.get_device_id(), source, name)(grid, block, given)


def _along(size: int, dtype: Any) -> tuple[int, ...]:
    """The grid of a loop over a vector, 16 bytes a thread and turn."""
    return (min(MOST_BLOCKS, max(1, -(-size * dtype.itemsize // (16 * THREADS)))),)


@cache
def _partial_sums(xp: Namespace, device: int, stream: int) -> Array:
    """Where the blocks of a kernel leave sums for the next one; a place for each stream, where they are in order."""
    return lasting(xp, PARTIAL_SUMS, "float64")


def _scratch(xp: Namespace) -> Array:
    return _partial_sums(xp, xp.cuda.get_device_id(), xp.cuda.get_current_stream().ptr)


# dense layers


def dense_forward(xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> None:
    """The product into Z, then bias and activation in one pass over it."""
    product(xp, W, A_prev, Z)
    add_and_activate(xp, b, g, Z, A)


def add_and_activate(xp: Namespace, b: Array, g: Activation, Z: Array, A: Array) -> None:
    """Z = Z + b,  A = g(Z)"""
    between = g if g.elementwise else activations.ACTIVATIONS["identity"]
    source = cuda.activation(between.forward, between.backward, Z.dtype.name)
    _run(xp, source, "bias_activation", _along(Z.size, Z.dtype), (THREADS,), *Z.shape, Z, b, A if g.elementwise else Z)
    if g.forward is activations.softmax:
        _softmax(xp, Z, A)
    elif not g.elementwise:
        A[...] = g.forward(xp, Z)


def activation_backward(xp: Namespace, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> None:
    """g' and the sums of the rows in one pass over dA and what was kept."""
    if not g.elementwise:
        dZ[...] = g.backward(xp, dA, kept)
        g, dA = activations.ACTIVATIONS["identity"], dZ
    n, m = dZ.shape
    source = cuda.activation(g.forward, g.backward, dZ.dtype.name)
    width = 32 if m <= 1024 else THREADS
    block = (width, THREADS // width)
    height = min(MOST_ROWS, -(-n // block[1]))
    parts = max(1, min(SUMMANDS // n, m // LONG_ROW))
    if parts == 1:
        _run(xp, source, "activation_backward", (1, height), block, n, m, dA, kept, dZ, db)
        return
    sums = _scratch(xp)
    _run(xp, source, "activation_backward_parts", (parts, height), block, n, m, dA, kept, dZ, sums)
    _reduce(xp, "mean_of_parts", dZ.dtype, (-(-n // THREADS),), n, m, parts, sums, db)


def weight_gradient(xp: Namespace, dZ: Array, A_prev: Array, dW: Array) -> None:
    """The product straight into the view of the flat gradient, 1/m in it."""
    product(xp, dZ, A_prev.T, dW, 1.0 / dZ.shape[1])


def input_gradient(xp: Namespace, W: Array, dZ: Array, dA_prev: Array) -> None:
    """The product straight into its place."""
    product(xp, W.T, dZ, dA_prev)


# batches


def gather(xp: Namespace, table: Array, rows: Array, out: Array) -> None:
    """One pass from the table into the batch, in its type; out is contiguous. What C has no type for, CuPy takes."""
    row, next = (*(stride // table.itemsize for stride in table.strides), 1)[:2]
    if table.dtype.name not in cuda.TYPES or min(row, next) < 0:
        batches.gather(xp, table, rows, out)
        return
    m, source = out.shape[0], cuda.gather(table.dtype.name, rows.dtype.name, out.dtype.name)
    _run(xp, source, "gather", _along(out.size, out.dtype), (THREADS,), m, out.size // m, table, row, next, rows, out)


# columns: softmax and the losses


def _columns(C: int, m: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(grid, block) for kernels that go down the columns of (C, m): up to 32 columns a block, 1024 threads."""
    width = min(32, 1 << (m - 1).bit_length())
    height = min(1024 // width, max(8, 1 << (C // 8).bit_length()))
    return (-(-m // width),), (width, height)


def _kept(C: int, m: int, itemsize: int) -> int:
    """How many columns a block can have in its registers, each row of them at least 32 bytes; 0 where it is none."""
    widths = [w for w in (32, 16, 8, 4) if w * itemsize >= 32 and w <= m and C * w <= 1024 * KEPT[itemsize]]
    return widths[0] if C > CACHED and widths else 0


def _down(xp: Namespace, name: str, Z: Array, *arguments: Any, parts: int = 1) -> None:
    C, m = Z.shape
    source, (grid, block), sums = cuda.plain("softmax", Z.dtype.name), _columns(C, m), _scratch(xp)
    if parts == 1 and (width := _kept(C, m, Z.itemsize)):
        name, grid, block = f"{name}_kept", (-(-m // width),), (width, 1024 // width)
    if parts > 1:
        _run(xp, source, "softmax_parts", (*grid, parts), block, C, m, Z, sums)
    _run(xp, source, name, (*grid, parts), block, C, m, Z, sums, *arguments)


def _parts(C: int, m: int) -> int:
    """How many blocks share a column: several where it is long and there are few."""
    return max(1, min(32, C // 1024, PARTIAL_SUMS // (2 * m)))


def _softmax(xp: Namespace, Z: Array, A: Array) -> None:
    _down(xp, "softmax", Z, A, parts=_parts(*Z.shape))


def softmax(xp: Namespace, Z: Array) -> Array:
    """Reads Z once where a block can keep its columns, else twice, and writes the result."""
    A = xp.empty(Z.shape, dtype=Z.dtype)
    _softmax(xp, Z, A)
    return A


def softmax_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """The losses and dZ in one kernel, without an array of probabilities."""
    _down(xp, "softmax_targets", Z, *_strided(Y), losses, dZ)


def softmax_cross_entropy_labels(xp: Namespace, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array) -> None:
    """As above; the classes are not read. Labels are int32."""
    _down(xp, "softmax_labels", Z, y, losses, dZ, parts=_parts(*Z.shape))


def _strided(X: Array) -> tuple[Any, ...]:
    return X, *(stride // X.itemsize for stride in X.strides)


def _broadcast(xp: Namespace, op: Callable[..., Any], matrices: dict[str, Array], vectors: dict[str, Array]) -> None:
    """A definition on matrices (n, m) and vectors (m,), in one pass over the matrices."""
    X, given = next(iter(matrices.values())), matrices | vectors
    source = cuda.columns(op, tuple(matrices), tuple(vectors), X.dtype.name)
    order = op.__code__.co_varnames[1 : op.__code__.co_argcount]
    arguments = [x for name in order for x in (_strided(given[name]) if name in matrices else (given[name],))]
    _run(xp, source, "columns", *_columns(*X.shape), *X.shape, *arguments)


def sigmoid_cross_entropy(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """Loss and A - Y in one pass."""
    _broadcast(xp, losses_of.sigmoid_cross_entropy, {"Z": Z, "Y": Y, "dZ": dZ}, {"losses": losses})


def squared_error(xp: Namespace, Z: Array, Y: Array, losses: Array, dZ: Array) -> None:
    """Loss and A - Y in one pass."""
    _broadcast(xp, losses_of.squared_error, {"Z": Z, "Y": Y, "dZ": dZ}, {"losses": losses})


def weigh(xp: Namespace, w: Array, losses: Array, dZ: Array) -> None:
    """In place."""
    _broadcast(xp, losses_of.weigh, {"dZ": dZ}, {"w": w, "losses": losses})


def scale(xp: Namespace, X: Array, shift: Array, factor: Array) -> None:
    """In place."""
    _broadcast(xp, batches.scale, {"X": X}, {"shift": shift, "factor": factor})


def cost(xp: Namespace, losses: Array, J: Array) -> None:
    """The mean in one block, summed in float64."""
    _run(xp, cuda.plain("reductions", J.dtype.name), "mean", (1,), (1024,), losses.size, losses, J)


# vectors: updates, penalty, clipping, dropout


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """The rule in one pass over theta, its gradient and its state.

    `rates` on the device, in theta's precision, are read there whenever the kernel runs; numbers go with the launch.
    """
    _update(xp, rule, theta, g, state, rates)


def update_where(
    xp: Namespace,
    flag: Array,
    rule: Rule,
    theta: Array,
    g: Array,
    state: Sequence[Array],
    rates: Sequence[float],
) -> None:
    """As above; where the flag is 0, the threads go home at once."""
    _update(xp, rule, theta, g, state, rates, flag)


def _update(
    xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float], *gate: Array
) -> None:
    live, real = isinstance(rates, xp.ndarray), theta.dtype.type
    numbers = (rates,) if live else tuple(map(real, rates))
    source = cuda.update(rule, len(state), len(rates), theta.dtype.name, live=live, gated=bool(gate))
    arguments = (theta.size, theta, g, *state, *numbers, *gate)
    _run(xp, source, "elementwise", _along(theta.size, theta.dtype), (THREADS,), *arguments)


def rates_of(xp: Namespace, rates: Callable[..., tuple[float, ...]], lr: Array, t: Array, out: Array) -> None:
    """One thread, in double."""
    _run(xp, cuda.rates(rates, out.dtype.name), "rates", (1,), (1,), lr, t, out)


def l2_gradient(xp: Namespace, w: Array, g: Array, strength: float) -> None:
    """In place."""
    source = cuda.written(regularization.l2_gradient, (("w", "T"), ("g", "T")), ("strength",), g.dtype.name)
    _run(xp, source, "elementwise", _along(g.size, g.dtype), (THREADS,), g.size, w, g, g.dtype.type(strength))


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """In place, or into out."""
    arrays = (("A", "T"), ("bits", "unsigned short"), ("out", "T"))
    source = cuda.written(regularization.dropout, arrays, ("keep",), A.dtype.name)
    grid = _along(A.size, A.dtype)
    _run(xp, source, "elementwise", grid, (THREADS,), A.size, A, bits, out, A.dtype.type(keep))


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """A thread computes 16 numbers; key and counter are read on the device at every run."""
    grid = (min(MOST_BLOCKS, -(-out.size // (16 * THREADS))),)
    _run(xp, cuda.plain("random", "float32"), "dropout_bits", grid, (THREADS,), out.size, key, counter, layer, out)


def _reduce(xp: Namespace, name: str, dtype: Any, grid: tuple[int, ...], *arguments: Any) -> None:
    _run(xp, cuda.plain("reductions", dtype.name), name, grid, (THREADS,), *arguments)


def _squares(xp: Namespace, x: Array) -> tuple[int, Array]:
    """(count, sums): a sum of squares in that many parts."""
    count, sums = min(SUMMANDS, *_along(x.size, x.dtype)), _scratch(xp)
    _reduce(xp, "squares", x.dtype, (count,), x.size, x, sums)
    return count, sums


def l2_penalty(xp: Namespace, w: Array, strength: float, J: Array) -> None:
    """The squares are summed in float64, in an order that is always the same."""
    _reduce(xp, "penalty", w.dtype, (1,), *_squares(xp, w), w.dtype.type(strength), J)


def clip_by_norm(xp: Namespace, g: Array, limit: float) -> None:
    """The norm, as above; g is written only where it is too long."""
    parts = _squares(xp, g)
    _reduce(xp, "clip", g.dtype, _along(g.size, g.dtype), g.size, g, *parts, g.dtype.type(limit))


def all_finite(xp: Namespace, x: Array, flag: Array) -> None:
    """Nobody waits; the flag is written only where it falls."""
    _reduce(xp, "all_finite", x.dtype, _along(x.size, x.dtype), x.size, x, flag)


def remember(xp: Namespace, x: Array, old: Array) -> None:
    """A copy on the stream of the step."""
    _reduce(xp, "remember", x.dtype, _along(x.size, x.dtype), x.size, x, old)


def restore(xp: Namespace, flag: Array, old: Array, x: Array) -> None:
    """Where the flag stands, its threads go home at once."""
    _reduce(xp, "restore", x.dtype, _along(x.size, x.dtype), x.size, flag, old, x)


def rescale(xp: Namespace, fits: Array, J: Array, S: Array, good: Array, t: Array, skipped: Array) -> None:
    """One thread, without a word to the host."""
    arrays = tuple((name, "T") for name in ("fits", "J", "S", "good", "t", "skipped"))
    source = cuda.written(loss_scale.rescale, arrays, (), J.dtype.name)
    _run(xp, source, "elementwise", (1,), (1,), 1, fits, J, S, good, t, skipped)


# 16 bits, for `kernels.precision`


def _round(xp: Namespace, name: str, x: Array, *arguments: Any) -> None:
    _run(xp, cuda.plain("rounding", "float32"), name, _along(x.size, x.dtype), (THREADS,), x.size, x, *arguments)


def to_bfloat16(xp: Namespace, x: Array, bits: Array) -> None:
    """bits (uint16) = x (float32) rounded to bfloat16, in the order of memory"""
    _round(xp, "to_bfloat16", x, bits)


def to_float16(xp: Namespace, x: Array, out: Array) -> None:
    """out (float16) = x (float32), in the order of memory"""
    _round(xp, "to_float16", x, out)


def to_scaled_float16(xp: Namespace, x: Array, S: Array, divisor: float, out: Array, factors: Array) -> None:
    """out = S x as above, and factors = (1 / (S divisor), 0), alpha and beta of the product; S is read on the device"""
    _round(xp, "to_scaled_float16", x, S, x.dtype.type(divisor), out, factors)
