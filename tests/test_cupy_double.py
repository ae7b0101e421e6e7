"""The double against the real CuPy: its traits, and that it offers nothing CuPy lacks.

The traits are tested on the double, and on the real CuPy too where there is a GPU to run it on.
"""

import ast
import copy
import importlib
import importlib.util
import inspect
import pickle
import re
import sys
import threading

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_array_equal

from deepxp.devices import devices


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.gpu)])
def cp(request, monkeypatch):
    if request.param == "double":
        install(monkeypatch)
    elif not devices()[1].usable:
        pytest.skip(devices()[1].reason)
    return importlib.import_module("cupy")


@pytest.fixture
def machine(monkeypatch):
    return install(monkeypatch)


# traits, on both


def test_no_implicit_conversion(cp):
    device, host = cp.ones(3, dtype=cp.float32), np.ones(3, np.float32)
    with pytest.raises(TypeError, match=r"Implicit conversion to a NumPy array is not allowed. Please use `.get\(\)`"):
        np.asarray(device)
    for mixed in (
        lambda: device + host,
        lambda: host + device,
        lambda: cp.maximum(device, host),
        lambda: cp.exp(host),
        lambda: np.multiply(host, device),
        lambda: cp.where(device > 0, device, host),
        lambda: cp.add(device, device, out=host),
    ):
        with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy.ndarray'>"):
            mixed()
    numbers = [1.0, 2.0, 3.0]
    for mixed in (lambda: device @ host, lambda: cp.matmul(device, host), lambda: device * numbers):
        with pytest.raises(TypeError):
            mixed()
    with pytest.raises(ValueError, match=r"non-scalar numpy\.ndarray cannot be used for fill"):
        device[...] = host
    assert not isinstance(device, np.ndarray)
    assert not hasattr(device, "__array_namespace__")
    assert not hasattr(device, "__index__")
    assert device.__dlpack_device__() == (2, 0)
    with pytest.raises(TypeError):
        hash(device)
    with pytest.raises(AttributeError):
        device.note = "no attributes of one's own"


def test_numpy_functions_dispatch(cp):
    A = cp.asarray([[1.0, 4.0], [9.0, 16.0]])
    for result in (np.sqrt(A), np.sum(A), np.float64(2.0) * A):
        assert isinstance(result, cp.ndarray)
    assert_array_equal(np.sqrt(A).get(), [[1, 2], [3, 4]])


def test_promotion_is_that_of_numpy_2(cp):
    x = cp.ones(2, dtype=cp.float32)
    assert (x * 2.0).dtype == (2 * x).dtype == (x + True).dtype == cp.float32
    assert (x * np.float64(2.0)).dtype == (x * cp.sqrt(2.0)).dtype == cp.float64
    assert cp.where(x > 0, x, 0.0).dtype == cp.maximum(x, 0.0).dtype == cp.float32
    assert (cp.arange(3) / 2).dtype == cp.float64
    assert cp.result_type(x, 1.0) == cp.float32
    with pytest.raises(TypeError):
        cp.add(x, np.float64(1.0), out=cp.zeros(2, dtype=cp.int32))


def test_indices_wrap(cp):
    x = cp.asarray([10.0, 20.0, 30.0])
    assert_array_equal(cp.take(x, cp.asarray([0, 3, -1, 7]), axis=0).get(), [10, 10, 30, 20])
    assert_array_equal(x[cp.asarray([3, 4])].get(), [10, 20])
    table = cp.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(cp.take_along_axis(table, cp.asarray([[5, 0]]), axis=0).get(), [[3, 2]])
    assert_array_equal(table[cp.asarray([2, 1]), cp.arange(2)].get(), [1, 4])
    x[cp.asarray([4])] = -1.0
    assert_array_equal(x.get(), [10, -1, 30])
    for index in (3, -4):
        with pytest.raises(IndexError):
            x[index]
    with pytest.raises(IndexError):
        x[cp.asarray([0.0])]


