"""`cupy`'s main namespace, as far as an L-layer network asks for it; names and parameters are the real ones (14.2)."""

import numpy as np

from . import cuda, state
from .array import array_operand, launch, ndarray, new, operand, upload

float16, float32, float64, bool, bool_ = np.float16, np.float32, np.float64, np.bool, np.bool_
int8, int16, int32, int64, intp = np.int8, np.int16, np.int32, np.int64, np.intp
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
dtype = np.dtype
newaxis, pi, e, inf, nan = None, np.pi, np.e, np.inf, np.nan
finfo, iinfo, can_cast, isdtype = np.finfo, np.iinfo, np.can_cast, np.isdtype


class ufunc:
    """An elementwise function: `out=` as keyword or position, `dtype=`, `casting=`, and no `where=`."""

    def __init__(self, name):
        self.name = self.__name__ = name
        self._host = getattr(np, name)
        self.nin, self.nout, self.nargs = self._host.nin, self._host.nout, self._host.nargs

    def __repr__(self):
        return f"<ufunc 'cupy_{self.name}'>"

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **kwargs):
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or {self.nargs} "
                f"(with outputs), but given {len(args)}."
            )
        if len(args) > self.nin:
            if out is not None:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            out = args[self.nin]
        if isinstance(out, tuple):
            (out,) = out
        hosts = [operand(x) for x in args[: self.nin]]
        return launch(lambda: self._host(*hosts, dtype=dtype, casting=casting), out, casting)


_UFUNCS = """
    abs absolute add bitwise_and bitwise_or bitwise_xor ceil copysign cos divide equal exp exp2 expm1 floor
    floor_divide greater greater_equal hypot invert isfinite isinf isnan left_shift less less_equal log log10 log1p
    log2 logical_and logical_not logical_or logical_xor maximum minimum multiply negative not_equal positive pow
    power reciprocal remainder right_shift rint sign signbit sin sqrt square subtract tanh true_divide
"""
for _name in _UFUNCS.split():
    globals()[_name] = ufunc(_name)


# creation


def empty(shape, dtype=float, order="C"):
    return new(shape, dtype, order)


def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype, order)


def ones(shape, dtype=float, order="C"):
    return full(shape, 1, dtype, order)


def full(shape, fill_value, dtype=None, order="C"):
    made = new(shape, np.asarray(fill_value).dtype if dtype is None else dtype, order)
    made[...] = fill_value
    return made


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    array_operand(prototype)
    order = prototype._order(order)
    return new(prototype.shape if shape is None else shape, prototype.dtype if dtype is None else dtype, order)


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(a, dtype=None, order="K", subok=None, shape=None):
    return full_like(a, 1, dtype, order, subok, shape)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    made = empty_like(a, dtype, order, subok, shape)
    made[...] = fill_value
    return made


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        wanted = obj.dtype if dtype is None else np.dtype(dtype)
        here = obj._memory.device_id == state.now.device
        laid_out = order in ("K", None) or obj.flags[f"{order}_CONTIGUOUS"]
        if here and wanted == obj.dtype and laid_out and copy is not True:
            made = obj
        else:
            if copy is False:
                raise ValueError("Unable to avoid copy while creating an array as requested.")
            made = obj.copy(obj._order("K" if order is None else order)).astype(wanted, copy=False)
    elif isinstance(obj, (list, tuple)) and {type(x) for x in obj} == {ndarray}:
        made = stack([array(x) for x in obj], dtype=dtype)
    else:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        made = upload(obj, dtype, order)
    return made.reshape((1,) * (ndmin - made.ndim) + made.shape) if ndmin > made.ndim else made


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order, blocking=blocking)


def ascontiguousarray(a, dtype=None):
    array_operand(a)
    return array(a, dtype, None, "C", ndmin=1)


def asfortranarray(a, dtype=None):
    array_operand(a)
    return array(a, dtype, None, "F", ndmin=1)


def arange(start, stop=None, step=1, dtype=None):
    start, stop = (0, start) if stop is None else (start, stop)
    return launch(lambda: np.arange(start, stop, step, dtype))


def eye(N, M=None, k=0, dtype=float, order="C"):
    return launch(lambda: np.eye(N, M, k, dtype))


