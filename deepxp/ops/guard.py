"""A step that met NaN or infinity is taken back, by arithmetic alone, so that no host has to wait for the answer."""

from deepxp.ops.typing import Array, Namespace


def remember(xp: Namespace, x: Array, old: Array) -> None:
    """old = x"""
    old[...] = x


def all_finite(xp: Namespace, x: Array, flag: Array) -> None:
    """flag = flag where no x_i is NaN or infinite, else 0

    flag an array of no dimensions in x's precision: set it to 1, check as often as you like, read it once.
    """
    flag[...] = xp.where(xp.all(xp.isfinite(x)), flag, xp.zeros_like(flag))


def restore(xp: Namespace, flag: Array, old: Array, x: Array) -> None:
    """x = old where flag is 0"""
    x[...] = xp.where(flag > 0.0, x, old)
