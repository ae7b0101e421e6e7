"""Every kernel against its definition on the device itself, at the sizes at which warps, blocks and 16-byte accesses
end, with ordinary, extreme and broken numbers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_cuda_kernels import COLUMNS, NAMES, SHAPES, assert_is_the_definition, both_precisions
from test_kernels import BROKEN, EXTREME, PLAIN, Numbers, cases

from deepxp.ops.batches import gather


@pytest.mark.parametrize("name", NAMES)
@both_precisions
@pytest.mark.parametrize("kind", [PLAIN, EXTREME, BROKEN])
def test_a_kernel_is_its_definition_at_every_shape(gpu, name, dtype, kind):
    shapes = SHAPES if is_real(gpu) else SHAPES[3:5]  # the shim runs all of them in test_cuda_kernels
    with gpu.active():
        for seed, (n, m) in enumerate(shapes):
            for call in cases(name, Numbers(dtype, kind, seed), n, m):
                assert_is_the_definition(gpu.xp, name, call)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("softmax") or name == "squared_error"])
@both_precisions
def test_few_columns_of_many_classes_and_many_of_few(gpu, name, dtype):
    sizes = [*COLUMNS, (10, 70_001), (32_000, 17), (4096, 2100), (8192, 2049)] if is_real(gpu) else COLUMNS[-1:]
    with gpu.active():
        for seed, (C, m) in enumerate(sizes):
            for call in cases(name, Numbers(dtype, PLAIN, seed), C, m):
                assert_is_the_definition(gpu.xp, name, call)


@pytest.mark.parametrize("kind", ["uint8", "int64", "bool", "float16", "float32", "float64"])
def test_rows_are_gathered_from_tables_of_every_type_and_size(gpu, kind):
    random = np.random.default_rng(0)
    for M, n, m in (
        [(60_000, 784, 1024), (60_000, 783, 33), (9, 5, 70_001)] if is_real(gpu) else [(90, 12, 17), (9, 5, 3)]
    ):
        table, rows = random.integers(0, 200, (M, n)).astype(kind), random.integers(0, M, m)
        with gpu.active():
            for dtype in ("float32", "float16"):
                out = gpu.empty((m, n), dtype)
                gpu[gather](gpu.asarray(table), gpu.asarray(rows), out)
                assert_array_equal(out.get(), table[rows].astype(dtype))


def test_float32_results_below_the_normal_numbers_are_zero_or_right(gpu):
    """The kernels are compiled with -ftz=true: a subnormal result may be flushed, and must not be anything else."""
    from deepxp.ops.activations import softmax

    Z = np.array([[0.0, 0.0], [-90.0, -101.0]], np.float32)
    with gpu.active():
        A = gpu[softmax](gpu.asarray(Z)).get()
    exact = np.exp(Z[1].astype(np.float64))
    assert ((A[1] == 0) | (np.abs(A[1] / exact - 1) < 1e-5)).all()
    assert A[0].tolist() == [1.0, 1.0]


def is_real(gpu):
    return hasattr(gpu.xp, "_core")  # the double has no inside
