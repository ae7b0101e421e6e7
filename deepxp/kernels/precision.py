"""The kernels of a GPU with the products of a step in a shorter form of float32; everything else stays float32.

    tf32   the tensor cores' own: 10 bits after the point, the range of float32
    bf16   both operands rounded to bfloat16: 7 bits after the point, the range of float32, half of the bytes
    fp16   both operands rounded to float16: 10 bits after the point, from 6e-8 to 65504, half of the bytes

The sums are float32 in each. theta, its gradient, the optimizer's state, activations and losses are float32 too, so
nothing is lost from one step to the next. float64 is not shortened. Training steps in float16 take `scaled(S)`, for
derivatives may be smaller than its least number: S dZ is rounded in the place of dZ, and 1/S is a factor of the
product.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from deepxp.kernels import cublas, cupy
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array, Namespace


class Kernels:
    """The kernels of `kernels.cupy` around another product."""

    def __init__(self, short_form: str, product: Callable[..., None]) -> None:
        self.short_form, self._product = short_form, product

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


class Half(Kernels):
    """float16, which training steps take with a scale."""

    def __init__(self) -> None:
        super().__init__("fp16", _product_of(float16))

    def scaled(self, xp: Namespace, S: Array) -> "Scaled":
        """The kernels of the steps of a run, whose scale is an array of no dimensions."""
        return Scaled(xp, S)


class Scaled(Half):
    """S dZ in the place of dZ. S is read on the device."""

    def __init__(self, xp: Namespace, S: Array) -> None:
        super().__init__()
        self._S, self._factors = S, xp.zeros((2,), dtype=S.dtype)

    def weight_gradient(self, xp: Namespace, dZ: Array, A_prev: Array, dW: Array) -> None:
        """1/(S m) is read on the device by the product."""
        scaled = self._scaled(xp, dZ, dZ.shape[1])
        cublas.product(xp, scaled, float16(xp, A_prev.T), dW, factors=self._factors)

    def input_gradient(self, xp: Namespace, W: Array, dZ: Array, dA_prev: Array) -> None:
        """1/S, likewise."""
        scaled = self._scaled(xp, dZ, 1)
        cublas.product(xp, float16(xp, W.T), scaled, dA_prev, factors=self._factors)

    def _scaled(self, xp: Namespace, dZ: Array, divisor: int) -> Array:
        """S dZ, and the factors that the next product takes it out with."""
        out = xp.empty(dZ.shape, dtype=xp.float16)
        cupy.to_scaled_float16(xp, dZ, self._S, divisor, out, self._factors)
        return out


def bfloat16(xp: Namespace, X: Array) -> Array:
    """The bits of X in bfloat16, in the order in which X lies in memory; X is contiguous by rows or by columns."""
    return _rounded(xp, X, xp.uint16, cupy.to_bfloat16)


def float16(xp: Namespace, X: Array) -> Array:
    """X in float16, likewise; X itself where it is."""
    if X.dtype.name == "float16":
        return X
    return _rounded(xp, X, xp.float16, cupy.to_float16)


def _rounded(xp: Namespace, X: Array, dtype: Any, kernel: Callable[[Namespace, Array, Array], None]) -> Array:
    by_rows = X if X.flags.c_contiguous else X.T
    out = xp.empty(by_rows.shape, dtype=dtype)
    kernel(xp, by_rows, out)
    return out if by_rows is X else out.T


def _product_of(rounded: Callable[[Namespace, Array], Array]) -> Callable[..., None]:
    """out = alpha A B of operands that are rounded first; out in float32. float64 stays as it is."""

    def product(xp: Namespace, A: Array, B: Array, out: Array, alpha: float = 1.0) -> None:
        if out.dtype.name == "float32":
            A, B = rounded(xp, A), rounded(xp, B)
        cublas.product(xp, A, B, out, alpha)

    return product


KERNELS: dict[str, Any] = {
    "fp32": cupy,
    "tf32": Kernels("tf32", partial(cublas.product, tf32=True)),
    "bf16": Kernels("bf16", _product_of(bfloat16)),
    "fp16": Half(),
}
"""The precisions that a GPU backend can be made with."""
