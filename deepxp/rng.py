"""Counter-based random streams: every random number of a run is a function of (seed, purpose, epoch, step, layer).

Philox4x64-10 (Salmon et al. 2011) maps a counter and a key to words with no state between them. The key is (seed,
purpose); the counter is (block, layer, step, epoch), where the block counts within one stream. So the same numbers
come out on every device, in any order and after any interruption, and nothing has to be saved but the counters.
"""

from enum import IntEnum

import numpy as np

from deepxp.kernels import philox
from deepxp.ops.typing import Array

WORD = 2**64


class Purpose(IntEnum):
    """What a stream is for: streams of two purposes never share a number."""

    WEIGHTS = 1
    ORDER = 2
    DROPOUT = 3
    SPLIT = 4
    DIRECTION = 5


def stream(seed: int, purpose: Purpose, *, epoch: int = 0, step: int = 0, layer: int = 0) -> "np.random.Philox":
    """The bit generator at the start of one stream."""
    return np.random.Philox(
        key=np.array([seed % WORD, purpose], dtype=np.uint64),
        counter=np.array([0, layer, step, epoch], dtype=np.uint64),
    )


def normal(seed: int, layer: int, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers in float64: the initial weights of a layer before they are scaled."""
    return np.random.Generator(stream(seed, Purpose.WEIGHTS, layer=layer)).standard_normal(shape)


def order(seed: int, epoch: int, samples: int) -> Array:
    """The order in which an epoch takes its samples: a permutation of 0 .. M-1."""
    return np.random.Generator(stream(seed, Purpose.ORDER, epoch=epoch)).permutation(samples)


def split(seed: int, samples: int) -> Array:
    """The order from which a table is cut into training, validation and test part."""
    return np.random.Generator(stream(seed, Purpose.SPLIT)).permutation(samples)


def direction(seed: int, draw: int, size: int) -> Array:
    """A random unit vector, along which a gradient is checked."""
    d = np.random.Generator(stream(seed, Purpose.DIRECTION, step=draw)).standard_normal(size)
    return d / np.linalg.norm(d)


def dropout_bits(seed: int, epoch: int, step: int, layer: int, shape: tuple[int, ...]) -> Array:
    """16 uniform bits for each unit of a layer and each sample, uint16: four to a word, the lowest first."""
    return philox.bits(*dropout_stream(seed, epoch, step), layer, int(np.prod(shape))).reshape(shape)


def dropout_stream(seed: int, epoch: int, step: int) -> tuple[Array, Array]:
    """(key, counter) as `ops.random.dropout_bits` takes them."""
    key = np.array([seed % WORD, Purpose.DROPOUT], dtype=np.uint64)
    return key, np.array([step, epoch], dtype=np.uint64)
