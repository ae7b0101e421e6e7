"""Tables of samples: reading, splitting, scaling, and targets as a loss takes them. Rows are samples, X is (m, n).

A file or the bundled digits becomes a Dataset (`load`, `digits`), a Dataset is cut into parts (`split`), a Scaler
learns the ranges of the features from the training part, and `encode_targets` turns labels into class indices.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepxp.data.bundled import digits
    from deepxp.data.dataset import Dataset
    from deepxp.data.loading import load
    from deepxp.data.readers.options import NO_TARGET
    from deepxp.data.scaling import Scaler
    from deepxp.data.splitting import Parts, split
    from deepxp.data.targets import Targets, encode_targets

__all__ = ["NO_TARGET", "Dataset", "Parts", "Scaler", "Targets", "digits", "encode_targets", "load", "split"]

_HOMES = {
    "bundled": ("digits",),
    "dataset": ("Dataset",),
    "loading": ("load",),
    "readers.options": ("NO_TARGET",),
    "scaling": ("Scaler",),
    "splitting": ("Parts", "split"),
    "targets": ("Targets", "encode_targets"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Each name on first use: who imports deepxp may never read a file, and the readers are slow to import."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"deepxp.data.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
