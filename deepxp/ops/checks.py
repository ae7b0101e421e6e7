"""What is asked of numbers without waiting for them: the answer stays on the device until somebody reads it."""

from deepxp.ops.typing import Array, Namespace


def all_finite(xp: Namespace, x: Array, flag: Array) -> None:
    """flag = flag and no x_i is NaN or infinite

    x a vector, flag an array of no dimensions, bool: set it to True, check as often as you like, read it once.
    """
    flag[...] = xp.logical_and(flag, xp.all(xp.isfinite(x)))
