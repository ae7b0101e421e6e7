"""Networks on other array libraries: torch, JAX, or any namespace of the array-API standard.

The layer code is the same: what differs is how memory is had, written and handed over.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from deepxp.dispatch import Backend
from deepxp.errors import ConfigError, DataError, DeviceError
from deepxp.namespaces import adapted

MINE = {"numpy": "cpu", "cupy": "gpu"}  # these have backends of their own


def backend(wanted: str | ModuleType) -> Backend:
    """The backend of 'torch' or 'jax', with a device after a colon in that library's words: 'torch:cuda:1', 'jax:cpu';
    or of a namespace, on its default device.

    Raises DeviceError where the library or the device is not usable here, ConfigError for what is no namespace of
    arrays that can be written.
    """
    name = wanted if isinstance(wanted, str) else wanted.__name__.removeprefix("array_api_compat.").split(".")[0]
    package, _, device = name.partition(":")
    if package in MINE or package == "dask":
        how = f"take backend={MINE[package]!r}" if package in MINE else "compute them, and train on another library"
        raise ConfigError(f"{package} arrays are no backend of this kind: {how}")
    try:
        if package == "jax":
            from deepxp.interop.jax import JaxBackend

            return JaxBackend.named(name, device)
        from deepxp.interop.library import LibraryBackend, TorchBackend

        if package == "torch":
            return TorchBackend.of(name, adapted(import_module("torch").empty(0)), device or None)
        return LibraryBackend.of(name, _namespace(wanted), None)
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"{name!r} needs {error.name}, which is not installed. To fix it: "
            f"python -m pip install {str(error.name).replace('_', '-')}"
        ) from None
    except DataError as error:  # the adapter is missing: the message says so
        raise DeviceError(f"{name!r} is not usable: {error}") from None


def _namespace(xp: Any) -> Any:
    missing = [name for name in ("empty", "asarray", "reshape", "float32", "matmul") if not hasattr(xp, name)]
    if missing:
        raise ConfigError(
            f"{xp.__name__} is no namespace of the array-API standard, it has no {missing[0]}; "
            "take 'torch', 'jax', or such a namespace"
        )
    return xp
