"""The products of the GPU path: which flags and leading dimensions make cuBLAS, which thinks in columns, multiply any
strided view. They run through ctypes into a double of the library that computes on raw memory as BLAS defines it."""

import importlib
import itertools
import threading

import numpy as np
import pytest
from cupy_double import install
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from deepxp.errors import DeviceError
from deepxp.kernels import cublas

SIZES = [(1, 1, 1), (1, 5, 3), (5, 1, 3), (5, 3, 1), (2, 3, 4), (7, 1, 1), (1, 1, 7), (17, 5, 33)]
LAYOUTS = ["rows", "columns", "part of rows", "part of columns", "transposed view", "view of a vector"]


FIND = cublas.library  # the double puts its own in the place of this


@pytest.fixture
def machine(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def cp(machine):
    return importlib.import_module("cupy")


def laid_out(values, layout, cp):
    """A device array of these values in one of the layouts in which a step meets its operands."""
    p, q = values.shape
    if layout == "rows":
        whole = cp.empty((p, q), values.dtype)
        view = whole
    elif layout == "columns":
        view = cp.empty((p, q), values.dtype, order="F")
    elif layout == "part of rows":
        view = cp.empty((p + 2, q + 3), values.dtype)[1 : p + 1, 2 : q + 2]
    elif layout == "part of columns":
        view = cp.empty((p + 2, q + 3), values.dtype, order="F")[1 : p + 1, 2 : q + 2]
    elif layout == "transposed view":
        view = cp.empty((q, p), values.dtype).T
    else:
        view = cp.empty((p * q + 5,), values.dtype)[3 : 3 + p * q].reshape(p, q)
    view[...] = cp.asarray(values)
    return view


@pytest.mark.parametrize("layouts", [*itertools.product(LAYOUTS, repeat=3)], ids="-".join)
def test_any_views_with_one_unit_stride_are_multiplied_where_they_lie(machine, cp, layouts):
    rng = np.random.default_rng(0)
    for p, k, q in SIZES:
        A, B, out = (rng.standard_normal(shape).astype(np.float32) for shape in ((p, k), (k, q), (p, q)))
        a, b, c = (laid_out(X, layout, cp) for X, layout in zip((A, B, out), layouts, strict=True))
        cublas.product(cp, a, b, c, 0.25)
        before = machine.counters.allocations
        cublas.product(cp, a, b, c, 0.25)
        assert machine.counters.allocations == before  # no copy and no temporary
        assert_allclose(c.get(), 0.25 * (A @ B), rtol=1e-5, atol=1e-6)
        assert_array_equal(a.get(), A)
        assert_array_equal(b.get(), B)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_beside_the_result_is_written(data):
    number = st.integers(1, 6)
    p, k, q, before, after = (data.draw(number) for _ in range(5))
    layouts = [data.draw(st.sampled_from(LAYOUTS[:5])) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        cp = importlib.import_module("cupy")
        rng = np.random.default_rng(data.draw(st.integers(0, 9)))
        A, B = rng.standard_normal((p, k)), rng.standard_normal((k, q))
        around = cp.full((p + before + after, q + before + after), 7.0)
        if data.draw(st.booleans()):
            around = cp.full((q + before + after, p + before + after), 7.0).T
        out = around[before : before + p, after : after + q]
        cublas.product(cp, laid_out(A, layouts[0], cp), laid_out(B, layouts[1], cp), out)
        assert_allclose(out.get(), A @ B, rtol=1e-12, atol=1e-12)
        whole = around.get()
        whole[before : before + p, after : after + q] = 7.0
        assert_array_equal(whole, 7.0)


def test_the_gradient_of_a_layer_lands_in_its_place_of_the_flat_vector(machine, cp):
    rng = np.random.default_rng(1)
    dZ, A_prev = rng.standard_normal((5, 9)).astype(np.float32), rng.standard_normal((9, 4)).astype(np.float32)
    g = cp.full((50,), 3.0, dtype=np.float32)
    dW = g[10:30].reshape(5, 4)
    cublas.product(cp, cp.asarray(dZ), cp.asarray(A_prev).T.T, dW, 1 / 9)
    assert_allclose(dW.get(), dZ @ A_prev / 9, rtol=1e-5, atol=1e-6)
    assert_array_equal(g.get()[[*range(10), *range(30, 50)]], 3.0)


# precision


def test_float64_stays_float64(machine, cp):
    rng = np.random.default_rng(2)
    A, B = rng.standard_normal((6, 40)), rng.standard_normal((40, 3))
    for tf32 in (False, True):
        out = cp.empty((6, 3))
        cublas.product(cp, cp.asarray(A), cp.asarray(B), out, 1 / 3, tf32=tf32)
        assert_allclose(out.get(), A @ B / 3, rtol=1e-13)


def test_float32_is_multiplied_in_float32_unless_the_short_form_is_asked_for(machine, cp):
    A, B = np.full((1, 1), 1 + 2.0**-12, np.float32), np.ones((1, 1), np.float32)
    out = cp.empty((1, 1), np.float32)
    cublas.product(cp, cp.asarray(A), cp.asarray(B), out)
    assert float(out[0, 0]) == 1 + 2.0**-12
    cublas.product(cp, cp.asarray(A), cp.asarray(B), out, tf32=True)
    assert float(out[0, 0]) == 1.0


def test_sixteen_bits_are_summed_in_float32(machine, cp):
    A, B = np.ones((1, 4096), np.float16), np.ones((4096, 1), np.float16)
    for dtype in (np.float32, np.float16):
        out = cp.empty((1, 1), dtype)
        cublas.product(cp, cp.asarray(A), cp.asarray(B), out)
        assert float(out[0, 0]) == 4096.0  # a sum in float16 ends at 2048


# handles, streams, failure


def test_a_handle_has_its_stream_then_its_workspace_and_is_made_once(machine, cp):
    one, stream = cp.ones((2, 2), np.float32), cp.cuda.Stream(non_blocking=True)
    cp.cuda.Stream.null.synchronize()
    for where in (stream, cp.cuda.Stream.null, stream, stream):
        with where:
            cublas.product(cp, one, one, cp.empty((2, 2), np.float32))
    made = machine.cublas.calls
    assert made[:4] == ["cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"]
    assert made.count("cublasCreate_v2") == 2
    assert made.count("cublasGemmEx") == 4
    handles = machine.cublas.handles.values()
    assert {handle.stream for handle in handles} == {stream.ptr, 0}
    places = [handle.workspace for handle in handles]
    assert len(set(places)) == 2 and all(size == 32 << 20 for _, size in places)  # no two streams share one


def test_every_device_and_every_thread_has_its_own_handle(monkeypatch):
    machine = install(monkeypatch, devices=2)
    cp = importlib.import_module("cupy")

    def multiply(device):
        with cp.cuda.Device(device):
            one, out = cp.ones((2, 2)), cp.empty((2, 2))
            cublas.product(cp, one, one, out)
            assert_array_equal(out.get(), 2.0)

    multiply(0)
    multiply(1)
    assert len(machine.cublas.handles) == 2
    assert machine.used[0] >= 32 << 20 and machine.used[1] >= 32 << 20
    thread = threading.Thread(target=multiply, args=(0,))
    thread.start()
    thread.join(30)
    assert machine.cublas.calls.count("cublasCreate_v2") == 3


def test_the_handle_of_a_thread_that_ended_is_bound_again_and_never_destroyed(monkeypatch):
    """To destroy one waits for the device, which ends the capture of another thread, and must be done on its device."""
    machine = install(monkeypatch, devices=2)
    cp = importlib.import_module("cupy")
    streams = []

    def multiply():
        with cp.cuda.Device(1), cp.cuda.Stream(non_blocking=True) as stream:
            one, out = cp.ones((2, 2)), cp.empty((2, 2))
            cublas.product(cp, one, one, out)
            streams.append(stream)

    for _ in range(3):
        thread = threading.Thread(target=multiply)
        thread.start()
        thread.join(30)
        assert cp.cuda.runtime.getDevice() == 0
    (handle,) = machine.cublas.handles.values()
    assert handle.stream == streams[-1].ptr and len({stream.ptr for stream in streams}) == 3
    assert machine.cublas.calls == [
        "cublasCreate_v2",
        *["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"] * 3,
    ]
    with cp.cuda.Device(0):
        cublas.product(cp, cp.ones((2, 2)), cp.ones((2, 2)), cp.empty((2, 2)))
    assert len(machine.cublas.handles) == 2  # that of device 1 is of no use here


def test_a_product_is_captured_with_the_rest(machine, cp):
    with cp.cuda.Stream(non_blocking=True) as stream:
        A, B, out = cp.ones((2, 3), np.float32), cp.ones((3, 2), np.float32), cp.zeros((2, 2), np.float32)
        cublas.product(cp, A, B, out)
        stream.begin_capture()
        cublas.product(cp, A, B, out, 2.0)
        graph = stream.end_capture()
        assert_array_equal(out.get(), 3.0)
        A[...] = 5.0
        graph.launch()
        assert_array_equal(out.get(), 30.0)


def test_factors_on_the_device_are_read_when_the_product_runs(machine, cp):
    with cp.cuda.Stream(non_blocking=True) as stream:
        A, B, out = cp.ones((2, 3), np.float16), cp.ones((3, 2), np.float16), cp.full((2, 2), np.nan, np.float32)
        factors = cp.asarray(np.array([2.0, 0.0], np.float32))
        cublas.product(cp, A, B, out, factors=factors)
        assert_array_equal(out.get(), 6.0)  # what out held is not read
        stream.begin_capture()
        cublas.product(cp, A, B, out, factors=factors)
        graph = stream.end_capture()
        factors[0:1] = 0.5
        graph.launch()
        assert_array_equal(out.get(), 1.5)
        cublas.product(cp, A, B, out, 3.0)  # and the next finds its own on the host again
        assert_array_equal(out.get(), 9.0)


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("cublasSetPointerMode_v2", 7, r"CUBLAS_STATUS_INVALID_VALUE \(cublasSetPointerMode\)"),
        (
            "cublasCreate_v2",
            1,
            r"could not be set up: CUBLAS_STATUS_NOT_INITIALIZED \(cublasCreate\); the device is out",
        ),
        ("cublasSetStream_v2", 1, r"\(cublasSetStream\)"),
        ("cublasSetWorkspace_v2", 7, r"CUBLAS_STATUS_INVALID_VALUE \(cublasSetWorkspace\)"),
        (
            "cublasGemmEx",
            13,
            r"could not multiply float32 \(2, 3\) .* by float32 \(3, 2\) .*CUBLAS_STATUS_EXECUTION_FAIL",
        ),
        ("cublasGemmEx", 99, r"status 99"),
    ],
)
def test_a_call_that_fails_is_one_sentence(machine, cp, call, status, said):
    machine.cublas.fail[call] = status
    factors = cp.ones(2, np.float32) if "Pointer" in call else None
    A, B, out = cp.ones((2, 3), np.float32), cp.ones((3, 2), np.float32), cp.ones((2, 2), np.float32)
    with pytest.raises(DeviceError, match=said) as caught:
        cublas.product(cp, A, B, out, factors=factors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", range(3))
def test_a_view_without_a_unit_stride_is_refused(cp, wrong):
    arrays = [cp.ones((4, 4)) for _ in range(3)]
    arrays[wrong] = cp.ones((8, 8))[::2, ::2]
    with pytest.raises(DeviceError, match=r"INVALID_VALUE.*each needs one unit stride"):
        cublas.product(cp, *arrays)


def test_a_missing_library_is_named(cp, monkeypatch):
    def missing(name, *arguments, **options):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cublas.ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"cuBLAS for CUDA 13 cannot be loaded .*; install it with: python -m pip"):
        FIND.__wrapped__(cp)
