"""The matrix product of the GPU."""

from deepxp.ops.typing import Array, Namespace


def product(xp: Namespace, A: Array, B: Array, out: Array, alpha: float = 1.0) -> None:
    """out = alpha A B; operands and out 2-D with one unit stride, so views such as A.T, too"""
    xp.matmul(A, B, out=out)
    if alpha != 1.0:
        xp.multiply(out, alpha, out=out)
