"""The bits of dropout on the host, by the generator that NumPy has."""

import numpy as np

from deepxp.ops.typing import Array


def bits(key: Array, counter: Array, layer: int, size: int) -> Array:
    """A vector of `size` numbers of 16 bits, as `ops.random.dropout_bits` defines them."""
    start = np.array([0, layer, counter[0], counter[1]], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=start).random_raw(-(-size // 4))
    return words.astype("<u8", copy=False).view("<u2")[:size]