def test_reductions_stay_on_the_device(cp):
    A = cp.asarray([[1.0, 2.0], [3.0, 4.0]])
    for result in (A.sum(), A.max(), cp.mean(A), cp.all(A > 0), cp.argmax(A), A[0, 0]):
        assert isinstance(result, cp.ndarray)
        assert result.shape == ()
    assert float(A.sum()) == 10.0
    assert int(cp.argmax(A)) == 3
    assert bool(cp.any(A > 3.5))
    with pytest.raises(ValueError, match="more than one element is ambiguous"):
        bool(A > 0)


def test_views_share_memory_and_copies_do_not(cp):
    A = cp.zeros((2, 3))
    for view in (A.T, A[:, 1:], A[0], A[0, 0], A.reshape(3, 2), A.ravel(), cp.expand_dims(A, axis=0)):
        assert A.data.ptr <= view.data.ptr < A.data.ptr + A.nbytes
    A[1, 2][...] = 5.0
    A.T[0, 1] = 7.0
    assert_array_equal(A.get(), [[0, 0, 0], [7, 0, 5]])
    B = A.T.reshape(6)
    B[...] = 9.0
    assert float(A.max()) == 7.0


def test_results_are_c_contiguous(cp):
    """NumPy keeps the operands' order; CuPy does not, except in astype and the *_like functions."""
    F = cp.zeros((3, 4), order="F")
    assert F.flags.f_contiguous
    assert not F.flags.c_contiguous
    assert (F + F).flags.c_contiguous
    assert cp.exp(F).flags.c_contiguous
    assert F.copy().flags.c_contiguous
    assert F.copy("F").flags.f_contiguous
    assert F.astype(cp.float32).flags.f_contiguous
    assert cp.empty_like(F).flags.f_contiguous
    assert cp.asarray(np.zeros((3, 4), order="F")).flags.f_contiguous


def test_out(cp):
    x, out = cp.asarray([1.0, 4.0]), cp.zeros((2, 2))
    assert cp.sqrt(x, out=out) is out
    assert cp.add(x, x, out[0]) is not None
    assert_array_equal(out.get(), [[2, 8], [1, 2]])
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        cp.sqrt(out, out=x)
    with pytest.raises(TypeError, match="Wrong arguments"):
        cp.sqrt(x, where=x > 0)
    assert_array_equal(x.sum(out=cp.zeros(())).get(), 5.0)
    x += 1.0
    assert_array_equal(x.get(), [2, 5])
    n = cp.arange(2)
    with pytest.raises(TypeError):
        n += 0.5
    n[...] = x  # assignment casts, in-place arithmetic does not
    assert_array_equal(n.get(), [2, 5])


def test_matmul(cp):
    A, B = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    a, b = cp.asarray(A), cp.asarray(B)
    assert_array_equal((a @ b).get(), A @ B)
    assert_array_equal((b.T @ a.T).get(), B.T @ A.T)
    out = cp.zeros((2, 4), dtype=cp.float64, order="F")
    assert cp.matmul(a, b, out=out) is out
    assert_array_equal(out.get(), A @ B)
    cp.matmul(a, a.T, out=(square := cp.zeros((2, 2))))
    cp.matmul(square, square, out=square)  # an operand may be the output
    assert_array_equal(square.get(), (A @ A.T) @ (A @ A.T))
    with pytest.raises(ValueError, match=r"."):
        a @ a
    with pytest.raises(ValueError, match=r"invalid s(ize|hape)"):
        cp.matmul(a, b, out=cp.zeros((3, 3)))  # one of another shape and the same size CuPy takes


def test_subnormals_are_flushed(cp):
    assert float(cp.asarray([1e-30], dtype=cp.float32)[0] * np.float32(1e-10)) == 0.0
    assert float(cp.asarray([1e-300])[0] * 1e-10) != 0.0


