"""softmax over the columns of (C, m), and its loss with labels and dZ; beside them torch.softmax and a plain copy."""

import numpy as np
import pytest

from deepxp.ops import activations, losses
from grid import LARGEST


def small_enough(C, samples, dtype):
    if C * samples * np.dtype(dtype).itemsize > LARGEST:
        pytest.skip(f"an array of more than {LARGEST / 1e6:.0f} MB")


def table(op, C, samples, dtype):
    return f"{op}, C = {C}, m = {samples}, {dtype}"


def test_softmax(timed, engine, rng, C, samples, dtype):
    small_enough(C, samples, dtype)
    Z = engine.backend.asarray(rng.standard_normal((C, samples)), dtype)
    softmax = engine.backend[activations.softmax]
    timed(lambda: softmax(Z), table=table("softmax", C, samples, dtype), row=engine.name, bytes=2 * Z.nbytes)


def test_softmax_cross_entropy(timed, engine, rng, C, samples, dtype):
    small_enough(C, samples, dtype)
    xp = engine.backend
    Z, y = xp.asarray(rng.standard_normal((C, samples)), dtype), xp.asarray(rng.integers(0, C, samples), "int32")
    classes, ell, dZ = xp.asarray(np.arange(C)[:, None], "int32"), xp.empty((samples,), dtype), xp.empty(Z.shape, dtype)
    loss = xp[losses.softmax_cross_entropy_labels]
    where = table("softmax-cross-entropy with dZ", C, samples, dtype)
    timed(lambda: loss(Z, y, classes, ell, dZ), table=where, row=engine.name, bytes=2 * Z.nbytes)


def test_copies(timed, rng, C, samples, dtype):
    small_enough(C, samples, dtype)
    Z = rng.standard_normal((C, samples)).astype(dtype)
    timed(Z.copy, table=table("softmax", C, samples, dtype), row="cpu, a plain copy", bytes=2 * Z.nbytes)


def test_copies_into_memory_that_exists(timed, rng, C, samples, dtype):
    small_enough(C, samples, dtype)
    Z = rng.standard_normal((C, samples)).astype(dtype)
    out, where = np.zeros_like(Z), table("softmax-cross-entropy with dZ", C, samples, dtype)
    timed(lambda: np.copyto(out, Z), table=where, row="cpu, a plain copy", bytes=2 * Z.nbytes)


@pytest.mark.parametrize("axis", ["columns", "rows"])
def test_torch_softmax(timed, rng, axis, C, samples, dtype):
    small_enough(C, samples, dtype)
    torch = pytest.importorskip("torch")
    Z = rng.standard_normal((C, samples)).astype(dtype)
    tensor = torch.from_numpy(np.ascontiguousarray(Z if axis == "columns" else Z.T))
    timed(
        lambda: torch.softmax(tensor, 0 if axis == "columns" else 1),
        table=table("softmax", C, samples, dtype),
        row=f"cpu, torch.softmax over {axis}",
        bytes=2 * Z.nbytes,
    )
