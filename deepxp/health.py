"""Which layer went bad first: named from the arrays that the failed step left behind."""

from collections.abc import Iterator

import numpy as np

from deepxp.errors import NonFiniteError
from deepxp.network import Network
from deepxp.ops.typing import Array
from deepxp.parameters import Gradient
from deepxp.workspace import Workspace

ADVICE = "lower the learning rate, clip the gradient (clip_norm=1.0) or scale the inputs"


def quantities(net: Network, work: Workspace, gradient: Gradient) -> Iterator[tuple[str, Array]]:
    """The arrays of a step in the order in which they are computed."""
    yield "the input A[0]", work.A[0]
    for l in range(1, net.L + 1):
        if work.Z[l] is not work.A[l]:
            yield f"Z[{l}]", work.Z[l]
        yield (f"Z[{l}]" if l == net.L else f"A[{l}]"), work.A[l]
    yield "the loss", work.losses
    for l in range(net.L, 0, -1):
        yield f"dW[{l}]", gradient.dW[l]
        yield f"db[{l}]", gradient.db[l]
    for l in range(1, net.L + 1):
        yield f"the updated W[{l}]", net.W[l]
        yield f"the updated b[{l}]", net.b[l]


def diagnose(
    net: Network, work: Workspace, gradient: Gradient, epoch: int, step: int, failed: int | None = None
) -> NonFiniteError:
    """The error for a step whose loss or update is NaN or infinite: the first quantity of it that is not finite.

    The arrays are those of `step`. Where the loss of an earlier one, `failed`, was the first to go wrong, but was read
    only now, the message says so: what was bad then has spread since.
    """
    late = "" if failed in (None, step) else f", seen at step {step}, up to which it has spread"
    failed = failed or step
    for name, array in quantities(net, work, gradient):
        values = net.backend.asnumpy(array)
        bad = ~np.isfinite(values)
        if bad.any():
            advice = "remove or replace those values" if array is work.A[0] else ADVICE
            return NonFiniteError(
                f"training met {values[bad].flat[0]} at step {failed} of epoch {epoch}{late}: the first bad values are "
                f"in {name}, {int(bad.sum())} of {bad.size}; {advice}. "
                "The network has the weights from before this epoch"
            )
    return NonFiniteError(
        f"training met a loss that is not finite at step {failed} of epoch {epoch}{late}, but every layer's values are "
        f"finite: the sum over the batch overflowed; {ADVICE}. The network has the weights from before this epoch"
    )
