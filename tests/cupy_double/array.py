"""`cupy.ndarray`: a NumPy array that nobody can reach except through what CuPy offers."""

import weakref
from collections.abc import Callable

import numpy as np

from . import cuda, state
from .order import RaceError

UNSIGNED_FILL = 0xA5


class Memory:
    """A block of a device's pool; it goes back when the last array that views it goes."""

    def __init__(self, nbytes: int) -> None:
        self.machine = state.now
        self.written, self.read = None, {}  # by whom: see `order`
        self.pool, self.device_id, self.nbytes = cuda.taken(nbytes)

    def __del__(self) -> None:
        if hasattr(self, "nbytes"):
            self.machine.used[self.device_id] -= self.nbytes


class MemoryPointer:
    def __init__(self, array: "ndarray") -> None:
        self.ptr = array._host.ctypes.data
        self.device_id = array._memory.device_id
        self.device = cuda.Device(self.device_id)
        self.mem = array._memory


class Flags:
    """CuPy's flags: three names, no `writeable`."""

    def __init__(self, host: np.ndarray) -> None:
        self.c_contiguous = host.flags.c_contiguous
        self.f_contiguous = host.flags.f_contiguous
        self.owndata = host.flags.owndata

    def __getitem__(self, name: str) -> bool:
        return {"C_CONTIGUOUS": self.c_contiguous, "F_CONTIGUOUS": self.f_contiguous, "OWNDATA": self.owndata}[name]


def garbage(shape, dtype, order="C") -> np.ndarray:
    """Host memory in which reading before writing shows: NaN, or a large odd number."""
    host = np.empty(shape, dtype, order="F" if order in ("F", "f") else "C")
    if host.dtype.kind in "fc":
        host.fill(np.nan)
    else:
        host.reshape(-1, order="A").view(np.uint8).fill(1 if host.dtype.kind == "b" else UNSIGNED_FILL)
    return host


def own(host: np.ndarray) -> "ndarray":
    """A device array on memory of its own."""
    memory = Memory(host.nbytes)
    memory.start, memory.stop = host.ctypes.data, host.ctypes.data + host.nbytes
    state.now.blocks[id(memory)] = memory
    if memory.pool is not None and cuda.capturing() is not None:
        memory.pool().kept.append(host)  # captured kernels know it by its address
    return wrap(host, memory)


def memory_at(pointer: int) -> Memory:
    """The block that an address lies in."""
    for memory in list(state.now.blocks.values()):
        if memory.start <= pointer < memory.stop:
            return memory
    raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")


def wrap(host: np.ndarray, memory: Memory) -> "ndarray":
    array = object.__new__(ndarray)
    array._host, array._memory = host, memory
    return array


def new(shape, dtype, order="C") -> "ndarray":
    host = garbage(shape, dtype, order)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return own(host)


def upload(values, dtype=None, order="C") -> "ndarray":
    """A host-to-device copy."""
    host = np.asarray(values, dtype)
    if order in (None, "K", "A"):
        order = "F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C"
    cuda.refuse_in_capture("H2D transfers")
    array = new(host.shape, host.dtype, order)
    state.now.counters.host_to_device += 1
    state.now.order.use(cuda.get_current_stream(), [], [array._memory])
    array._host[...] = host
    return array


def is_pinned(host: np.ndarray) -> bool:
    """Is this page-locked memory, or a part of it?"""
    while isinstance(host, np.ndarray):
        host = host.base
    return isinstance(host.obj if isinstance(host, memoryview) else host, cuda.PinnedMemoryPointer)


def operand(value):
    """What a kernel may take: an array of the *current* device, or a scalar.

    The real CuPy tries to let one device read another's memory and warns; machines where that is impossible raise
    this error, and the double is such a machine.
    """
    if isinstance(value, ndarray):
        here = state.now.device
        if value._memory.device_id != here:
            raise ValueError(
                f"The device where the array resides ({value._memory.device_id}) is different from the current "
                f"device ({here}). Peer access is unavailable between these devices."
            )
        state.now.thread.reads.append(weakref.ref(value._memory))
        return value._host
    if isinstance(value, (bool, int, float, complex, np.generic)):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def array_operand(value) -> np.ndarray:
    """As `operand`, where CuPy takes no scalar. Where CuPy lets a NumPy array through and computes with NumPy
    (`cupy.sum`, `max`, `take`, `reshape` ...), the double is stricter: such a call is always a forgotten transfer."""
    if not isinstance(value, ndarray):
        raise TypeError(f"Argument has incorrect type (expected cupy.ndarray, got {type(value)})")
    return operand(value)