def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    return launch(lambda: np.linspace(start, stop, num, endpoint, dtype=dtype, axis=axis))


# to the host


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    host = np.asarray(a, order=order)
    if out is None:
        return host
    out[...] = host
    return out


def get_array_module(*args):
    import sys

    return sys.modules["cupy"] if [x for x in args if isinstance(x, ndarray)] else np


# shapes


def reshape(a, newshape, order="C", *, copy=None):
    array_operand(a)
    return a.reshape(newshape, order=order)


def ravel(a, order="C"):
    array_operand(a)
    return a.ravel(order)


def squeeze(a, axis=None):
    array_operand(a)
    return a.squeeze(axis)


def expand_dims(a, axis):
    array_operand(a)
    return a._view(np.expand_dims(a._host, axis))


def transpose(a, axes=None):
    array_operand(a)
    return a._view(a._host.transpose(axes))


def permute_dims(a, axes=None):
    return transpose(a, axes)


def matrix_transpose(x, /):
    array_operand(x)
    return x.mT


def moveaxis(a, source, destination):
    array_operand(a)
    return a._view(np.moveaxis(a._host, source, destination))


def swapaxes(a, axis1, axis2):
    array_operand(a)
    return a.swapaxes(axis1, axis2)


def broadcast_to(array, shape):
    array_operand(array)
    return array._view(np.broadcast_to(array._host, shape))


def flip(a, axis=None):
    array_operand(a)
    return a._view(np.flip(a._host, axis))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    hosts = [array_operand(x) for x in tup]
    return launch(lambda: np.concatenate(hosts, axis, dtype=dtype, casting=casting), out, casting)


