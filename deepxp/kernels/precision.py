"""The kernels of a GPU with the products of a step in a shorter form of float32; everything else stays float32.

    tf32   the tensor cores' own: 10 bits after the point, the range of float32
    bf16   both operands rounded to bfloat16: 7 bits after the point, the range of float32, half of the bytes

The sums are float32 in each. theta, its gradient, the optimizer's state, activations and losses are float32 too, so
nothing is lost from one step to the next. float64 is not shortened.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from deepxp.kernels import cublas, cupy
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace


class Kernels:
    """The kernels of `kernels.cupy` around another product."""

    def __init__(self, product: Callable[..., None]) -> None:
        self._product = product

    def __getattr__(self, name: str) -> Any:
        return getattr(cupy, name)

    def dense_forward(
        self, xp: Namespace, W: Array, b: Array, A_prev: Array, g: Activation, Z: Array, A: Array
    ) -> None:
        """The product into Z, then bias and activation in one pass over it."""
        self._product(xp, W, A_prev, Z)
        cupy.add_and_activate(xp, b, g, Z, A)

    def weight_gradient(self, xp: Namespace, dZ: Array, A_prev: Array, dW: Array) -> None:
        """The product straight into the view of the flat gradient, 1/m in it."""
        self._product(xp, dZ, A_prev.T, dW, 1.0 / dZ.shape[1])

    def input_gradient(self, xp: Namespace, W: Array, dZ: Array, dA_prev: Array) -> None:
        """The product straight into its place."""
        self._product(xp, W.T, dZ, dA_prev)


def bfloat16_product(xp: Namespace, A: Array, B: Array, out: Array, alpha: float = 1.0) -> None:
    """out = alpha A B of the operands rounded to bfloat16; out in float32"""
    if out.dtype.name == "float32":
        A, B = _rounded(xp, A), _rounded(xp, B)
    cublas.product(xp, A, B, out, alpha)


def _rounded(xp: Namespace, X: Array) -> Array:
    """The bits of X in bfloat16, in the order in which X lies in memory; X is contiguous by rows or by columns."""
    by_rows = X if X.flags.c_contiguous else X.T
    bits = xp.empty(by_rows.shape, dtype=xp.uint16)
    cupy.to_bfloat16(xp, by_rows, bits)
    return bits if by_rows is X else bits.T


KERNELS: dict[str, Any] = {
    "fp32": cupy,
    "tf32": Kernels(partial(cublas.product, tf32=True)),
    "bf16": Kernels(bfloat16_product),
}
"""The precisions that a GPU backend can be made with."""