def test_no_floating_point_warnings(cp):
    with np.errstate(all="raise"):
        x = cp.asarray([0.0, -1.0])
        assert_array_equal((1.0 / x).get(), [np.inf, -1.0])
        assert_array_equal(cp.isfinite(cp.log(x)).get(), [False, False])


def test_transfers(cp):
    x = cp.empty((2, 3), dtype=cp.float32)
    x.set(np.full((2, 3), 2, np.float32))
    out = np.zeros((2, 3), np.float32)
    assert x.get(out=out) is out
    assert_array_equal(cp.asnumpy(x), out)
    assert cp.asnumpy(out) is out
    with pytest.raises(TypeError, match="float64 array cannot be set to float32 array"):
        x.set(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"Only numpy\.ndarray"):
        x.set([[0.0]])
    with pytest.raises(ValueError, match="Shape mismatch"):
        x.set(np.zeros((3, 2), np.float32))
    with pytest.raises(RuntimeError, match="non-contiguous"):
        cp.zeros((4, 4))[:2, :2].set(np.zeros((2, 2)))
    assert cp.get_array_module(x) is cp
    assert cp.get_array_module(out, 1.0) is np
    for again in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert_array_equal(again.get(), out)
    stream, pinned = (
        cp.cuda.Stream(non_blocking=True),
        importlib.import_module("cupyx").empty_pinned((2, 3), np.float32),
    )
    with stream:
        assert cp.cuda.get_current_stream() == stream
        x.get(out=pinned, blocking=False)
    stream.synchronize()
    assert cp.cuda.get_current_stream() == cp.cuda.Stream.null
    assert_array_equal(pinned, out)


def test_capture(cp):
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        x, y, square = cp.ones(3), cp.zeros(3), cp.ones((2, 2))
        cp.multiply(cp.add(x, 0.0, out=x), 2.0, out=y)  # compile before recording
        stream.begin_capture()
        try:
            cp.add(x, 1.0, out=x)
            cp.multiply(x, 2.0, out=y)
            with pytest.raises(NotImplementedError, match="cuBLAS API during stream capture"):
                cp.matmul(square, square)
            with pytest.raises(RuntimeError, match="capturing"):
                cp.asarray(np.ones(3))
        finally:
            graph = stream.end_capture()
        graph.launch()
        graph.launch()
        stream.synchronize()
    assert_array_equal(y.get(), [6, 6, 6])
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cp.cuda.Stream.null.begin_capture()


# traits that only the double can show


def test_uninitialised_memory_shows(machine):
    import cupy as cp

    assert_array_equal(cp.isnan(cp.empty(3)).get(), True)
    assert abs(int(cp.empty(3, dtype=cp.int64)[0])) > 1000
    out = np.zeros(2)
    stream = cp.cuda.Stream()
    cp.ones(2).get(out=out, stream=stream, blocking=False)
    assert_array_equal(out, 0.0)  # not there before the stream was waited for
    stream.synchronize()
    assert_array_equal(out, 1.0)


def test_counters(machine):
    import cupy as cp

    x = cp.asarray(np.ones((4, 4)))
    with machine.counting() as seen:
        cp.multiply(x, 2.0, out=x)
        x.T[...] = x[0]
    assert (seen.allocations, seen.host_waits, seen.host_to_device, seen.device_to_host) == (0, 0, 0, 0)
    assert seen.kernels == 2
    for wait in (float, bool, repr, str):
        with machine.counting() as seen:
            wait(x[0, 0])
        assert (seen.host_waits, seen.device_to_host) == (1, 1)
    for wait in (x.get, x.tolist, lambda: x[x > 0], lambda: cp.nonzero(x), cp.cuda.Device().synchronize):
        with machine.counting() as seen:
            wait()
        assert seen.host_waits == 1
    for upload in (lambda: cp.asarray([1.0]), lambda: x.set(np.ones((4, 4))), lambda: x[[0, 1]]):
        with machine.counting() as seen:
            upload()
        assert seen.host_to_device == 1


