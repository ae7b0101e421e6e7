"""The random bits of dropout, as a function of their place: Philox4x64-10 (Salmon et al. 2011) and nothing remembered."""

from deepxp.ops.typing import Array, Namespace

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # of the key, from round to round
LOW = 0xFFFFFFFF


def high_word(a: int, b: Array) -> Array:
    """floor(a b / 2^64) for 64-bit numbers: long multiplication in halves of 32 bits"""
    a_low, a_high, b_low, b_high = a & LOW, a >> 32, b & LOW, b >> 32
    middle = a_high * b_low + (a_low * b_low >> 32)
    return a_high * b_high + (middle >> 32) + (a_low * b_high + (middle & LOW) >> 32)


def philox(key: tuple[Array, Array], counter: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Four random 64-bit words for each counter of four words; numbers wrap at 2^64"""
    (k0, k1), (x0, x1, x2, x3) = key, counter
    for _ in range(ROUNDS):
        x0, x1, x2, x3 = (
            high_word(MULTIPLIERS[1], x2) ^ x1 ^ k0,
            MULTIPLIERS[1] * x2,
            high_word(MULTIPLIERS[0], x0) ^ x3 ^ k1,
            MULTIPLIERS[0] * x0,
        )
        k0, k1 = k0 + STEPS[0], k1 + STEPS[1]
    return x0, x1, x2, x3


def dropout_bits(xp: Namespace, key: Array, counter: Array, layer: int, out: Array) -> None:
    """out_p = bits 16 (p mod 4) .. 16 (p mod 4) + 15 of word p/4 mod 4 of philox(key, (p/16 + 1, layer, step, epoch))

    out (n, m) of uint16, p its place row by row. key = (seed, purpose) in uint64 and counter = (step, epoch): what
    makes the bits of a step, both read when they are needed. The same numbers on every device.
    """
    place = xp.asarray(xp.nonzero(xp.reshape(out, (-1,)) >= 0)[0], dtype=xp.uint64)  # 0, 1, 2, ... where out lives
    none = place ^ place
    blocks = place // 16 + 1, none + layer, none + counter[0], none + counter[1]
    x0, x1, x2, x3 = philox((none + key[0], none + key[1]), blocks)
    word = place // 4 % 4
    chosen = xp.where(word < 2, xp.where(word == 0, x0, x1), xp.where(word == 2, x2, x3))
    out[...] = xp.reshape(xp.asarray((chosen >> (16 * (place % 4))) & 0xFFFF, dtype=xp.uint16), out.shape)
