"""The CUDA kernels against the definitions: the source that a GPU compiles, compiled by g++ and run on the host.

`cuda_shim` runs the threads of a block, `cupy_double` the launches. The cases are those of every kernel module, at the
sizes at which warps, blocks and 16-byte accesses end.
"""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal
from test_kernels import (
    BROKEN,
    EXTREME,
    OPS,
    PLAIN,
    RULES,
    Numbers,
    arrays,
    cases,
    consumed,
    copied,
    parameters,
    tolerance,
)

import deepxp as dx
from deepxp.kernels import cupy as kernels
from deepxp.ops import losses, updates
from deepxp.ops.activations import ACTIVATIONS, Activation, softmax

NAMES = sorted(
    name
    for name, f in inspect.getmembers(kernels, inspect.isfunction)
    if f.__module__ == kernels.__name__ and name in OPS
)
SHAPES = [(1, 1), (1, 31), (1, 33), (2, 32), (31, 1), (33, 2), (3, 64), (7, 257), (10, 5), (67, 13), (5, 1028)]
COLUMNS = [(1000, 1), (1000, 33), (32000, 3), (2053, 5), (4096, 64), (255, 32), (257, 32), (1999, 9), (1, 300)]

both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    install(monkeypatch)
    return dx.backend("gpu")


@pytest.fixture
def xp(gpu):
    return gpu.xp


def on_device(xp, call):
    """The same call with its arrays in the device's memory, in the same order; what was one array stays one array."""
    twins = {}

    def move(x):
        if isinstance(x, tuple):
            return tuple(map(move, x))
        return twins.setdefault(id(x), xp.asarray(x)) if isinstance(x, np.ndarray) else x

    return {name: move(x) for name, x in call.items()}


def on_host(call):
    def move(x):
        if isinstance(x, tuple):
            return tuple(map(move, x))
        return x.get() if hasattr(x, "get") else x

    return {name: move(x) for name, x in call.items()}


def assert_is_the_definition(xp, name, call):
    expected, given = copied(call), on_device(xp, copied(call))
    with np.errstate(all="ignore"):
        wanted = OPS[name](np, *expected.values())
    result = getattr(kernels, name)(xp, *given.values())
    result = None if result is None else result.get()
    skip = consumed(name, call)
    found = arrays(on_host(given), result, skip)
    size = max(a.size for a in arrays(expected, None).values())
    for what, reference in arrays(expected, wanted, skip).items():
        x = found[what]
        assert x.dtype == reference.dtype and x.shape == reference.shape, what
        if x.dtype.kind != "f":
            assert_array_equal(x, reference, err_msg=f"{name}: {what}")
            continue
        # where numbers cancel, an error is measured by what was added: in a sum, by the greatest number of the call
        added = arrays(call, wanted).values() if what in ("db", "J") else (reference,)
        greatest = max(np.abs(a[np.isfinite(a)]).max(initial=1e-30) for a in added)
        close = tolerance(name, x.dtype, size)
        assert_allclose(x, reference, rtol=close, atol=close * greatest, err_msg=f"{name}: {what}")


def test_every_kernel_has_the_name_and_the_signature_of_its_definition():
    assert {"dense_forward", "softmax_cross_entropy_labels", "update", "dropout_bits", "all_finite"} <= set(NAMES)
    for name in NAMES:
        assert parameters(getattr(kernels, name)) == parameters(OPS[name]), name
    shadowed = {name for name, op in OPS.items() if getattr(kernels, name, op) is not op}
    assert shadowed == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@both_precisions
@pytest.mark.parametrize("kind", [PLAIN, EXTREME, BROKEN])
def test_a_kernel_is_its_definition_at_every_shape(xp, name, dtype, kind):
    for seed, (n, m) in enumerate(SHAPES):
        for call in cases(name, Numbers(dtype, kind, seed), n, m):
            assert_is_the_definition(xp, name, call)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("softmax") or name == "squared_error"])
@both_precisions
@pytest.mark.parametrize("kind", [PLAIN, BROKEN])
def test_few_columns_of_many_classes_and_many_of_few(xp, name, dtype, kind):
    for seed, (C, m) in enumerate(COLUMNS):
        for call in cases(name, Numbers(dtype, kind, seed), C, m):
            assert_is_the_definition(xp, name, call)


