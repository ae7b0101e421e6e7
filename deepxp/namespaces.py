"""Whose array is it? Namespaces inferred from arrays, and arrays of other libraries taken in without a copy."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from deepxp.errors import DataError, MixedDevicesError
from deepxp.ops.typing import Array, Namespace

DLPACK_CPU = 1  # kDLCPU of dlpack.h
COMPAT = (1, 16)  # of array-api-compat; before it torch's `maximum` takes no number
UNKNOWN = "a device not yet known"


def library(array: Array) -> str:
    """The top-level package of an array's class: 'numpy' (of a subclass, too), 'cupy', 'torch', 'dask' ...; 'jax' of
    what JAX computes with, an array or a value in a trace."""
    if isinstance(array, np.ndarray | np.generic):
        return "numpy"
    name = type(array).__module__.partition(".")[0]
    return "jax" if name == "jaxlib" or hasattr(array, "__jax_array__") else name


def is_array(x: object) -> bool:
    """Anything that exchanges memory by DLPack or names its own namespace; a list, a table or a number does neither."""
    return (hasattr(x, "__dlpack__") or hasattr(x, "__array_namespace__")) and not isinstance(x, np.generic)


def is_planned(x: object) -> bool:
    """Is it an array of dask: a plan to compute one, to which the definitions add?"""
    return type(x).__module__.startswith("dask.array")


def device_name(array: Array) -> str:
    """'cpu', 'gpu:N', what the library calls the device of an array, or UNKNOWN inside a function that JAX traces."""
    if isinstance(array, np.ndarray | np.generic):
        return "cpu"
    device = getattr(array, "device", None)
    if device is None:
        return "cpu" if is_planned(array) else UNKNOWN
    if library(array) == "cupy":
        return f"gpu:{device.id}"
    text = str(device)
    if text.startswith("cpu"):  # JAX numbers the host, too: cpu:0
        return "cpu"
    return text.replace("cuda", "gpu") if text.startswith("cuda") else text


def describe(array: Array) -> str:
    """What a message calls an array: its library, device and shape."""
    return f"{library(array)} array of shape {tuple(array.shape)} on {device_name(array)}"


def array_namespace(*arrays: Array) -> Namespace:
    """The one namespace of some arrays: numpy, cupy, or that of another array-API library.

    Numbers and None are passed over. Raises MixedDevicesError, naming both, where two arrays are of two libraries or
    devices; DataError where there is no array at all, or a list among them.
    """
    found = [x for x in arrays if is_array(x) or is_planned(x)]
    if not found or any(isinstance(x, list | tuple) for x in arrays):
        raise DataError(
            f"expected arrays, got {', '.join(type(x).__name__ for x in arrays) or 'nothing'}; "
            "make one first, e.g. numpy.asarray(x)"
        )
    # where memory of a network on JAX is among arrays of JAX, its namespace is the one that takes both
    first = next((x for x in found if hasattr(x, "__jax_array__")), found[0])
    for other in found:
        devices = {device_name(first), device_name(other)} - {UNKNOWN}
        if library(other) != library(first) or len(devices) > 1:
            raise MixedDevicesError(
                f"the arrays of one call must share a library and a device: got a {describe(first)} and a "
                f"{describe(other)}; move one of them, e.g. with deepxp.backend(...).asarray(x) or deepxp.asnumpy(x)"
            )
    if isinstance(first, np.ndarray | np.generic):
        return np
    if library(first) == "cupy":  # CuPy's arrays have no __array_namespace__
        return sys.modules["cupy"]
    return first.__array_namespace__() if hasattr(first, "__array_namespace__") else adapted(first)


def adapted(array: Array) -> Namespace:
    """The namespace that array-api-compat gives an array whose library has none, such as torch or dask.

    Raises DataError where that is not installed, too old, or does not know the library.
    """
    try:
        compat = import_module("array_api_compat")
        if tuple(map(int, compat.__version__.split(".")[:2])) >= COMPAT:
            return compat.array_namespace(array)
        reason = f"array-api-compat {compat.__version__} is too old: python -m pip install --upgrade array-api-compat"
    except ImportError:
        reason = "install the adapter: python -m pip install array-api-compat"
    except TypeError:
        reason = "and array-api-compat does not know it; make it one of numpy, e.g. numpy.asarray(x)"
    raise DataError(f"a {describe(array)} names no array namespace of its own; {reason}")


def on_host(x: Any) -> bool:
    """Is the memory of x that of the host? DLPack says so; what does not speak it is no device's."""
    return isinstance(x, np.ndarray) or not hasattr(x, "__dlpack_device__") or x.__dlpack_device__()[0] == DLPACK_CPU


def host_array(x: Any) -> Array:
    """x as a NumPy array; the memory of a CPU array of another library is shared by DLPack, not copied.

    Raises MixedDevicesError for an array that lives on another device.
    """
    if isinstance(x, np.ndarray):
        return x
    if not on_host(x):
        raise MixedDevicesError(
            f"expected an array on the cpu, got a {describe(x)}; copy it to the host first: deepxp.asnumpy(x)"
        )
    if not hasattr(x, "__dlpack_device__"):
        return np.asarray(x)
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError) as error:  # e.g. a torch tensor that requires a gradient
        raise DataError(f"a {describe(x)} cannot be shared with NumPy: {error}") from error


def asnumpy(x: Any) -> Array:
    """x as a NumPy array, copied from its device if it lives on one."""
    if library(x) == "cupy":
        return x.get()
    if not on_host(x):
        return np.asarray(x.cpu() if hasattr(x, "cpu") else x)
    return host_array(x)
