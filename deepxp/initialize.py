"""The initial parameters: weights of variance gain / n[l-1], biases of zero."""

from collections.abc import Sequence

import numpy as np

from deepxp import rng
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array
from deepxp.parameters import Parameters, count_parameters


def initial_theta(sizes: Sequence[int], g: Sequence[Activation | None], seed: int) -> Array:
    """W[l] ~ N(0, gain(g[l]) / n[l-1]), b[l] = 0: He et al. 2015 for the relu family, LeCun et al. 1998 for the rest.

    Drawn in float64 on the host whatever the device and the precision, so that one seed means one network.
    """
    theta = np.zeros(count_parameters(sizes))
    W = Parameters.of(np, theta, sizes).W
    for l in range(1, len(sizes)):
        activation = g[l]
        gain = activation.gain if activation else 1.0
        W[l][...] = rng.normal(seed, l, W[l].shape) * np.sqrt(gain / sizes[l - 1])
    return theta
