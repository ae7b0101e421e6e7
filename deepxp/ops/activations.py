"""g and g' side by side, bound in one record.

A derivative is written as the product the chain rule needs, dZ = dA * g'(Z). The name of its third parameter, A or Z,
says what it reads, and so what the forward pass has to keep.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deepxp.ops.typing import Array, Namespace


@dataclass(frozen=True)
class Activation:
    """A = forward(Z) and dZ = backward(dA, A or Z).

    `elementwise` allows the definition to become the body of a fused loop. `smooth` is False where g has a kink.
    `gain` is the variance that the weights before it need, times n[l-1]: 2 where half of the units are silent (He et
    al. 2015), 1 elsewhere (Glorot & Bengio 2010, LeCun et al. 1998).
    """

    name: str
    forward: Callable[[Namespace, Array], Array]
    backward: Callable[[Namespace, Array, Array], Array]
    elementwise: bool = True
    smooth: bool = True
    gain: float = 1.0

    @property
    def reads(self) -> str:
        """'A' or 'Z': the array that the derivative is written in."""
        return self.backward.__code__.co_varnames[2]


def identity(xp: Namespace, Z: Array) -> Array:
    """g(Z) = Z"""
    return Z


def identity_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = 1"""
    return dA


def relu(xp: Namespace, Z: Array) -> Array:
    """g(Z) = max(Z, 0)"""
    return xp.maximum(Z, 0.0)


def relu_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = 1 where A > 0, else 0; at the kink Z = 0 the left derivative"""
    return xp.where(A > 0.0, dA, 0.0)


def leaky_relu(xp: Namespace, Z: Array) -> Array:
    """g(Z) = max(Z, 0.01 Z)    (Maas et al. 2013)"""
    return xp.maximum(Z, 0.01 * Z)


def leaky_relu_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = 1 where A > 0, else 0.01; A has the sign of Z"""
    return xp.where(A > 0.0, dA, 0.01 * dA)


def sigmoid(xp: Namespace, Z: Array) -> Array:
    """g(Z) = 1 / (1 + e^-Z), evaluated as (1 + tanh(Z/2)) / 2, which cannot overflow"""
    return 0.5 * (1.0 + xp.tanh(0.5 * Z))


def sigmoid_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = A (1 - A)"""
    return dA * A * (1.0 - A)


def tanh(xp: Namespace, Z: Array) -> Array:
    """g(Z) = tanh(Z)"""
    return xp.tanh(Z)


def tanh_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = 1 - A^2"""
    return dA * (1.0 - A * A)


def elu(xp: Namespace, Z: Array) -> Array:
    """g(Z) = Z where Z > 0, else e^Z - 1    (Clevert et al. 2016, alpha = 1)

    The minimum keeps e^Z out of the branch that is not taken, where it would overflow.
    """
    return xp.where(Z > 0.0, Z, xp.expm1(xp.minimum(Z, 0.0)))


def elu_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = 1 where A > 0, else A + 1, which is e^Z"""
    return xp.where(A > 0.0, dA, dA * (A + 1.0))


def gelu(xp: Namespace, Z: Array) -> Array:
    """g(Z) = Z/2 (1 + tanh(sqrt(2/pi) (Z + 0.044715 Z^3)))    (Hendrycks & Gimpel 2016, the tanh form)"""
    return 0.5 * Z * (1.0 + xp.tanh(0.7978845608028654 * Z * (1.0 + 0.044715 * Z * Z)))


def gelu_backward(xp: Namespace, dA: Array, Z: Array) -> Array:
    """g'(Z) = (1 + t)/2 + Z/2 (1 - t^2) sqrt(2/pi) (1 + 3 * 0.044715 Z^2), with t the tanh in g

    Where Z is large, 1 - t^2 is 0; multiplied by Z before Z^2 is, it stays 0 where Z^2 would overflow.
    """
    t = xp.tanh(0.7978845608028654 * Z * (1.0 + 0.044715 * Z * Z))
    s = Z * (1.0 - t * t)
    return dA * (0.5 * (1.0 + t) + 0.3989422804014327 * (s + 0.134145 * s * Z * Z))


def silu(xp: Namespace, Z: Array) -> Array:
    """g(Z) = Z sigmoid(Z)    (Elfwing et al. 2018; also swish, Ramachandran et al. 2017)"""
    return Z * sigmoid(xp, Z)


def silu_backward(xp: Namespace, dA: Array, Z: Array) -> Array:
    """g'(Z) = s (1 + Z (1 - s)), with s = sigmoid(Z)"""
    s = sigmoid(xp, Z)
    return dA * s * (1.0 + Z * (1.0 - s))


def exponential(xp: Namespace, Z: Array) -> Array:
    """g(Z) = e^Z"""
    return xp.exp(Z)


def exponential_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """g'(Z) = A"""
    return dA * A


def softmax(xp: Namespace, Z: Array) -> Array:
    """a_i = e^(z_i) / sum_k e^(z_k) in each column; the column's maximum is subtracted first, so e^800 never happens"""
    E = xp.exp(Z - xp.max(Z, axis=0, keepdims=True))
    return E / xp.sum(E, axis=0, keepdims=True)


def softmax_backward(xp: Namespace, dA: Array, A: Array) -> Array:
    """dz = J^T da = a * (da - sum_k da_k a_k): the whole Jacobian a_i (delta_ik - a_k), without building it"""
    return A * (dA - xp.sum(dA * A, axis=0, keepdims=True))


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", identity, identity_backward),
        Activation("relu", relu, relu_backward, smooth=False, gain=2.0),
        Activation("leaky_relu", leaky_relu, leaky_relu_backward, smooth=False, gain=2.0),
        Activation("sigmoid", sigmoid, sigmoid_backward),
        Activation("tanh", tanh, tanh_backward),
        Activation("elu", elu, elu_backward, gain=2.0),
        Activation("gelu", gelu, gelu_backward, gain=2.0),
        Activation("silu", silu, silu_backward, gain=2.0),
        Activation("softmax", softmax, softmax_backward, elementwise=False),
    )
}
