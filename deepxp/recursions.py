"""The mathematics of a step: Z and A forward, the loss, dZ, dW, db and dA backward. See `deepxp.ops` for each line."""

import numpy as np

from deepxp.network import IDENTITY, Network
from deepxp.ops import dense
from deepxp.ops.losses import cost, weigh
from deepxp.ops.regularization import dropout
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient
from deepxp.workspace import Workspace


def forward(net: Network, work: Workspace) -> None:
    """Z[l] = W[l] A[l-1] + b[l],  A[l] = g[l](Z[l])   for l = 1..L

    The output layer stops at Z[L], where the loss is computed.
    """
    W, b, L, keep, g = net.W, net.b, net.L, net.keep, (*net.g[:-1], IDENTITY)
    layer, drop = net.backend[dense.dense_forward], net.backend[dropout]
    for l in range(1, L + 1):
        layer(W[l], b[l], work.H[l - 1], g[l], work.Z[l], work.A[l])
        if keep[l]:
            drop(work.A[l], work.bits[l], keep[l], work.H[l])


def backward(net: Network, work: Workspace, gradient: Gradient) -> None:
    """dZ[l] = dA[l] * g[l]'(Z[l]),  dW[l] = 1/m dZ[l] A[l-1]^T,  db[l] = 1/m sum dZ[l],  dA[l-1] = W[l]^T dZ[l]

    for l = L..1, from the dZ[L] that the loss left in dA[L].
    """
    W, dW, db, L, keep, g = net.W, gradient.dW, gradient.db, net.L, net.keep, (*net.g[:-1], IDENTITY)
    xp = net.backend
    activation, weights, inputs = xp[dense.activation_backward], xp[dense.weight_gradient], xp[dense.input_gradient]
    for l in range(L, 0, -1):
        activation(g[l], work.dA[l], work.kept[l], work.dZ[l], db[l])
        weights(work.dZ[l], work.H[l - 1], dW[l])
        if l > 1:
            inputs(W[l], work.dZ[l], work.dA[l - 1])
        if keep[l - 1]:
            xp[dropout](work.dA[l - 1], work.bits[l - 1], keep[l - 1], work.dA[l - 1])


def evaluate_loss(net: Network, work: Workspace, classes: Array | None, *, weighted: bool = False) -> Array:
    """J, from Z[L] and the targets, in `work.J`; leaves dZ[L] in dA[L] and the samples' losses in `work.losses`.

    `classes` is the column 0..C-1 where the targets are labels, else None.
    """
    xp, Z, dZ = net.backend, work.Z[net.L], work.dA[net.L]
    if classes is None:
        xp[net.loss.evaluate](Z, work.Y.T, work.losses, dZ)
    else:
        xp[net.loss.evaluate_labels](Z, work.Y, classes, work.losses, dZ)  # type: ignore[index]
    if weighted:
        xp[weigh](work.w, work.losses, dZ)
    xp[cost](work.losses, work.J)
    return work.J


def class_column(net: Network, *, labels: bool) -> Array | None:
    """The column 0..C-1 that labels are compared with, or None."""
    return net.backend.asarray(np.arange(net.sizes[-1], dtype=np.int32)[:, None]) if labels else None
