"""The random bits of dropout on the CPU, from NumPy's own generator."""

import numpy as np

from deepxp.ops.typing import Array, Namespace


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """The words of one stream, four numbers to a word, the lowest first; NumPy adds 1 to the counter before a block."""
    step, epoch = counter
    stream = np.random.Philox(key=key, counter=np.array([0, layer, step, epoch], dtype=np.uint64))
    words = stream.random_raw(-(-out.size // 4))
    out[...] = words.astype("<u8", copy=False).view("<u2")[: out.size].reshape(out.shape)
