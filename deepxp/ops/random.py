"""Random bits as a function of a counter, in arithmetic on arrays of 64-bit words."""

from deepxp.ops.typing import Array, Namespace

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
INCREMENTS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
LOW = 0xFFFFFFFF


def multiply_high(a: Array, b: int) -> Array:
    """The upper 64 of the 128 bits of a b"""
    a0, a1, b0, b1 = a & LOW, a >> 32, b & LOW, b >> 32
    low = a0 * b0
    middle = a1 * b0 + (low >> 32)
    other = a0 * b1 + (middle & LOW)
    return a1 * b1 + (middle >> 32) + (other >> 32)


def philox(x: tuple[Array, ...], key: tuple[Array, ...]) -> tuple[Array, ...]:
    """Philox4x64-10 (Salmon et al. 2011): four words for each counter x of four words under a key of two"""
    k = key
    for _ in range(10):
        high0, low0 = multiply_high(x[0], MULTIPLIERS[0]), x[0] * MULTIPLIERS[0]
        high1, low1 = multiply_high(x[2], MULTIPLIERS[1]), x[2] * MULTIPLIERS[1]
        x = (high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0)
        k = (k[0] + INCREMENTS[0], k[1] + INCREMENTS[1])
    return x


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """16 uniform bits for each unit of a layer and each sample, four to a word of the stream, the lowest first

    key (2,) is (seed, purpose), uint64, and counter (2,) is (step, epoch), as an array of that kind or as whole
    numbers; block i of the stream is Philox of the counter (i + 1, layer, step, epoch). Fills out (n, m), uint16.
    """
    size, every = out.shape[0] * out.shape[1], xp.reshape(out, (-1,))[::16]
    block = xp.asarray(xp.nonzero(every == every)[0], dtype=key.dtype) + 1  # 1, 2, ... where `out` lives
    zero = block - block
    x = (block, zero + layer, zero + counter[0], zero + counter[1])
    words = xp.reshape(xp.stack(philox(x, (key[0:1], key[1:2])), axis=1), (-1, 1))
    parts = xp.concat([words & 0xFFFF, (words >> 16) & 0xFFFF, (words >> 32) & 0xFFFF, words >> 48], axis=1)
    out[...] = xp.asarray(xp.reshape(xp.reshape(parts, (-1,))[:size], out.shape), dtype=out.dtype)
