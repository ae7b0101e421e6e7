"""The scale S of the gradient in float16, where a derivative below 6e-8 is 0 and one above 65504 infinite.

S dZ is rounded in the place of dZ, and 1/S taken out of the sums, which are float32. A gradient that overflows is no
gradient: the step is left out and S is halved; after many that did not overflow it is doubled (Micikevicius et al.
2018, section 3; the numbers are those that its authors took for automatic mixed precision).
"""

from deepxp.ops.typing import Array, Namespace

FIRST = 2.0**15  # the greatest for which a dZ[L] = A - Y of classes fits
LEAST, MOST = 2.0**-24, 2.0**24
PATIENCE = 2000.0  # steps in a row that fit


def rescale(xp: Namespace, fits: Array, J: Array, S: Array, good: Array, t: Array, skipped: Array) -> None:
    """What follows from a gradient g that was computed with S; fits is 1 where g is finite, else 0

    g fits:         t = t + 1, good = good + 1; at 2000 good = 0 and S = 2 S, at most 2^24
    g overflowed:   skipped = skipped + 1, good = 0, S = S / 2
    at S = 2^-24:   J = NaN instead: then it is not S that is too large
    J not finite:   nothing, for J does not depend on S

    All are arrays of no dimensions; t counts the updates, good those since S was changed.
    """
    fit = fits > 0.0
    bad = (J - J == 0.0) & ~fit
    over, lost = bad & (S > LEAST), bad & (S <= LEAST)
    full = fit & (good >= PATIENCE - 1.0)
    J[...] = xp.where(lost, float("nan"), J)
    S[...] = xp.where(over, 0.5 * S, xp.where(full & (S < MOST), 2.0 * S, S))
    good[...] = xp.where(full | over, 0.0, xp.where(fit, good + 1.0, good))
    t[...] = xp.where(fit, t + 1.0, t)
    skipped[...] = xp.where(over, skipped + 1.0, skipped)
