"""A step that met NaN or infinity is taken back, by arithmetic alone, so that no host has to wait for the answer."""

from collections.abc import Sequence

from deepxp.ops.typing import Array, Namespace


def remember(xp: Namespace, vectors: Sequence[Array], kept: Sequence[Array]) -> None:
    """kept_k = vector_k"""
    for vector, old in zip(vectors, kept, strict=True):
        old[...] = vector


def unless_finite(xp: Namespace, J: Array, vectors: Sequence[Array], kept: Sequence[Array], applied: Array) -> None:
    """applied = 1 where J and all vectors are finite, else 0; vector_k = kept_k where applied is 0

    J and `applied` are arrays of no dimensions.
    """
    finite = xp.isfinite(J)
    for vector in vectors:
        finite = finite & xp.all(xp.isfinite(vector))
    applied[...] = xp.where(finite, xp.ones_like(J), xp.zeros_like(J))
    for vector, old in zip(vectors, kept, strict=True):
        vector[...] = xp.where(finite, vector, old)
