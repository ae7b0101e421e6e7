"""One update of theta for its gradient g. The rules are elementwise: state in, state out.

Each returns (theta, *state). `rate` already holds the schedule; rates that depend on the step number t alone
(Adam's bias corrections) are computed by the optimizer and passed in.
"""

from collections.abc import Callable, Sequence

from deepxp.ops.typing import Array, Namespace

Rule = Callable[..., tuple[Array, ...]]


def sgd(xp: Namespace, theta: Array, g: Array, rate: float) -> tuple[Array, ...]:
    """theta - rate g"""
    return (theta - rate * g,)


def momentum(xp: Namespace, theta: Array, g: Array, v: Array, rate: float, mu: float) -> tuple[Array, ...]:
    """v = mu v + g,  theta - rate v    (Polyak 1964)"""
    v = mu * v + g
    return theta - rate * v, v


def nesterov(xp: Namespace, theta: Array, g: Array, v: Array, rate: float, mu: float) -> tuple[Array, ...]:
    """v = mu v + g,  theta - rate (g + mu v)    (Nesterov 1983, in the form of Sutskever et al. 2013)"""
    v = mu * v + g
    return theta - rate * (g + mu * v), v


def rmsprop(xp: Namespace, theta: Array, g: Array, s: Array, rate: float, rho: float, eps: float) -> tuple[Array, ...]:
    """s = rho s + (1 - rho) g^2,  theta - rate g / (sqrt(s) + eps)    (Tieleman & Hinton 2012)"""
    s = rho * s + (1.0 - rho) * g * g
    return theta - rate * g / (xp.sqrt(s) + eps), s


def adam(
    xp: Namespace,
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    scale: float,
) -> tuple[Array, ...]:
    """Kingma & Ba 2015, algorithm 1; rate = lr / (1 - beta1^t), scale = 1 / sqrt(1 - beta2^t)"""
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * g * g
    return theta - rate * m / (xp.sqrt(v) * scale + eps), m, v


def adamw(
    xp: Namespace,
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    scale: float,
    decay: float,
) -> tuple[Array, ...]:
    """Adam from theta - decay theta, decay = lr * weight decay    (Loshchilov & Hutter 2019, algorithm 2)"""
    return adam(xp, theta - decay * theta, g, m, v, rate, beta1, beta2, eps, scale)


def update(xp: Namespace, rule: Rule, theta: Array, g: Array, state: Sequence[Array], rates: Sequence[float]) -> None:
    """theta, state = rule(theta, g, state; rates), written into the vectors given, all of one length"""
    new = rule(xp, theta, g, *state, *rates)
    for old, value in zip((theta, *state), new, strict=True):
        old[...] = value


def update_where(
    xp: Namespace,
    flag: Array,
    rule: Rule,
    theta: Array,
    g: Array,
    state: Sequence[Array],
    rates: Sequence[float],
) -> None:
    """`update` where flag is 1; where it is 0, theta and state stay as they are, bit for bit, whatever g is"""
    new = rule(xp, theta, g, *state, *rates)
    for old, value in zip((theta, *state), new, strict=True):
        old[...] = xp.where(flag > 0.0, value, old)


def rates_of(xp: Namespace, rates: Callable[..., tuple[float, ...]], lr: Array, t: Array, out: Array) -> None:
    """out = rates(lr, t), in lr's precision, for a step number t that is known where the arrays are

    rates is that of an optimizer; lr and t are arrays of no dimensions, out one number for each rate.
    """
    for i, rate in enumerate(rates(lr, xp.asarray(t, dtype=lr.dtype))):
        out[i : i + 1] = rate
