// out = x rounded to bfloat16, the upper half of a float: to the nearest, ties to even; NaN stays NaN. Writes out.
extern "C" __global__ void to_bfloat16(Index size, const T *x, unsigned short *out) {
    for (Index k = thread_index(); k < size; k += thread_count()) {
        const unsigned bits = __float_as_uint(x[k]);
        const unsigned half = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        out[k] = (unsigned short)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : half);
    }
}
