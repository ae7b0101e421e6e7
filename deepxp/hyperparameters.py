"""What a network may be made of: each argument checked, and turned into what the network keeps."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepxp.errors import ConfigError
from deepxp.ops.activations import ACTIVATIONS, Activation

DTYPES = ("float32", "float64")


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """n[0], ..., n[L] as whole numbers, at least two and each at least 1."""
    try:
        n = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise ConfigError(f"sizes are the whole numbers n[0], ..., n[L], got {sizes!r}") from None
    if len(n) < 2 or min(n) < 1:
        raise ConfigError(f"sizes are at least an input and an output layer of 1 or more units each, got {n}")
    return n


def check_named(name: Any, table: dict[str, Any], what: str) -> Any:
    """What a name stands for in a table."""
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"unknown {what} {name!r}; there are {', '.join(table)}")
    return table[name]


def check_hidden(hidden: str | Activation | Sequence[str | Activation], layers: int) -> tuple[Activation, ...]:
    """An activation for each hidden layer."""
    several = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    each: list[Any] = list(hidden) if several else [hidden] * layers  # type: ignore[arg-type]
    if len(each) != layers:
        raise ConfigError(f"hidden names {len(each)} activations for {layers} hidden layers")
    if odd := next((x for x in each if callable(x) and not isinstance(x, Activation)), None):
        raise ConfigError(
            f"a function alone, {getattr(odd, '__name__', odd)!r}, is no activation: its derivative belongs to it; "
            "pass deepxp.Activation(name, forward, backward)"
        )
    return tuple(x if isinstance(x, Activation) else check_named(x, ACTIVATIONS, "activation") for x in each)


def check_dropout(rate: float | Sequence[float], layers: int) -> tuple[float, ...]:
    """A dropout rate for each hidden layer."""
    try:
        several = hasattr(rate, "__iter__") and not isinstance(rate, str)
        rates = tuple(float(r) for r in rate) if several else (float(rate),) * layers  # type: ignore[union-attr, arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"dropout is a number, or one for each hidden layer, got {rate!r}") from None
    if len(rates) != layers:
        raise ConfigError(f"dropout has {len(rates)} rates for {layers} hidden layers")
    if any(not 0 <= r < 1 for r in rates):
        raise ConfigError(f"a dropout rate is the fraction dropped, 0 <= rate < 1, got {rate!r}")
    return rates


def check_dtype(dtype: Any) -> str:
    """The precision's name."""
    try:
        name = "none" if dtype is None else np.dtype(dtype).name
    except TypeError:
        name = "unknown"
    if name not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return name


def check_seed(seed: int) -> int:
    """A whole number from 0 to 2^64 - 1."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ConfigError(f"the seed is a whole number from 0 to 2^64 - 1, got {seed!r}")
    return number
