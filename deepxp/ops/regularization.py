"""L2 on the weights, inverted dropout, and clipping by the global norm."""

from deepxp.ops.typing import Array, Namespace


def l2_penalty(xp: Namespace, w: Array, strength: float, J: Array) -> None:
    """J = J + lambda/2 ||w||^2, w all weights and no bias"""
    J[...] = J + 0.5 * strength * xp.sum(w * w)


def penalized(xp: Namespace, g: Array, w: Array, strength: float) -> Array:
    """g + lambda w, the derivative of J + lambda/2 ||w||^2"""
    return g + strength * w


def l2_gradient(xp: Namespace, w: Array, g: Array, strength: float) -> None:
    """g = g + lambda w; w and g vectors of all weights"""
    g[...] = penalized(xp, g, w, strength)


def dropout(xp: Namespace, A: Array, bits: Array, keep: int, out: Array) -> None:
    """A / p where bits < keep, else 0, with p = keep / 2^16    (inverted dropout, Srivastava et al. 2014)

    bits (n, m) are uniform in 0 .. 2^16 - 1, so E[out] = A exactly. The same op takes dA backward. out may be A.
    """
    out[...] = xp.where(bits < keep, (65536.0 / keep) * A, 0.0)


def clip_by_norm(xp: Namespace, g: Array, limit: float) -> None:
    """g = g limit / max(||g||, limit): never longer than the limit    (Pascanu et al. 2013)

    All in units of the largest number, if it is finite, so that no square overflows.
    """
    largest = xp.maximum(xp.max(xp.abs(g)), limit)
    unit = xp.where(largest - largest == 0.0, largest, 1.0)
    u, most = g / unit, limit / unit
    g[...] = g * (most / xp.maximum(xp.sqrt(xp.sum(u * u)), most))
