import array_api_strict as strict
import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.namespaces import describe, device_name, host_array, is_array, library

HOST = strict.Device("CPU_DEVICE")
ELSEWHERE = strict.Device("device1")


# whose array is it


def test_numpy_is_recognised():
    A = np.ones((2, 3))
    assert dx.array_namespace(A, A) is np
    assert (library(A), device_name(A)) == ("numpy", "cpu")
    assert describe(A) == "numpy array of shape (2, 3) on cpu"


def test_subclasses_of_numpy_arrays_are_numpy(tmp_path):
    class Table(np.ndarray):
        pass

    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2, 2))
    assert dx.array_namespace(np.ones(3).view(Table), np.ones(3), mapped) is np


def test_scalars_are_passed_over(monkeypatch):
    install(monkeypatch)
    import cupy

    A = np.ones(3)
    assert dx.array_namespace(A, 0.5, np.float32(0.5), 2, None) is np
    assert dx.array_namespace(0.5, strict.ones(3), np.float64(2)) is strict
    assert dx.array_namespace(cupy.ones(3), np.float32(0.5)) is cupy


def test_another_library_names_its_own():
    assert dx.array_namespace(strict.ones(3), strict.zeros(2)) is strict


def test_jax_names_its_own():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    assert dx.array_namespace(jnp.ones(3)) is jnp
    assert device_name(jnp.ones(3)) == "cpu"


def test_torch_needs_the_adapter_and_the_error_says_so():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    try:
        import array_api_compat
    except ImportError:
        with pytest.raises(dx.DataError, match=r"torch array .* on cpu .*pip install array-api-compat"):
            dx.array_namespace(torch.ones(2, 3))
    else:
        assert array_api_compat.is_torch_namespace(dx.array_namespace(torch.ones(3)))


@pytest.mark.parametrize("arguments", [([1.0, 2.0],), (1.0,), (None, "x"), ()])
def test_no_array_at_all(arguments):
    with pytest.raises(dx.DataError, match=r"expected arrays, got .*numpy\.asarray") as caught:
        dx.array_namespace(*arguments)
    assert ", ".join(type(x).__name__ for x in arguments) in str(caught.value)


def test_a_list_is_no_array():
    assert not is_array([1.0])
    assert is_array(np.ones(1))


# mixed devices


def test_two_libraries_are_both_named():
    with pytest.raises(
        dx.MixedDevicesError, match=r"numpy array of shape \(2,\) on cpu and a array_api_strict array of shape \(3,\)"
    ):
        dx.array_namespace(np.ones(2), strict.ones(3))


def test_two_devices_of_one_library_are_both_named():
    there = strict.ones((3, 4), device=ELSEWHERE)
    with pytest.raises(dx.MixedDevicesError, match=r"\(2,\) on .*CPU_DEVICE.* and .*\(3, 4\) on .*device1"):
        dx.array_namespace(strict.ones(2, device=HOST), there)
    assert dx.array_namespace(there, there) is strict


def test_two_gpus_are_both_named(monkeypatch):
    install(monkeypatch, devices=2)
    import cupy

    zero = cupy.ones((2, 3))
    with cupy.cuda.Device(1):
        one = cupy.ones(4)
    with pytest.raises(dx.MixedDevicesError, match=r"cupy array of shape \(2, 3\) on gpu:0 and .*\(4,\) on gpu:1"):
        dx.array_namespace(zero, one)
    with pytest.raises(dx.MixedDevicesError, match=r"numpy array of shape \(4,\) on cpu and a cupy .* on gpu:0"):
        dx.array_namespace(np.ones(4), zero)


# taken in without a copy


def address(x):
    return x.__array_interface__["data"][0]


def test_a_numpy_array_is_itself():
    A = np.ones(3)
    assert host_array(A) is A
    assert dx.asnumpy(A) is A


def test_torch_memory_is_shared():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.arange(6.0).reshape(2, 3)
    for taken in (host_array(t), dx.asnumpy(t), dx.backend("cpu").asarray(t)):
        assert address(taken) == t.data_ptr()
    t[0, 0] = 9.0
    assert taken[0, 0] == 9.0
    assert address(host_array(t.T)) == t.data_ptr()
    assert host_array(t.T).shape == (3, 2)


def test_jax_memory_is_shared():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    x = jnp.arange(6.0).reshape(2, 3)
    assert address(host_array(x)) == x.unsafe_buffer_pointer()
    assert address(dx.backend("cpu").asarray(x)) == x.unsafe_buffer_pointer()


def test_strict_memory_is_shared():
    x = strict.ones((2, 3))
    assert np.shares_memory(host_array(x), host_array(x))


def test_a_tensor_that_requires_a_gradient():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    t = torch.ones(2, 3, requires_grad=True)
    for take in (host_array, dx.asnumpy, dx.backend("cpu").asarray):
        with pytest.raises(dx.DataError, match=r"torch array of shape \(2, 3\) on cpu .*detach\(\)"):
            take(t)


def test_a_tensor_of_a_type_that_numpy_has_not():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(dx.DataError, match="cannot be shared with NumPy"):
        host_array(torch.ones(3, dtype=torch.bfloat16))


def test_lists_become_arrays():
    assert_array_equal(host_array([[1, 2]]), np.array([[1, 2]]))


def test_asnumpy_brings_an_array_from_its_device(monkeypatch):
    install(monkeypatch)
    import cupy

    assert_array_equal(dx.asnumpy(cupy.arange(3)), np.arange(3))
    with pytest.raises(dx.MixedDevicesError, match=r"expected an array on the cpu, got a cupy array .* gpu:0"):
        host_array(cupy.arange(3))