def test_gemm_counters(machine):
    import cupy as cp

    x = cp.ones((4, 4), dtype=cp.float32)
    c, f, d = (cp.empty((4, 4), dtype=t, order=o) for t, o in (("f", "C"), ("f", "F"), ("d", "C")))
    for left, right, out, temporaries, copies in (
        (x, x.T, c, 0, 0),
        (x, x.T, f, 1, 0),  # the result in Fortran order costs a temporary ...
        (x, x.T, f.T, 0, 0),  # ... unless it is asked for transposed
        (x, x, d, 1, 0),
        (x, x, x, 1, 0),
        (x, x[:, :2], c[:, :2], 1, 1),
        (x[:, :2].T, x, c[:2], 0, 1),
        (x[:2], x, c[:2], 0, 0),
    ):
        with machine.counting() as seen:
            cp.matmul(left, right, out=out)
        assert (seen.gemms, seen.gemm_temporaries, seen.gemm_operand_copies) == (1, temporaries, copies)
        assert seen.allocations == temporaries + copies


def test_memory(monkeypatch):
    machine = install(monkeypatch, memory=4096)
    import cupy as cp

    x = cp.zeros(256)
    assert machine.used == {0: 2048}
    assert cp.cuda.Device(0).mem_info == (2048, 4096)
    view = x[::2]
    with pytest.raises(
        MemoryError, match=r"Out of memory allocating 4,096 bytes \(allocated so far: 2,048 bytes\)"
    ) as e:
        cp.zeros(512)
    assert isinstance(e.value, cp.cuda.memory.OutOfMemoryError)
    del x
    assert cp.get_default_memory_pool().used_bytes() == 2048  # the view keeps it
    del view
    assert machine.used == {0: 0}
    assert cp.zeros(1).data.mem.nbytes == 512


def test_two_devices(monkeypatch):
    machine = install(monkeypatch, devices=2)
    import cupy as cp

    x = cp.ones(3)
    with cp.cuda.Device(1) as device:
        assert device.id == cp.cuda.runtime.getDevice() == 1
        y = cp.ones(3)
        stream = cp.cuda.Stream()
        for wrong in (
            lambda: x + y,
            lambda: x + 1.0,
            lambda: x.sum(),
            lambda: x[cp.arange(2)],
            lambda: y.set(x.get()) or x @ y,
        ):
            with pytest.raises(
                ValueError, match=r"where the array resides \(0\) is different from the current device \(1\)"
            ):
                wrong()
        assert x.T[:1].device.id == 0  # a view is no work for a device
        here = cp.asarray(x)  # this copies between devices
        assert here.device.id == 1
        assert_array_equal(x.get(), [1, 1, 1])
    assert (x.device.id, y.device.id, cp.cuda.runtime.getDevice()) == (0, 1, 0)
    assert machine.used == {0: 512, 1: 1024}
    with pytest.raises(RuntimeError, match="belongs to device 1"), stream:
        pass
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidDevice"), cp.cuda.Device(2):
        pass
    seen = []
    with cp.cuda.Device(1):
        thread = threading.Thread(target=lambda: seen.append(cp.cuda.runtime.getDevice()))
        thread.start()
        thread.join()
    assert seen == [0]  # the current device belongs to the thread


def test_it_goes_when_the_test_ends():
    real = sys.modules.get("cupy")
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        assert sys.modules["cupy"] is not real
        with pytest.raises(ImportError):
            importlib.import_module("cupy.random")
    assert sys.modules.get("cupy") is real


# no drift: names and parameters are those of the real CuPy

real_cupy = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")


