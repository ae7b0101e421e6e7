"""Bias and activation, and their backward pass, for n units and m samples.

The forward op contains the product; a layer without inputs keeps that down to setting Z to 0.
"""

import numpy as np

from deepxp.ops import dense
from deepxp.ops.activations import ACTIVATIONS as DEEPXPS
from own import ACTIVATIONS as OWN

ACTIVATIONS = DEEPXPS | OWN


def test_forward(timed, engine, rng, activation, n, m, dtype):
    xp, g = engine.backend, ACTIVATIONS[activation]
    inputs = 0 if xp.xp is np else 1  # a GPU's BLAS need not accept 0
    W, b, A_prev = (xp.asarray(rng.standard_normal(shape), dtype) for shape in ((n, inputs), (n, 1), (inputs, m)))
    Z = xp.empty((n, m), dtype)
    A = Z if g.reads == "A" else xp.empty((n, m), dtype)
    forward = xp[dense.dense_forward]
    timed(
        lambda: forward(W, b, A_prev, g, Z, A),
        table=f"bias + {activation}, n = {n}, m = {m}, {dtype}",
        row=engine.name,
        bytes=2 * Z.nbytes,
    )


def test_backward(timed, engine, rng, activation, n, m, dtype):
    xp, g = engine.backend, ACTIVATIONS[activation]
    dA, kept = (xp.asarray(rng.standard_normal((n, m)), dtype) for _ in range(2))
    if g.reads == "A":
        kept[...] = g.forward(xp.xp, kept)
    # dA is consumed: without fresh numbers it would shrink, down to subnormal ones. Where g' is at most 1 a constant
    # that is written first keeps it up, at the cost of a pass that writes.
    db, backward = xp.empty((n, 1), dtype), xp[dense.activation_backward]

    def call():
        dA[...] = 1.0
        backward(g, dA, kept, dA, db)

    timed(
        call,
        table=f"{activation} backward, n = {n}, m = {m}, {dtype}",
        row=engine.name,
        bytes=3 * dA.nbytes,
    )