def launched(monkeypatch):
    """The names of the kernels that are launched from here on."""
    names, run = [], kernels._run

    def noted(xp, source, name, *arguments):
        names.append(name)
        run(xp, source, name, *arguments)

    monkeypatch.setattr(kernels, "_run", noted)
    return names


@both_precisions
def test_columns_that_fit_are_kept_on_the_chip_and_others_are_read_again(xp, monkeypatch, dtype):
    monkeypatch.setattr(kernels, "PARTIAL_SUMS", 2)  # as where there are so many columns that none is shared
    names, most = launched(monkeypatch), kernels.KEPT[np.dtype(dtype).itemsize]
    least = 32 // np.dtype(dtype).itemsize  # columns in the shortest access
    greatest = 1024 * most // least
    widest = 32 * most  # rows of 32 columns that a block can keep
    for C, m in (
        *((256, 32), (257, 31), (widest, 33), (widest + 1, 33)),
        *((greatest, least + 1), (greatest + 1, least + 1), (300, least - 1)),
    ):
        kept = 256 < C <= greatest and m >= least
        for name in ("softmax", "softmax_cross_entropy", "softmax_cross_entropy_labels"):
            for call in cases(name, Numbers(dtype, PLAIN if m < 33 else BROKEN), C, m):
                names.clear()
                assert_is_the_definition(xp, name, call)
                assert [found.endswith("_kept") for found in names] == [kept], (C, m)


@pytest.mark.parametrize("name", ["l2_penalty", "clip_by_norm", "all_finite", "cost", "l2_gradient", "weigh"])
@both_precisions
def test_a_vector_that_many_blocks_share(xp, name, dtype):
    for call in cases(name, Numbers(dtype), 1, 70_001):
        assert_is_the_definition(xp, name, call)


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_may_be_smaller_than_the_work(xp, monkeypatch, name):
    """Then a thread does more of it: what a loop leaves behind, the next turn must not take for its own."""
    monkeypatch.setattr(kernels, "MOST_BLOCKS", 2)
    monkeypatch.setattr(kernels, "MOST_ROWS", 1)
    monkeypatch.setattr(kernels, "SUMMANDS", 2)
    for n, m in ((19, 131), (3, 1500)):
        for call in cases(name, Numbers(np.float32), n, m):
            assert_is_the_definition(xp, name, call)


# memory that 16-byte accesses do not reach: views of theta begin anywhere


def shifted(xp, x, by):
    """x in memory that begins `by` numbers after a multiple of 16 bytes."""
    memory = xp.empty(x.size + 8, dtype=x.dtype)
    start = -(memory.data.ptr // x.itemsize) % (16 // x.itemsize) + by
    memory[...] = 77
    view = memory[start : start + x.size].reshape(x.shape)
    view[...] = xp.asarray(x)
    assert view.data.ptr % 16 == by * x.itemsize % 16
    return memory, view


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("dtype", "offsets"), [(np.float32, (0, 1, 2, 3)), (np.float64, (0, 1))])
def test_an_update_of_a_view_touches_nothing_beside_it(xp, rule, dtype, offsets):
    rates, x = RULES[rule], Numbers(dtype)
    for by in offsets:
        for size in (1, 5, 64, 131):
            old = [np.abs(x(size)) for _ in range(rule.__code__.co_varnames.index("rate") - 1)]
            whole, views = zip(*(shifted(xp, v, by) for v in old), strict=True)
            theta, g, *state = views
            kernels.update(xp, rule, theta, g, state, xp.asarray(rates, dtype=dtype))
            new = rule(np, *old, *map(dtype, rates))
            for got, expected in zip((theta, *state), new, strict=True):
                assert_allclose(got.get(), expected, rtol=64 * np.finfo(dtype).eps)
            assert_array_equal(g.get(), old[1])
            for memory in whole:
                assert np.count_nonzero(memory.get() == 77) == 8