def launch(compute: Callable[[], np.ndarray], out: "ndarray | None" = None, casting="same_kind") -> "ndarray":
    """Run a kernel. Its result is C-contiguous whatever the order of the operands, unlike NumPy's; `out` must have the
    result's shape; float32 subnormals are flushed to zero, as CuPy compiles with -ftz=true."""
    machine = state.now
    machine.check_driver()
    for fault in ("nvrtc", "headers"):
        if fault in machine.faults:
            raise RuntimeError(state.FAULTS[fault])
    machine.counters.kernels += 1

    def flushed() -> np.ndarray:
        with np.errstate(all="ignore"):
            result = np.asarray(compute())
            if result.dtype == np.float32:
                result = np.where(np.abs(result) < np.finfo(np.float32).tiny, result * np.float32(0), result)
        return result

    reads = [memory for kept in machine.thread.reads if (memory := kept())]
    machine.thread.reads = []
    result = flushed()
    if out is None:
        out = new(result.shape, result.dtype)
    else:
        if not isinstance(out, ndarray):
            operand(out)
            raise TypeError("Output arguments type must be cupy.ndarray")
        operand(out)
        if result.shape != out.shape and np.broadcast_shapes(result.shape, out.shape) != out.shape:
            raise ValueError("Out shape is mismatched")
        if not np.can_cast(result.dtype, out.dtype, casting):
            raise TypeError(f"Cannot cast output operand from {result.dtype} to {out.dtype} with casting {casting!r}")

    target = out._host  # of the array itself nothing is kept: a captured kernel does not keep memory

    def store(value: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            np.copyto(target, value, casting="unsafe")

    machine.thread.reads = []
    cuda.run(flushed, store, reads, [out._memory], result)
    return out


def download(array: "ndarray", out: np.ndarray | None, order: str, stream, blocking: bool) -> np.ndarray:
    """A device-to-host copy; one that does not block has filled nothing before its stream was waited for."""
    machine = state.now
    machine.check_driver()
    cuda.refuse_in_capture("D2H transfers")
    if out is None:
        if order == "A":
            order = "F" if array._host.flags.f_contiguous else "C"
        out = garbage(array.shape, array.dtype, order)
    elif not isinstance(out, np.ndarray):
        raise TypeError("Only numpy.ndarray can be obtained fromcupy.ndarray")
    elif out.dtype != array.dtype:
        raise TypeError(f"{out.dtype} array cannot be obtained from {array.dtype} array")
    elif out.shape != array.shape:
        raise ValueError(f"Shape mismatch. Expected shape: {array.shape}, actual shape: {out.shape}")
    machine.counters.device_to_host += 1
    snapshot = array._host.copy()
    stream = cuda.get_current_stream(array._memory.device_id) if stream is None else stream
    with cuda.Device(array._memory.device_id):
        machine.order.use(stream, [array._memory], [])
    stream._pending.append(lambda: np.copyto(out, snapshot))
    if blocking:
        with cuda.Device(array._memory.device_id):
            stream.synchronize()
    return out


def resolve(array: "ndarray", index):
    """(NumPy index, is it advanced): lists and host arrays are copied to the device, integers of arrays wrap around."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for i, part in enumerate(parts):
        if isinstance(part, ndarray):
            parts[i] = operand(part)
        elif isinstance(part, (list, tuple, np.ndarray, bool, np.bool_)):
            parts[i] = upload(np.asarray(part, np.int32) if np.size(part) == 0 else part)._host

    def width(part) -> int:
        if part is None or part is Ellipsis:
            return 0
        return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1

    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)  # so that NumPy, too, gives a 0-d array and no scalar
    axis, wrapped, advanced = 0, [], False
    for part in parts:
        if part is Ellipsis:
            axis = array.ndim - sum(map(width, parts[len(wrapped) + 1 :]))
        if isinstance(part, np.ndarray):
            advanced = True
            if part.dtype == bool:
                state.now.counters.host_waits += 1  # how many are True decides the shape
                cuda.refuse_in_capture("D2H transfers")
            elif part.dtype.kind in "iu":
                part = part % array.shape[axis] if array.shape[axis] else part
            else:
                raise IndexError(
                    f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})"
                )
        wrapped.append(part)
        axis += width(part)
    return tuple(wrapped), advanced


class ndarray:
    """No subclass of `numpy.ndarray`, no attributes of one's own, and no way to the host but `.get()` and its like."""

    __module__ = "cupy"  # by which a caller knows whose array it is
    __slots__ = ("_host", "_memory")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the double has no raw memory")
        made = new(shape, dtype, order)
        self._host, self._memory = made._host, made._memory

    # what it looks like

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host))
    data = property(MemoryPointer)
    device = property(lambda self: cuda.Device(self._memory.device_id))
    T = property(lambda self: self._view(self._host.T))

    @property
    def mT(self):
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return self._view(self._host.mT)

    @property
    def __cuda_array_interface__(self):
        host = self._host
        return {
            "shape": host.shape,
            "typestr": host.dtype.str,
            "descr": host.dtype.descr,
            "data": (host.ctypes.data, False),
            "strides": None if host.flags.c_contiguous else host.strides,
            "version": 3,
            "stream": 1,
        }

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # the ways to the host, and those that are closed

    def get(self, stream=None, order="C", out=None, blocking=True):
        return download(self, out, order, stream, blocking)

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._host.flags.c_contiguous or self._host.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        cuda.refuse_in_capture("H2D transfers")
        stamp = state.now.order.use(stream or cuda.get_current_stream(), [], [self._memory])
        if stream is not None and is_pinned(arr):
            state.now.counters.sent_ahead += 1
            before = state.now.uploads.get(arr.ctypes.data)
            if before is not None and not state.now.order.host.knows(before):
                raise RaceError("page-locked memory is used again, and nobody waited for the copy that left it")
            state.now.uploads[arr.ctypes.data] = stamp
        else:
            state.now.counters.host_to_device += 1
        self._host[...] = arr

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        if self.size == 1:
            return bool(self.get())
        raise ValueError("The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()")

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, format_spec):
        return format(self.get(), format_spec)

    def __reduce__(self):
        return upload, (self.get(),)

    def __array__(self, dtype=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __dlpack_device__(self):
        return 2, self._memory.device_id  # kDLCUDA

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if dl_device is not None and tuple(dl_device) == (1, 0):
            return self.get().__dlpack__()
        raise BufferError("unsupported device requested.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        from . import functions

        function = getattr(functions, ufunc.__name__, None)
        if method != "__call__" or function is None:
            return NotImplemented
        known = (bool, int, float, complex, np.generic, np.ndarray, ndarray)
        if not all(isinstance(x, known) for x in (*inputs, *kwargs.get("out", ()))):
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return function(*inputs, **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        from . import functions

        function = getattr(functions, func.__name__, None)
        if function is None or function is func or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return function(*args, **kwargs)

    # views and copies

    def _view(self, host):
        """An array on the same memory; no kernel runs, so the current device does not matter."""
        return wrap(host, self._memory)

    def _view_or_copy(self, make):
        made = make(self._host)
        if self.size == 0 or np.may_share_memory(made, self._host):
            return self._view(made)
        operand(self)
        return launch(lambda: make(self._host))

    def __getitem__(self, slices):
        index, advanced = resolve(self, slices)
        if not advanced:
            return self._view(self._host[index])
        host = operand(self)
        return launch(lambda: host[index])

    def __setitem__(self, slices, value):
        index, advanced = resolve(self, slices)
        if isinstance(value, ndarray):
            operand(value)
        elif advanced:
            value = upload(value, self.dtype)
        elif np.shape(value) == ():
            value = np.asarray(value, self.dtype)[()]
        else:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        host = operand(self)
        source = value._host if isinstance(value, ndarray) else value
        if advanced:
            cuda.refuse_in_capture("scatters (in the double)")
            state.now.counters.kernels += 1
            state.now.order.use(cuda.get_current_stream(), [], [self._memory])
            host[index] = source
        else:
            target = self._view(host[index])
            launch(lambda: np.broadcast_to(source, target.shape), target, casting="unsafe")

    def fill(self, value):
        self[...] = value

    def reshape(self, *shape, order="C", copy=None):
        shape = shape[0] if len(shape) == 1 and np.iterable(shape[0]) else shape
        return self._view_or_copy(lambda host: host.reshape(shape, order=order))

    def ravel(self, order="C"):
        return self._view_or_copy(lambda host: host.ravel(order))

    def flatten(self, order="C"):
        return self.ravel(order).copy()

    def squeeze(self, axis=None):
        return self._view(self._host.squeeze(axis))

    def transpose(self, *axes):
        return self._view(self._host.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return self._view(self._host.swapaxes(axis1, axis2))

    def view(self, dtype=None, type=None):
        return self._view(self._host.view(*(() if dtype is None else (dtype,))))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None:
            raise TypeError("casting is not supported yet")
        if subok is not None:
            raise TypeError("subok is not supported yet")
        if not copy and self.dtype == np.dtype(dtype):
            return self
        made = new(self.shape, dtype, self._order(order))
        made[...] = self
        return made

    def copy(self, order="C"):
        made = new(self.shape, self.dtype, self._order(order))
        host = self._host  # a copy may come from another device, and then waits for both
        if self._memory.device_id != state.now.device and self._memory.written is not None:
            state.now.order.now(cuda.get_current_stream())[1].learn(dict([self._memory.written]))
        return launch(lambda: host, made)

    __copy__ = copy

    def __deepcopy__(self, memo):
        return self.copy()

    def _order(self, order):
        flags = self._host.flags
        return ("F" if flags.f_contiguous and not flags.c_contiguous else "C") if order in ("K", "A") else order

    def take(self, indices, axis=None, out=None):
        if not isinstance(indices, ndarray) and not np.isscalar(indices):
            indices = upload(indices, int)
        host, at = operand(self), operand(indices)
        if out is not None and out.dtype != self.dtype:
            raise TypeError("Output dtype mismatch")
        length = self.size if axis is None else self.shape[axis]
        if out is not None and out.shape != host.take(np.zeros(np.shape(at), int), axis).shape:
            raise ValueError("Output shape mismatch")
        if length == 0 and np.size(at):
            raise IndexError("cannot do a non-empty take from an empty axes.")
        return launch(lambda: host.take(at, axis, mode="wrap"), out)

    # reductions: the result stays on the device

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return self._reduce(np.sum, axis, out, keepdims, dtype=dtype)

    def prod(self, axis=None, dtype=None, out=None, keepdims=None):
        return self._reduce(np.prod, axis, out, bool(keepdims), dtype=dtype)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        return self._reduce(np.mean, axis, out, keepdims, dtype=dtype)

    def max(self, axis=None, out=None, keepdims=False):
        return self._reduce(np.max, axis, out, keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return self._reduce(np.min, axis, out, keepdims)

    def all(self, axis=None, out=None, keepdims=False):
        return self._reduce(np.all, axis, out, keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return self._reduce(np.any, axis, out, keepdims)

    def argmax(self, axis=None, out=None, dtype=None, keepdims=False):
        return self._reduce(np.argmax, axis, out, keepdims)

    def argmin(self, axis=None, out=None, dtype=None, keepdims=False):
        return self._reduce(np.argmin, axis, out, keepdims)

    def var(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return self._reduce(np.var, axis, out, keepdims, dtype=dtype, ddof=ddof)

    def std(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return self._reduce(np.std, axis, out, keepdims, dtype=dtype, ddof=ddof)

    def _reduce(self, reduction, axis, out, keepdims, **kwargs):
        host = operand(self)
        return launch(lambda: reduction(host, axis=axis, keepdims=keepdims, **kwargs), out)

    # operators

    def __matmul__(self, other):
        from . import functions

        return functions.matmul(self, other)

    def __rmatmul__(self, other):
        from . import functions

        return functions.matmul(other, self)


def _operators() -> None:
    from . import functions

    def bind(name: str, function: str, reflected: bool, in_place: bool) -> None:
        def binary(self, other):
            return self._binary(getattr(functions, function), other, False)

        def swapped(self, other):
            return self._binary(getattr(functions, function), other, True)

        def assign(self, other):
            return getattr(functions, function)(self, other, out=self)

        setattr(ndarray, f"__{name}__", binary)
        if reflected:
            setattr(ndarray, f"__r{name}__", swapped)
        if in_place:
            setattr(ndarray, f"__i{name}__", assign)

    def _binary(self, function, other, swap):
        known = (bool, int, float, complex, np.generic, np.ndarray, ndarray)
        if not isinstance(other, known):
            return NotImplemented
        return function(other, self) if swap else function(self, other)

    ndarray._binary = _binary
    arithmetic = {
        "add": "add",
        "sub": "subtract",
        "mul": "multiply",
        "truediv": "divide",
        "floordiv": "floor_divide",
        "mod": "remainder",
        "pow": "power",
        "and": "bitwise_and",
        "or": "bitwise_or",
        "xor": "bitwise_xor",
        "lshift": "left_shift",
        "rshift": "right_shift",
    }
    for name, function in arithmetic.items():
        bind(name, function, True, True)
    for name, function in {
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
        "eq": "equal",
        "ne": "not_equal",
    }.items():
        bind(name, function, False, False)
    ndarray.__hash__ = None
    for name, function in {"neg": "negative", "abs": "absolute", "invert": "invert", "pos": "positive"}.items():
        setattr(ndarray, f"__{name}__", lambda self, f=function: getattr(functions, f)(self))
