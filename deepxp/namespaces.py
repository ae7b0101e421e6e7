"""Whose array is it? Namespaces inferred from arrays, and arrays of other libraries taken in without a copy."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from deepxp.errors import DataError, MixedDevicesError
from deepxp.ops.typing import Array, Namespace

DLPACK_CPU = 1  # kDLCPU of dlpack.h


def library(array: Array) -> str:
    """The top-level package of an array's class: 'numpy' (of a subclass, too), 'cupy', 'torch', 'jaxlib' ..."""
    if isinstance(array, np.ndarray | np.generic):
        return "numpy"
    return type(array).__module__.partition(".")[0]


def is_array(x: object) -> bool:
    """Anything that exchanges memory by DLPack or names its own namespace; a list, a table or a number does neither."""
    return (hasattr(x, "__dlpack__") or hasattr(x, "__array_namespace__")) and not isinstance(x, np.generic)


def device_name(array: Array) -> str:
    """'cpu', 'gpu:N', or what the library calls the device of an array."""
    if isinstance(array, np.ndarray | np.generic):
        return "cpu"
    device = getattr(array, "device", None)
    if library(array) == "cupy":
        return f"gpu:{device.id if device is not None else 0}"
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
    found = [x for x in arrays if is_array(x)]
    if not found or any(isinstance(x, list | tuple) for x in arrays):
        raise DataError(
            f"expected arrays, got {', '.join(type(x).__name__ for x in arrays) or 'nothing'}; "
            "make one first, e.g. numpy.asarray(x)"
        )
    first = found[0]
    for other in found[1:]:
        if library(other) != library(first) or device_name(other) != device_name(first):
            raise MixedDevicesError(
                f"the arrays of one call must share a library and a device: got a {describe(first)} and a "
                f"{describe(other)}; move one of them, e.g. with deepxp.backend(...).asarray(x) or deepxp.asnumpy(x)"
            )
    if isinstance(first, np.ndarray | np.generic):
        return np
    if library(first) == "cupy":  # CuPy's arrays have no __array_namespace__
        return sys.modules["cupy"]
    if hasattr(first, "__array_namespace__"):
        return first.__array_namespace__()
    try:
        return import_module("array_api_compat").array_namespace(first)
    except ImportError:
        raise DataError(
            f"a {describe(first)} names no array namespace of its own; install the adapter: "
            "python -m pip install array-api-compat"
        ) from None


def host_array(x: Any) -> Array:
    """x as a NumPy array; the memory of a CPU array of another library is shared by DLPack, not copied.

    Raises MixedDevicesError for an array that lives on another device.
    """
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack_device__"):
        if x.__dlpack_device__()[0] != DLPACK_CPU:
            raise MixedDevicesError(
                f"expected an array on the cpu, got a {describe(x)}; copy it to the host first: deepxp.asnumpy(x)"
            )
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError) as error:  # e.g. a torch tensor that requires a gradient
            raise DataError(f"a {describe(x)} cannot be shared with NumPy: {error}") from error
    return np.asarray(x)


def asnumpy(x: Any) -> Array:
    """x as a NumPy array, copied from its device if it lives on one."""
    if library(x) == "cupy":
        return x.get()
    if hasattr(x, "__dlpack_device__") and not isinstance(x, np.ndarray) and x.__dlpack_device__()[0] != DLPACK_CPU:
        return np.asarray(x.cpu() if hasattr(x, "cpu") else x)
    return host_array(x)
