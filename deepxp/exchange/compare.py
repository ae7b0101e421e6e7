"""How far apart are two answers to the same rows?"""

import math

import numpy as np

from deepxp.network import Network

ALLOWED = 1e-6
SAMPLES = 256


def drawn(net: Network) -> np.ndarray:
    """Rows (256, n[0]) from where the scaler says that the features lie, the same ones each time."""
    Z = np.random.default_rng(0).standard_normal((SAMPLES, net.sizes[0]))
    return Z if net.scaler is None else net.scaler.shift + Z / net.scaler.factor


def apart(a: np.ndarray, p: np.ndarray) -> float:
    """max |a - p| / max(1, |p|); infinity where one of the two is NaN and the other is not"""
    with np.errstate(invalid="ignore"):
        same = (a == p) | (np.isnan(a) & np.isnan(p))
        relative = np.where(same, 0.0, np.abs(a - p) / np.maximum(1.0, np.abs(p)))
    return float(np.nan_to_num(relative, nan=math.inf, posinf=math.inf).max(initial=0.0))


def allowed(net: Network) -> float:
    """1e-6, or four times what rounding does to the network's own answers: their distance from those in float64"""
    rows = drawn(net).T
    exact = net.to(dtype="float64").predict_proba(rows)
    return max(ALLOWED, 4.0 * apart(net.predict_proba(rows), exact))