@both_precisions
def test_rates_may_be_numbers_of_the_host_or_live_on_the_device(xp, dtype):
    x, both = Numbers(dtype), []
    theta, g, m, v = x(37), x(37), x(37), np.abs(x(37))
    for place in (list, tuple, lambda rates: xp.asarray(rates, dtype=dtype)):
        moved = [xp.asarray(part) for part in (theta, g, m, v)]
        kernels.update(xp, updates.adam, moved[0], moved[1], moved[2:], place(RULES[updates.adam]))
        both.append([part.get() for part in moved])
    assert_array_equal(both[0], both[1])
    assert_array_equal(both[0], both[2])


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.float64])
def test_rows_of_a_view_are_gathered_wherever_they_lie(xp, kind):
    parts = {
        "every other row": np.s_[::2, :],
        "every other column": np.s_[:, ::2],
        "columns that begin where an access does": np.s_[:, 16:48],
        "columns that do not": np.s_[:, 17:49],
        "one column": np.s_[:, 3],
        "backwards": np.s_[::-1, ::-1],
    }
    for n in (64, 67):  # of which only the former keeps every row aligned
        whole = np.random.default_rng(0).integers(0, 200, (20, n)).astype(kind)
        for name, part in parts.items():
            table, rows = whole[part], np.array([7, 0, 9, 7, 3])
            out = xp.full((5, *table.shape[1:]), 77, dtype=np.float32)
            kernels.gather(xp, xp.asarray(whole)[part], xp.asarray(rows), out)
            assert_array_equal(out.get(), table[rows].astype(np.float32), err_msg=name)


# subnormal shares are zeros, as on the CPU


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 90.0), (np.float64, 720.0)])
def test_softmax_has_no_subnormal_results(xp, dtype, far):
    Z = np.array([[0.0, 0.0], [-far, -far / 2]], dtype)
    assert 0 < softmax(np, Z)[1, 0] < np.finfo(dtype).tiny
    A = kernels.softmax(xp, xp.asarray(Z)).get()
    assert A[1, 0] == 0 < A[1, 1]
    ell, dZ = xp.empty(2, dtype=dtype), xp.empty((2, 2), dtype=dtype)
    kernels.softmax_cross_entropy_labels(xp, xp.asarray(Z), xp.asarray([0, 0], dtype=np.int32), None, ell, dZ)
    assert dZ.get()[1, 0] == 0 < dZ.get()[1, 1]


@both_precisions
def test_a_class_that_is_ruled_out_and_a_label_that_is_none(xp, dtype):
    Z = Numbers(dtype)(70, 33)
    Z[3:40] = -np.inf
    y = np.full(33, 50, np.int32)
    y[:2] = -1, 70
    ell, dZ = xp.full(33, 77, dtype=dtype), xp.empty((70, 33), dtype=dtype)
    kernels.softmax_cross_entropy_labels(xp, xp.asarray(Z), xp.asarray(y), None, ell, dZ)
    A = softmax(np, Z)
    assert_array_equal(dZ.get()[3:40], 0)
    assert_allclose(ell.get()[2:], -np.log(A[50, 2:]), rtol=1e-5)
    assert np.isnan(ell.get()[:2]).all()  # said, not left as it was
    assert_allclose(dZ.get()[:, :2], A[:, :2], rtol=1e-5)


@both_precisions
def test_classes_that_are_ruled_out_in_the_part_of_one_block(xp, dtype):
    Z = Numbers(dtype)(4096, 3)
    Z[:2500, :2] = -np.inf  # two of the four blocks that share a column see nothing else
    Z[:, 2] = -np.inf
    y, A = np.array([2600, 17, 0], np.int32), softmax(np, Z[:, :2])
    ell, dZ = xp.empty(3, dtype=dtype), xp.empty((4096, 3), dtype=dtype)
    kernels.softmax_cross_entropy_labels(xp, xp.asarray(Z), xp.asarray(y), None, ell, dZ)
    assert_allclose(ell.get()[0], -np.log(A[2600, 0]), rtol=1e-5)
    assert ell.get()[1] == np.inf and np.isnan(ell.get()[2])
    A[2600, 0] -= 1
    A[17, 1] -= 1
    assert_allclose(dZ.get()[:, :2], A, rtol=1e-4)
    assert np.isnan(dZ.get()[:, 2]).all()


# what is added up in several blocks


