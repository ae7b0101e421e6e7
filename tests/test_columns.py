"""Softmax in passes, blocks and parts is softmax, at every shape and for every number."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("numba", reason="Numba is not installed: the compiled kernels are not used")

from deepxp.kernels import columns, record, team
from deepxp.ops.activations import softmax
from deepxp.ops.losses import softmax_cross_entropy_labels

SHAPES = [
    (1, 1), (3, 1), (1, 70_000), (2, 5_000), (10, 4_097), (37, 333), (64, 64), (100, 1_024),
    (1000, 64), (999, 64), (4096, 3), (3, 140_000), (300, 8_000), (2048, 1_100),
]  # fmt: skip
RTOL = {"float32": 1e-5, "float64": 1e-12}


def on(threads, monkeypatch):
    """What is done from now on is done by so many threads."""
    if threads > 1:
        made = team.Team(threads)
        monkeypatch.setattr(team, "team", lambda: made)
    monkeypatch.setattr(record, "size", lambda: threads)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    on(request.param, monkeypatch)
    return request.param


def scores(C, m, dtype):
    rng = np.random.default_rng(C + m)
    return (3 * rng.standard_normal((C, m))).astype(dtype), rng.integers(0, C, m, dtype=np.int32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("C", "m"), SHAPES)
def test_softmax_and_its_loss_are_the_definitions(C, m, dtype, monkeypatch):
    Z, y = scores(C, m, dtype)
    expected_losses, expected = np.empty(m), np.empty((C, m))
    softmax_cross_entropy_labels(np, Z.astype(float), y, np.arange(C)[:, None], expected_losses, expected)
    shares = softmax(np, Z.astype(float))
    for threads in (1, 3):
        on(threads, monkeypatch)
        A, dZ, losses = np.full_like(Z, np.nan), np.full_like(Z, np.nan), np.full(m, np.nan, dtype)
        record.once("softmax_into", Z, A)
        record.once("softmax_cross_entropy_labels", Z, y, None, losses, dZ)
        told = f"with threads: {threads}"
        assert_allclose(A, shares, rtol=RTOL[dtype], atol=1e-37, err_msg=told)
        assert_allclose(dZ, expected, rtol=RTOL[dtype], atol=RTOL[dtype] / 10, err_msg=told)
        assert_allclose(losses, expected_losses, rtol=RTOL[dtype], atol=RTOL[dtype], err_msg=told)


@pytest.mark.parametrize(("C", "m"), [(8, 40), (16, 4_000), (130, 2_000), (2048, 1_100)])
def test_nan_and_infinity_stay_in_their_columns(C, m, threads):
    Z, y = scores(C, m, "float32")
    Z[C // 2, 1], Z[0, 3], Z[C - 1, 5], Z[:, 7], Z[: C - 1, 9] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
    y[11], y[13], y[15] = -1, C, 2**31 - 1
    A, dZ, losses = np.empty_like(Z), np.empty_like(Z), np.zeros(m, "float32")
    record.once("softmax_into", Z, A)
    record.once("softmax_cross_entropy_labels", Z, y, None, losses, dZ)
    for out in (A, dZ):
        assert_array_equal(np.flatnonzero(np.isnan(out).any(axis=0)), [1, 3, 7])
    assert A[C - 1, 5] == 0
    assert A[C - 1, 9] == 1
    assert {1, 3, 7, 11, 13, 15} <= set(np.flatnonzero(~np.isfinite(losses)))
    assert_allclose(np.delete(A, [1, 3, 7], axis=1).sum(axis=0), 1, rtol=1e-5)


def test_no_share_is_subnormal(threads):
    for C, m in ((8, 40), (16, 4_000), (2048, 1_100)):
        Z = np.tile(-np.linspace(0, 110, C, dtype="float32")[:, None], m)
        A = np.empty_like(Z)
        record.once("softmax_into", Z, A)
        assert ((A == 0) | (np.finfo("float32").tiny <= A)).all()
        assert (A == 0).any()


def test_only_what_divides_the_rows_is_taken_together():
    for C, m in SHAPES:
        k = columns.rows_together(C, m)
        assert C % k == 0
        assert k == 1 or (k * m <= columns.LONG and C // k >= columns.TILE)
    assert columns.rows_together(1000, 64) == 10
