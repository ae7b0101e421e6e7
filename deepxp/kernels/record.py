"""A training step recorded on the CPU: the recursion runs once and leaves a program of native calls behind.

Recording is another way to look operations up. `Recorder[op]` writes down the call instead of making it; a network
whose backend it is then writes down its whole step, in the order of the equations, each call cut into parts for the
threads of a team where it is worth that. What has no native form is written down as a call from Python.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise, zip_longest
from typing import Any, NamedTuple

import numpy as np

from deepxp.kernels import blas, calls, columns, native, product
from deepxp.kernels.compile import precision
from deepxp.kernels.team import Pointers, Program, size
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array
from deepxp.ops.updates import Rule

Kernel = Any
STORED = 2**21  # numbers of a softmax whose exponentials stay in the cache from one pass to the next
NUMBERS, PRODUCTS = 8_000, 60_000  # of a part, in an elementwise loop and multiplied in a product
UNIT = 2.0  # us that either takes
LINE = 64  # bytes of a line of the cache


def record(backend: Any, step: Callable[[Any], None], X: Array) -> "Recording":
    """The step over static memory, ready to be run again and again. X is the part of it that the step only reads."""
    recorder = Recorder(backend, X)
    step(recorder)
    return recorder.finished()


def once(op: str, *arguments: Any) -> bool:
    """An operation by the team, now; False, and nothing done, where it has no native form for these arguments.

    Its program is kept, and the next time made to point to the arrays of that call: writing it anew takes 30 us.
    """
    arrays = [x for x in arguments if isinstance(x, np.ndarray)]
    addresses = [x.ctypes.data for x in arrays]
    kept = op != "update" and all(x.flags.forc for x in arrays)  # rates change; gaps may hold another array
    key = (op, size(), tuple(map(addresses.index, addresses)), *map(_form, arguments)) if kept else None
    ready = _ready.pop(key, None)  # and nobody else has it now
    if ready is None:
        recorder = Recorder(None)
        if not NATIVE[op](recorder, *arguments):
            return False
        recording = recorder.finished()
        programs = [part for part in recording.parts if isinstance(part, Program)]
        ready = recording, [[program.pointers(x) for program in programs] for x in arrays]
    else:
        for pointers, address in zip(ready[1], addresses, strict=True):
            for pointer in pointers:
                pointer.move(address)
    ready[0]()
    if kept:
        if len(_ready) >= KEPT:
            for oldest in list(_ready)[:1]:  # another thread may have it by now
                _ready.pop(oldest, None)
        _ready[key] = ready
    return True


KEPT = 32  # programs for `once`
_ready: dict[Any, tuple["Recording", list[list[Pointers]]]] = {}


def _form(x: Any) -> Any:
    if isinstance(x, Activation):
        return x.forward, x.backward, x.elementwise
    return (x.dtype.char, x.shape, x.strides) if isinstance(x, np.ndarray) else x


class Room(NamedTuple):
    """Stands for the address of memory that belongs to one thread, for the time of a call."""

    part: int


class Recorder:
    """`recorder[op](...)` writes the operation down. Its arrays must stay where they are."""

    def __init__(self, backend: Any, X: Any = None) -> None:
        self._backend, self._X = backend, X
        self._movable = X is not None
        self._calls: list[tuple[Kernel, list[list[Any]]]] = []
        self._owners: list[Any] = []
        self._work = 0.0  # of the calls, in parts that are just worth it
        self._rooms: list[int] = []  # bytes that a call needs, for each part; the next call has the same memory
        self._before: list[Callable[[], None]] = []
        self._parts: list[Callable[[], None]] = []

    def __getitem__(self, op: Callable[..., Any]) -> Callable[..., None]:
        return partial(self._write, op)

    def _write(self, op: Callable[..., Any], *arguments: Any) -> None:
        written = NATIVE.get(op.__name__) if op.__module__.startswith("deepxp.ops.") else None
        if written is None or not written(self, *arguments):
            self._close()
            self._parts.append(_quiet(self._backend, partial(self._backend[op], *arguments)))
            arrays = [x for x in arguments if isinstance(x, np.ndarray)]
            self._movable = self._movable and not any(np.may_share_memory(x, self._X) for x in arrays)

    def add(self, kernel: Kernel, *parts: Sequence[Any]) -> bool:
        """Write down a native call: the words of each of its parts, in which arrays stand for their addresses."""
        arrays = {id(x): x for words in parts for x in words if isinstance(x, np.ndarray)}
        addresses = {key: x.ctypes.data for key, x in arrays.items()}  # 1 us each
        self._owners += arrays.values()
        self._calls.append((kernel, [[addresses.get(id(x), x) for x in words] for words in parts]))
        return True

    def rooms(self, sizes: Sequence[int]) -> list[Room]:
        """Memory of so many bytes for each part of a call."""
        both = zip_longest(self._rooms, (-(-size // LINE) * LINE for size in sizes), fillvalue=0)
        self._rooms = [max(pair) for pair in both]
        return [Room(part) for part in range(len(sizes))]

    def pieces(self, length: int, numbers: int, least: int, unit: int = 1) -> list[tuple[int, int]]:
        """range(length) in as many pieces, up to one a thread, as `numbers` are worth at `least` a piece; pieces start
        at multiples of `unit`."""
        self._work += numbers / least
        count = max(1, min(size(), numbers // least, length // unit))
        bounds = [length * i // count // unit * unit for i in range(count)] + [length]
        return list(pairwise(bounds))

    def before(self, work: Callable[[], None]) -> None:
        """Something to do in Python before every run."""
        self._before.append(work)

    def _close(self) -> None:
        if self._calls:
            memory = np.empty(sum(self._rooms) + LINE, np.uint8)
            first = -(-memory.ctypes.data // LINE) * LINE
            rooms = [first + before for before in accumulate(self._rooms, initial=0)]
            for _, parts in self._calls:
                parts[:] = [[rooms[x.part] if isinstance(x, Room) else x for x in words] for words in parts]
            self._parts.append(Program(self._calls, [memory, *self._owners], self._work * UNIT))
            self._calls, self._owners, self._work, self._rooms = [], [], 0.0, []

    def finished(self) -> "Recording":
        """The recording, to be called."""
        self._close()
        return Recording((*self._before, *self._parts), self._X, movable=self._movable)


class Recording:
    """What was recorded, as a function. Programs can be made to read another table than X; what is called from Python
    cannot, and then the table is copied to where X is."""

    def __init__(self, parts: Sequence[Callable[[], None]], X: Array, *, movable: bool) -> None:
        self.parts, self._X = parts, X
        self._pointers: list[Pointers] = []
        if movable:
            self._own = self._at = X.ctypes.data
            found = [part.pointers(X) for part in parts if isinstance(part, Program)]
            self._pointers = [pointers for pointers in found if pointers.places.size]

    def __call__(self, table: Array | None = None) -> None:
        """Run it on X, or on another table of its shape."""
        if self._pointers:
            at = self._own if table is None else table.ctypes.data
            if at != self._at:
                self._at = 0  # until all are moved: an interrupt may come between two of them
                for pointers in self._pointers:
                    pointers.move(at)
                self._at = at
        elif table is not None:
            np.copyto(self._X, table)
        for part in self.parts:
            part()


def _quiet(backend: Any, work: Callable[[], None]) -> Callable[[], None]:
    def part() -> None:
        with backend.active():
            work()

    return part


def _product(recorder: Recorder, A: Array, B: Array, out: Array, alpha: float = 1.0) -> bool:
    dtype, (m, n), k = precision(out), out.shape, A.shape[1]
    strides = [[stride // out.itemsize for stride in X.strides] for X in (A, B)]
    if not out.flags.c_contiguous or not all(1 in pair for pair in strides):
        return False
    shape = product.tile(dtype)
    if shape is not None and n < shape.lanes:
        shape = None
    if shape is None and not blas.product(dtype):
        return False
    rows, columns = [(0, m)], [(0, n)]  # the longer side is cut: less is read twice
    if m >= n:
        rows = recorder.pieces(m, m * n * k, PRODUCTS, 8)
    else:
        columns = recorder.pieces(n, m * n * k, PRODUCTS, shape.columns if shape else 8)
    blocks = [(A[i0:i1], B[:, j0:j1], out[i0:i1, j0:j1]) for i0, i1 in rows for j0, j1 in columns]
    if shape:
        room = [product.scratch(shape, b.shape[1], k, rows=strides[1][1] == 1) * out.itemsize for _, b, _ in blocks]
        spaces = recorder.rooms(room)
        parts = [
            (a, *strides[0], b, *strides[1], c, n, *c.shape, k, native.bits(alpha), space)
            for (a, b, c), space in zip(blocks, spaces, strict=True)
        ]
        return recorder.add(product.product(dtype, shape), *parts)
    forms = []
    for X, (row, column) in zip((A, B), strides, strict=True):
        order, apart, least = (blas.PLAIN, row, X.shape[1]) if column == 1 else (blas.TRANSPOSED, column, X.shape[0])
        if apart < least and 1 not in X.shape:  # turned around or repeated, which the BLAS cannot say
            return False
        forms.append((order, max(apart, least)))
    (order_a, lda), (order_b, ldb) = forms
    function, alpha = blas.product(dtype), native.bits(alpha)
    parts = [(function, order_a, order_b, *c.shape, k, alpha, a, lda, b, ldb, c, n) for a, b, c in blocks]
    return recorder.add(calls.gemm(dtype), *parts)


def _dense_forward(recorder: Recorder, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array) -> bool:
    if not g.elementwise or not _product(recorder, W, A_prev, Z):
        return False
    n, m = Z.shape
    parts = [(Z[i:j], b[i:j], A[i:j], j - i, m) for i, j in recorder.pieces(n, n * m, NUMBERS)]
    return recorder.add(calls.forward(g.forward, precision(Z), A is not Z), *parts)


def _activation_backward(recorder: Recorder, g: Activation, dA: Array, kept: Array, dZ: Array, db: Array) -> bool:
    if not g.elementwise or dZ is not dA:
        return False
    n, m = dZ.shape
    parts = [(dZ[i:j], kept[i:j], db[i:j], j - i, m) for i, j in recorder.pieces(n, n * m, NUMBERS)]
    return recorder.add(calls.backward(g.backward, precision(dZ)), *parts)


def _weight_gradient(recorder: Recorder, dZ: Array, A_prev: Array, dW: Array) -> bool:
    return _product(recorder, dZ, A_prev.T, dW, 1.0 / dZ.shape[1])


def _input_gradient(recorder: Recorder, W: Array, dZ: Array, dA_prev: Array) -> bool:
    return _product(recorder, W.T, dZ, dA_prev)


def _softmax_cross_entropy_labels(
    recorder: Recorder, Z: Array, y: Array, classes: Array, losses: Array, dZ: Array
) -> bool:
    return _softmax_into(recorder, Z, dZ, y, losses)


def _softmax_into(recorder: Recorder, Z: Array, A: Array, *labelled: Array) -> bool:
    """A = softmax(Z), into memory that is given; or, with y and losses, A = dZ of their loss."""
    (C, m), dtype, labels = Z.shape, precision(Z), bool(labelled)
    y, losses = labelled or (0, 0)
    k = columns.rows_together(C, m)
    pieces = recorder.pieces(C // k, 2 * C * m, NUMBERS)
    if len(pieces) == 1 or columns.is_wide(C, m):
        width, pieces = (
            columns.width_of(C),
            recorder.pieces(m, 2 * C * m, NUMBERS, 16) if columns.is_wide(C, m) else [(0, m)],
        )
        return recorder.add(calls.block(dtype, labels), *[(Z, A, y, losses, C, m, i, j, width) for i, j in pieces])
    store, parts, shape = C * m < STORED, len(pieces), (C // k, k * m)
    states = np.empty((parts, 2, k * m), Z.dtype)
    first, second = calls.first_pass(dtype, store), calls.second_pass(dtype, store, labels)
    recorder.add(first, *[(Z, A, states, p, k * m, i, j) for p, (i, j) in enumerate(pieces)])
    words = [(Z, A, states, parts, p, y, losses, *shape, k, i, j) for p, (i, j) in enumerate(pieces)]
    return recorder.add(second, *words)


def _cost(recorder: Recorder, losses: Array, J: Array) -> bool:
    return recorder.add(calls.mean(precision(losses)), (losses, J, losses.size))


def _update(recorder: Recorder, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: list[float]) -> bool:
    numbers = np.empty(len(rates), theta.dtype)

    largest = float(np.finfo(theta.dtype).max)

    def refresh() -> None:
        if max(rates) <= largest:
            numbers[:] = rates
        else:  # infinity, without a warning
            numbers[:] = [math.inf if rate > largest else rate for rate in rates]

    recorder.before(refresh)
    vectors = (theta, g, *(*state, theta, theta)[:2])
    kernel = calls.updated(rule, len(state), len(rates), precision(theta))
    pieces = recorder.pieces(theta.size, theta.size, NUMBERS, 16)
    return recorder.add(kernel, *[(*(v[i:j] for v in vectors), numbers, j - i) for i, j in pieces])


NATIVE: dict[str, Callable[..., bool]] = {
    function.__name__[1:]: function
    for function in (
        _dense_forward,
        _activation_backward,
        _weight_gradient,
        _input_gradient,
        _softmax_into,
        _softmax_cross_entropy_labels,
        _cost,
        _update,
    )
}
