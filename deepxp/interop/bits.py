"""The kernels of every other library: the random bits of dropout, which are drawn on the host.

They are 64-bit words, with which torch and JAX do not compute; so the masks are those of every other device, to the
bit.
"""

import numpy as np

from deepxp.kernels import philox
from deepxp.namespaces import asnumpy
from deepxp.ops.typing import Array, Namespace


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """The words of NumPy's own Philox, sent to where `out` lives."""
    size = out.shape[0] * out.shape[1]
    drawn = philox.bits(asnumpy(key), np.asarray(counter, dtype=np.uint64), layer, size)
    out[...] = xp.asarray(drawn.reshape(out.shape), dtype=out.dtype, device=out.device)
