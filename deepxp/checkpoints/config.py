"""What a run must have in common with a saved one to go on from there."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from deepxp.data.scaling import Scaler
from deepxp.errors import ConfigError
from deepxp.namespaces import asnumpy
from deepxp.network import Network
from deepxp.ops.activations import ACTIVATIONS, Activation
from deepxp.ops.typing import Array
from deepxp.optimizers import Constant, Optimizer

CHUNK = 2**23  # numbers of the data that are hashed at a time


def configuration(
    net: Network, optimizer: Optimizer, schedule: Constant, data: Iterable[Array | None], **arguments: Any
) -> dict[str, Any]:
    """All that the bits of a run follow from, as JSON has it: the network, the arguments, a hash of the data."""
    found = {
        "sizes": net.sizes,
        "hidden": [_named(g) for g in net.g[1:-1]],
        "loss": net.loss.name,
        "dtype": net.dtype,
        "precision": net.backend.precision,
        "seed": net.seed,
        "dropout": net.dropout,
        **arguments,
        "optimizer": repr(optimizer),
        "schedule": repr(schedule),
        "scaler": _scaler(net.scaler),
        "target_scaler": _scaler(net.target_scaler),
        "data": fingerprint(data),
    }
    return dict(json.loads(json.dumps(found, default=float)))  # a number of NumPy's is one of Python's then


def _scaler(scaler: Scaler | None) -> str | None:
    return None if scaler is None else fingerprint([scaler.shift, scaler.factor])


def _named(g: Activation) -> str:
    """The name of an activation; a user's own, with what its functions say."""
    if g.name in ACTIVATIONS:
        return g.name
    from hashlib import blake2b

    codes = [function.__code__ for function in (g.forward, g.backward)]
    said = [(code.co_code, code.co_names, [c for c in code.co_consts if not isinstance(c, CodeType)]) for code in codes]
    return f"{g.name} {blake2b(repr(said).encode(), digest_size=8).hexdigest()}"


def check(path: Path, was: Mapping[str, Any], config: Mapping[str, Any], schedule: Constant) -> None:
    """Raises ConfigError naming the first key that differs. A run may become longer, where its schedule up to the end
    that it had does not depend on that end."""
    for name, value in config.items():
        before = was.get(name)
        if before == value or (name == "epochs" and type(before) is int and _follows(schedule, value, before)):
            continue
        if name == "data":
            raise ConfigError(f"{path} was saved while training on other data: other samples, targets or parts")
        raise ConfigError(
            f"{path} was saved with {name}={before!r}, and this is {name}={value!r}; go on with the former"
        )


def _follows(schedule: Constant, epochs: int, fewer: int) -> bool:
    """Does a run of `epochs` begin as one of fewer does?"""
    times = [k / 2 for k in range(2 * fewer + 1)]
    return fewer < epochs and all(schedule.factor(x, fewer) == schedule.factor(x, epochs) for x in times)


def fingerprint(arrays: Iterable[Array | None]) -> str:
    """A hash of arrays, wherever they are: of their types, shapes and bytes."""
    from hashlib import blake2b  # here and below: it is slow to import

    digest = blake2b(digest_size=16)
    for x in arrays:
        if x is None:
            digest.update(b"none")
            continue
        digest.update(f"{tuple(x.shape)}".encode())
        rows = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
        for start in range(0, x.shape[0], rows):
            part = np.ascontiguousarray(asnumpy(x[start : start + rows, ...]))
            part = part.astype(part.dtype.newbyteorder("<"), copy=False)
            digest.update(part.dtype.str.encode())
            digest.update(part.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
