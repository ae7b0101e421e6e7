"""The shim that runs CUDA source on the host is fed right and wrong kernels."""

import numpy as np
import pytest
from cuda_shim import MISSING, Module, compiler, kernel_names
from cupy_double import install
from numpy.testing import assert_array_equal

pytestmark = pytest.mark.skipif(compiler() is None, reason=MISSING)

SOURCE = r"""
typedef float T;
extern "C" __global__ void places(unsigned *out) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1000 * block + thread;
}
extern "C" __global__ __launch_bounds__(1024) void reversed(float *x) {
    __shared__ float all[1024];
    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void exchanged(double *x, int lanes) {
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], lanes);
}
extern "C" __global__ void stuck(float *x) {
    if (threadIdx.x < 7) __syncthreads();
    x[threadIdx.x] = 1;
}
struct alignas(16) Four { float v[4]; };
extern "C" __global__ void moved(const Four *from, Four *to) { to[threadIdx.x] = from[threadIdx.x]; }
extern "C" __global__ void halved(float *x, float by) { x[threadIdx.x] *= by; }
"""


@pytest.fixture(scope="module")
def module():
    return Module(SOURCE)


def address(x):
    return int(x.ctypes.data)


def test_kernels_are_found_by_name():
    assert kernel_names(SOURCE) == ["places", "reversed", "exchanged", "stuck", "moved", "halved"]


def test_every_thread_of_every_block_runs_once_in_its_place(module):
    out = np.zeros(12 * 30, np.uint32)
    module.kernel("places")((3, 2, 2), (5, 3, 2), [address(out)])
    assert_array_equal(out.reshape(12, 30), 1000 * np.arange(12)[:, None] + np.arange(30))


@pytest.mark.parametrize("threads", [1, 31, 33, 1024])
def test_a_barrier_waits_for_all(module, threads):
    x = np.arange(threads, dtype=np.float32)
    module.kernel("reversed")((1,), (threads,), [address(x)])
    assert_array_equal(x, np.arange(threads)[::-1])


@pytest.mark.parametrize("lanes", [1, 16, 31])
def test_a_shuffle_stays_within_its_warp(module, lanes):
    x = np.arange(96.0)
    module.kernel("exchanged")((1,), (96,), [address(x), np.int32(lanes)])
    assert_array_equal(x, np.arange(96) ^ lanes)


def test_a_barrier_that_some_never_reach_is_an_error_and_the_next_launch_works(module):
    x = np.zeros(32, np.float32)
    with pytest.raises(RuntimeError, match="some threads of stuck wait at a barrier"):
        module.kernel("stuck")((1,), (32,), [address(x)])
    test_a_barrier_waits_for_all(module, 64)


def test_an_access_that_is_not_aligned_to_its_size_is_an_error(module):
    x = np.zeros(24, np.float32)
    start = -(address(x) // 4) % 4
    moved, here, there = module.kernel("moved"), address(x[start:]), address(x[start + 8 :])
    moved((1,), (2,), [here, there])
    for wrong in ([here, there + 4], [here + 8, there]):
        with pytest.raises(RuntimeError, match="CUDA_ERROR_MISALIGNED_ADDRESS: moved"):
            moved((1,), (2,), wrong)
    moved((1,), (2,), [here, there])


def test_more_than_256_threads_need_launch_bounds(module):
    with pytest.raises(RuntimeError, match="registers for more than 256 threads a block"):
        module.kernel("halved")((1,), (257,), [address(np.ones(257, np.float32)), np.float32(0.5)])


def test_arguments_must_have_the_sizes_of_the_parameters(module):
    x, halved = np.ones(4, np.float32), module.kernel("halved")
    halved((1,), (4,), [address(x), np.float32(0.5)])
    assert_array_equal(x, 0.5)
    for wrong in ([address(x), np.float64(0.5)], [address(x)], [np.float32(0.5), address(x)]):
        with pytest.raises(TypeError, match=r"halved takes parameters of \[-8, 4\] bytes"):
            halved((1,), (4,), wrong)


def test_float32_subnormals_are_flushed_and_float64_ones_stay(module):
    x = np.full(4, 2e-38, np.float32)
    module.kernel("halved")((1,), (4,), [address(x), np.float32(0.1)])
    assert_array_equal(x, 0)
    y = np.full(4, 1e-300)
    source = 'typedef double T; extern "C" __global__ void halved(T *x, T by) { x[threadIdx.x] *= by; }'
    Module(source).kernel("halved")((1,), (4,), [address(y), np.float64(1e-10)])
    assert_array_equal(y, 1e-310)
    assert np.float32(2e-38) * np.float32(0.1) > 0  # the processor is as it was


def test_no_c_is_no_kernel():
    with pytest.raises(AssertionError, match="error"):
        Module('extern "C" __global__ void wrong(float *x) { x[0] = nothing; }')


# by way of the double, as CuPy launches


def test_a_launch_takes_device_arrays_and_refuses_what_a_gpu_refuses(monkeypatch):
    machine = install(monkeypatch, devices=2)
    import cupy as cp

    code = cp.RawModule(code=SOURCE)
    halved, x = code.get_function("halved"), cp.asarray(np.ones(4, np.float32))
    with machine.counting() as seen:
        halved((1,), (4,), (x, np.float32(0.5)))
    assert (seen.kernels, seen.host_waits, seen.host_to_device) == (1, 0, 0)
    assert_array_equal(x.get(), 0.5)
    with pytest.raises(TypeError, match="parameters of"):
        halved((1,), (4,), (x, 0.5))  # Python's float is a double
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        halved((1,), (4,), (np.ones(4, np.float32), np.float32(0.5)))
    for grid, block in (((1,), (1025,)), ((1, 65536), (1,)), ((0,), (1,))):
        with pytest.raises(RuntimeError, match="INVALID_VALUE"):
            halved(grid, block, (x, np.float32(0.5)))
    with pytest.raises(RuntimeError, match="NOT_FOUND"):
        code.get_function("quartered")
    with cp.cuda.Device(1), pytest.raises(ValueError, match=r"resides \(0\) is different from the current"):
        halved((1,), (4,), (x, np.float32(0.5)))
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        halved((1,), (4,), (x, np.float32(0.5)))
        graph = stream.end_capture()
    assert_array_equal(x.get(), 0.5)
    graph.launch()
    assert_array_equal(x.get(), 0.25)