@pytest.mark.parametrize("shape", [(1, 40_000), (3, 17_003), (2, 16_384), (500, 40)])
@both_precisions
def test_long_rows_are_summed_by_several_blocks(xp, dtype, shape):
    g, x = ACTIVATIONS["tanh"], Numbers(dtype)
    dA, kept = x(*shape), np.tanh(x(*shape))
    got = xp.asarray(dA), xp.empty((shape[0], 1), dtype=dtype)
    kernels.activation_backward(xp, g, got[0], xp.asarray(kept), got[0], got[1])
    dZ = g.backward(np, dA, kept)
    assert_allclose(got[0].get(), dZ, rtol=8 * np.finfo(dtype).eps)
    mean = dZ.astype(np.float64).mean(axis=1, keepdims=True)
    assert_allclose(got[1].get(), mean, atol=4e-8 if dtype is np.float32 else 1e-16)


@both_precisions
def test_a_sum_of_squares_neither_overflows_early_nor_loses_the_small(xp, dtype):
    big = xp.asarray(np.full(1000, 1e30, dtype))
    kernels.clip_by_norm(xp, big, 1.0)
    assert_allclose(big.get(), np.full(1000, 1000**-0.5), rtol=1e-6)


# what a user brings: no line of kernel code


def swish(xp, Z):
    return Z / (1.0 + xp.exp(-Z))


def swish_backward(xp, dA, Z):
    s = 1.0 / (1.0 + xp.exp(-Z))
    return dA * (s + Z * s * (1.0 - s))


def clipped(xp, Z):
    return xp.where((Z > -1.0) & (Z < 1.0), Z, xp.sign(Z)) + xp.sqrt(xp.abs(Z)) - 2


def clipped_backward(xp, dA, Z):
    return xp.where(~((Z > 1.0) | (Z < -1.0)), dA, 0 * dA)


def lion(xp, theta, g, v, rate, beta):
    return theta - rate * xp.sign(beta * v + (1.0 - beta) * g), beta * v + (1.0 - beta) * g


@both_precisions
@pytest.mark.parametrize(("forward", "backward"), [(swish, swish_backward), (clipped, clipped_backward)])
def test_a_users_own_activation(xp, dtype, forward, backward):
    g, x = Activation("own", forward, backward), Numbers(dtype)
    W, b, A_prev, Z, A = x(5, 3), x(5, 1), x(3, 33), x.empty(5, 33), x.empty(5, 33)
    assert_is_the_definition(xp, "dense_forward", {"W": W, "b": b, "A_prev": A_prev, "g": g, "Z": Z, "A": A})
    dA, kept, db = x(5, 33), x(5, 33), x.empty(5, 1)
    call = {"g": g, "dA": dA, "kept": kept, "dZ": dA, "db": db}
    assert_is_the_definition(xp, "activation_backward", call)


@both_precisions
def test_a_users_own_update_rule(xp, dtype):
    x = Numbers(dtype)
    call = {"rule": lion, "theta": x(77), "g": x(77), "state": (x(77),), "rates": (0.1, 0.75)}
    assert_is_the_definition(xp, "update", call)


def test_a_users_own_loss_is_not_replaced(gpu, xp):
    def squared_error(xp, Z, Y, ell, dZ):
        dZ[...] = 3.0 * (Z - Y)
        ell[...] = 1.5 * xp.sum((Z - Y) * (Z - Y), axis=0)

    assert gpu[squared_error].func is squared_error
    assert gpu[losses.squared_error].func is kernels.squared_error
    assert replace(gpu, kernels=None)[losses.squared_error].func is losses.squared_error


# where the memory of a device and of a stream is


def test_each_stream_and_device_has_its_own_place_for_sums(monkeypatch):
    machine = install(monkeypatch, devices=2)
    import cupy as cp

    for device in (0, 1):
        with cp.cuda.Device(device):
            g = cp.asarray(np.ones(9, np.float32))
            cp.cuda.get_current_stream().synchronize()
            for stream in (cp.cuda.Stream(non_blocking=True), cp.cuda.Stream(non_blocking=True)):
                with stream:
                    kernels.clip_by_norm(cp, g, 1.0)
                    with machine.counting() as seen:
                        kernels.clip_by_norm(cp, g, 1.0)
                    assert (seen.allocations, seen.host_waits, seen.kernels) == (0, 0, 2)
                    stream.synchronize()
    sums = 2 * 8 * kernels.PARTIAL_SUMS
    assert machine.used == {0: sums, 1: sums + 512}  # the last g is still there
