"""The three products of a layer of n[l] = n[l-1] = n units for m samples."""

import pytest

from deepxp.ops import dense

PRODUCTS = ("W A", "dZ A^T", "W^T dZ")


@pytest.mark.parametrize("product", PRODUCTS)
def test_product(timed, engine, rng, product, n, m, dtype):
    xp = engine.backend
    op = dense.weight_gradient if product == "dZ A^T" else dense.input_gradient
    if engine.repeats(op):
        pytest.skip("the same function as on another engine")
    W, dZ, A = (xp.asarray(rng.standard_normal(shape), dtype) for shape in ((n, n), (n, m), (n, m)))
    out = xp.empty((n, n) if product == "dZ A^T" else (n, m), dtype)
    arguments = {"W A": (W.T, A, out), "dZ A^T": (dZ, A, out), "W^T dZ": (W, dZ, out)}[product]
    multiply, size = xp[op], W.itemsize
    timed(
        lambda: multiply(*arguments),
        table=f"products of a layer, n = {n}, m = {m}, {dtype}",
        row=f"{product}: {engine.name}",
        flops=2 * n * n * m,
        bytes=size * (n * n + 2 * n * m),
    )