def parameters(function):
    """[(name, default)] of a Python function, or of a compiled one by the first line of its docstring."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        line = (function.__doc__ or "").split("\n")[0].partition(" ->")[0]
        if not (match := re.fullmatch(r"[\w.]+\((.*)\)", line)):
            return None
        names = re.sub(r"\b[\w.]+ (?=\w+(?:[=,)]|$))", "", match[1])
        arguments = ast.parse(f"def f({names}): pass").body[0].args
        defaults = [ast.unparse(default) for default in arguments.defaults]
        given = ["-"] * (len(arguments.args) - len(defaults)) + defaults
        pairs = [(a.arg, d) for a, d in zip(arguments.args, given, strict=True)]
        pairs += [(arguments.vararg.arg, "-")] if arguments.vararg else []
        pairs += [
            (a.arg, "-" if d is None else ast.unparse(d))
            for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ]
    else:
        pairs = [(p.name, "-" if p.default is p.empty else repr(p.default)) for p in signature.parameters.values()]
    return [pair for pair in pairs if pair[0] != "self"]


def members(of):
    return {name: getattr(of, name) for name in vars(of) if not name.startswith("_")}


@real_cupy
@pytest.mark.parametrize("path", ["", "cuda", "cuda.runtime", "cuda.memory", "linalg"])
def test_offers_nothing_that_cupy_lacks(monkeypatch, path):
    real = importlib.import_module(".".join(filter(None, ("cupy", path))))
    install(monkeypatch)
    double = importlib.import_module(".".join(filter(None, ("cupy", path))))
    assert double is not real
    assert members(double).keys() - set(dir(real)) == set()
    for name, function in members(double).items():
        if inspect.isfunction(function):
            expected = parameters(getattr(real, name))
            if expected is not None:
                assert (name, parameters(function)) == (name, expected)
        elif type(function).__name__ == "ufunc":
            ufunc = getattr(real, name)
            assert type(ufunc).__name__ == "ufunc"
            assert (name, function.nin, function.nout) == (name, ufunc.nin, ufunc.nout)
        elif function is None or isinstance(function, float):
            assert (name, repr(function)) == (name, repr(getattr(real, name)))
        elif isinstance(function, type) and issubclass(function, np.generic):
            assert function is getattr(real, name)


@real_cupy
@pytest.mark.parametrize(
    "path", ["ndarray", "cuda.Device", "cuda.Stream", "cuda.Event", "cuda.Graph", "cuda.MemoryPool"]
)
def test_classes_offer_nothing_that_cupys_lack(monkeypatch, path):
    module, _, name = ("cupy." + path).rpartition(".")
    real = getattr(importlib.import_module(module), name)
    install(monkeypatch)
    double = getattr(importlib.import_module(module), name)
    instance = {"id", "ptr", "is_non_blocking", "device_id"}  # attributes of instances
    assert members(double).keys() - set(dir(real)) - instance == set()
    for key, method in members(double).items():
        if inspect.isfunction(method):
            expected = parameters(getattr(real, key))
            if expected is not None:
                assert (key, parameters(method)) == (key, expected)
    if name == "ndarray":
        special = {key for key in vars(double) if re.fullmatch(r"__\w+__", key)} - {"__module__", "__imatmul__"}
        assert special - set(dir(real)) == set()


@real_cupy
def test_cupyx_and_version(monkeypatch):
    import cupy
    import cupyx

    real, version = {n: parameters(getattr(cupyx, n)) for n in ("empty_pinned", "zeros_pinned")}, cupy.__version__
    machine = install(monkeypatch)
    double = importlib.import_module("cupyx")
    assert {name: parameters(function) for name, function in members(double).items()} == real
    if version.startswith("14."):
        assert machine.version.partition(".")[0] == version.partition(".")[0]


@real_cupy
def test_errors_read_as_cupys(monkeypatch):
    from cupy.cuda import memory, runtime

    install(monkeypatch)
    from cupy_double import state

    for status, text in state.STATUS.items():
        assert str(runtime.CUDARuntimeError(status)) == text
    for arguments in ((4096, 2048), (4096, 2048, 8192)):
        assert str(state.OutOfMemoryError(*arguments)) == str(memory.OutOfMemoryError(*arguments))
