"""The bits of dropout: one stream, computed by NumPy's generator, by the definition on arrays, and by a kernel."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepxp import rng
from deepxp.ops.random import dropout_bits, multiply_high, philox

SHAPES = [(1, 1), (1, 3), (2, 2), (5, 3), (4, 4), (1, 17), (31, 33), (257, 7), (64, 128)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_backend_draws_the_bits_of_numpys_philox(backend, shape):
    with backend.active():
        key, counter = (backend.asarray(x) for x in rng.dropout_stream(7, 3, 5))
        out = backend.zeros(shape, "uint16")
        backend[dropout_bits](key, counter, 2, out)
    counter = np.array([0, 2, 5, 3], dtype=np.uint64)  # block, layer, step, epoch
    words = np.random.Philox(key=np.array([7, rng.Purpose.DROPOUT], dtype=np.uint64), counter=counter).random_raw(9000)
    size = shape[0] * shape[1]
    numbers = [int(word) >> 16 * i & 0xFFFF for word in words[: size // 4 + 1] for i in range(4)]
    assert_array_equal(backend.asnumpy(out), np.reshape(numbers[:size], shape))


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1, -1])
def test_large_keys_and_counters_lose_no_bit(backend, seed):
    with backend.active():
        key, counter = (backend.asarray(x) for x in rng.dropout_stream(seed, 2**64 - 1, 2**33 + 1))
        out = backend.zeros((9, 11), "uint16")
        backend[dropout_bits](key, counter, 2**40, out)
    assert_array_equal(backend.asnumpy(out), rng.dropout_bits(seed, 2**64 - 1, 2**33 + 1, 2**40, (9, 11)))


def test_the_upper_half_of_a_product():
    words = np.random.default_rng(0).integers(0, 2**64, 100, dtype=np.uint64)
    words[:3] = 0, 1, 2**64 - 1
    for b in (0, 1, 2**32, 0xD2E7470EE14C6C93, 2**64 - 1):
        expected = [int(a) * b >> 64 for a in words]
        assert_array_equal(multiply_high(words, b), np.array(expected, dtype=np.uint64))


def test_philox_as_published():
    """The known answers for Philox4x64-10 of the authors' own library (Random123, kat_vectors)."""
    zeros, ones = (np.array([word], dtype=np.uint64) for word in (0, 2**64 - 1))
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert [int(x[0]) for x in philox((zeros,) * 4, (zeros,) * 2)] == expected
    expected = [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]
    assert [int(x[0]) for x in philox((ones,) * 4, (ones,) * 2)] == expected