def concat(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return concatenate(tup, axis, out, dtype=dtype, casting=casting)


def stack(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    hosts = [array_operand(x) for x in tup]
    return launch(lambda: np.stack(hosts, axis, dtype=dtype, casting=casting), out, casting)


# dtypes


def astype(x, dtype, /, *, copy=True):
    if not isinstance(x, ndarray):
        raise TypeError(f"Input should be a CuPy array. It is a {type(x)} instead.")
    return x.astype(dtype, copy=copy)


def result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


# choosing and finding


def where(condition, x=None, y=None):
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return nonzero(condition)
    hosts = [array_operand(condition).astype(np.bool), operand(x), operand(y)]
    return launch(lambda: np.where(*hosts))


def nonzero(a):
    host = array_operand(a)
    cuda.refuse_in_capture("D2H transfers")
    state.now.counters.host_waits += 1
    return tuple(launch(lambda found=found: found) for found in np.nonzero(host))


def take(a, indices, axis=None, out=None):
    array_operand(a)
    return a.take(indices, axis, out)


def take_along_axis(a, indices, axis):
    host, at = array_operand(a), array_operand(indices)
    if at.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if host.ndim != at.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    return launch(lambda: np.take_along_axis(host, at % host.shape[axis], axis))


def clip(a, a_min, a_max, out=None):
    host = array_operand(a)
    low, high = (x if x is None else operand(x) for x in (a_min, a_max))
    return launch(lambda: np.clip(host, low, high), out)


def sort(a, axis=-1, kind=None):
    host = array_operand(a)
    return launch(lambda: np.sort(host, axis))


def argsort(a, axis=-1, kind=None):
    host = array_operand(a)
    return launch(lambda: np.argsort(host, axis))


def copyto(dst, src, casting="same_kind", where=None):
    if isinstance(src, np.ndarray) and src.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    host = operand(src)
    launch(lambda: np.broadcast_to(host, dst.shape), dst, casting)


# reductions: parameters of the functions are those of the methods


def sum(a, axis=None, dtype=None, out=None, keepdims=False):
    array_operand(a)
    return a.sum(axis, dtype, out, keepdims)


def prod(a, axis=None, dtype=None, out=None, keepdims=False):
    array_operand(a)
    return a.prod(axis, dtype, out, keepdims)


def mean(a, axis=None, dtype=None, out=None, keepdims=False):
    array_operand(a)
    return a.mean(axis, dtype, out, keepdims)


def max(a, axis=None, out=None, keepdims=False):
    array_operand(a)
    return a.max(axis, out, keepdims)


def min(a, axis=None, out=None, keepdims=False):
    array_operand(a)
    return a.min(axis, out, keepdims)


amax, amin = max, min


def all(a, axis=None, out=None, keepdims=False):
    array_operand(a)
    return a.all(axis, out, keepdims)


def any(a, axis=None, out=None, keepdims=False):
    array_operand(a)
    return a.any(axis, out, keepdims)


def argmax(a, axis=None, dtype=None, out=None, keepdims=False):
    array_operand(a)
    return a.argmax(axis, out, dtype, keepdims)


def argmin(a, axis=None, dtype=None, out=None, keepdims=False):
    array_operand(a)
    return a.argmin(axis, out, dtype, keepdims)


def var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    array_operand(a)
    return a.var(axis, dtype, out, ddof, keepdims)


def std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    array_operand(a)
    return a.std(axis, dtype, out, ddof, keepdims)


def cumsum(a, axis=None, dtype=None, out=None):
    host = array_operand(a)
    return launch(lambda: np.cumsum(host, axis, dtype), out)


def count_nonzero(a, axis=None):
    host = array_operand(a)
    return launch(lambda: np.count_nonzero(host, axis))


def array_equal(a1, a2, equal_nan=False):
    one, other = array_operand(a1), array_operand(a2)
    return launch(lambda: np.array_equal(one, other, equal_nan))


def allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):
    one, other = operand(a), operand(b)
    return launch(lambda: np.allclose(one, other, rtol, atol, equal_nan))


# matrix products


def matmul(*args, axes=None, axis=None, keepdims=False, casting="same_kind", dtype=None, signature=None, order="K",
           out=None):  # fmt: skip
    machine = state.now
    if "cublas" in machine.faults:
        raise ImportError(state.FAULTS["cublas"])
    if cuda.capturing() is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    one, other = (array_operand(x) for x in args)
    machine.counters.gemms += 1
    for host in (one, other):
        if not (host.flags.c_contiguous or host.flags.f_contiguous):
            machine.counters.gemm_operand_copies += 1
            new(host.shape, host.dtype)
    if out is not None:
        target = array_operand(out)
        aliased = np.may_share_memory(target, one) or np.may_share_memory(target, other)
        if not target.flags.c_contiguous or target.dtype != np.result_type(one, other) or aliased:
            machine.counters.gemm_temporaries += 1
            new(target.shape, np.result_type(one, other))
        with np.errstate(all="ignore"):
            expected = np.matmul(one, other).shape
        if target.size != np.prod(expected):
            raise ValueError(f"Output operand 0 has invalid shape {target.shape} expected {expected}")
    error = 1 if "wrong" in machine.faults else 0
    shape = np.shape(target) if out is not None else None

    def multiplied():
        result = np.matmul(one, other) + np.asarray(error, one.dtype)
        return result if shape is None else result.reshape(shape)

    return launch(multiplied, out, casting)


def dot(a, b, out=None):
    return matmul(a, b, out=out)


def outer(a, b, out=None):
    one, other = array_operand(a), array_operand(b)
    return launch(lambda: np.outer(one, other), out)


def norm(x, ord=None, axis=None, keepdims=False):
    """`cupy.linalg.norm`; there is no `cupy.linalg.vector_norm`."""
    host = array_operand(x)
    return launch(lambda: np.linalg.norm(host, ord, axis, keepdims))


# kernels of one's own: to come


class _Later:
    def __init__(self, *args, **kwargs):
        raise NotImplementedError("the double runs no CUDA source")


class ElementwiseKernel(_Later):
    pass


class ReductionKernel(_Later):
    pass


class RawKernel(_Later):
    pass


class RawModule(_Later):
    pass


_pinned_pool = cuda.PinnedMemoryPool()


def get_default_memory_pool():
    return cuda.default_pool


def get_default_pinned_memory_pool():
    return _pinned_pool


def is_available():
    return cuda.is_available()


_PRIVATE = {"np", "cuda", "state", "array_operand", "launch", "new", "operand", "upload", "norm"}
__all__ = sorted(name for name in list(globals()) if name.isidentifier() and name[0] != "_" and name not in _PRIVATE)
