// 16 bits of a float: rounded to the nearest, ties to even; NaN stays NaN, and what is too large becomes infinite.

// bfloat16, the upper half of a float.
struct Bfloat16 {
    __device__ __forceinline__ unsigned short operator()(T x) const {
        const unsigned bits = __float_as_uint(x);
        return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    }
};

struct ScaledFloat16 {
    T scale;
    __device__ __forceinline__ unsigned short operator()(T x) const { return Float16()(scale * x); }
};

template <typename Rounded>
static __device__ __forceinline__ void round_all(Index size, const T *x, unsigned short *out, Rounded rounded) {
    Index done = 0;
    if (aligned(x, out)) {
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) {
            const Pack<T> numbers = load(x, pack);
            Pack<unsigned short> bits;
#pragma unroll
            for (int i = 0; i < N; ++i) bits.v[i] = rounded(numbers.v[i]);
            store(out, pack, bits);
        }
    }
    for (Index k = done + thread_index(); k < size; k += thread_count()) out[k] = rounded(x[k]);
}

extern "C" __global__ void to_bfloat16(Index size, const T *x, unsigned short *out) {
    round_all(size, x, out, Bfloat16());
}

extern "C" __global__ void to_float16(Index size, const T *x, unsigned short *out) {
    round_all(size, x, out, Float16());
}

// out = S x, and for the product that reads it, factors = 1 / (S divisor), 0
extern "C" __global__ void to_scaled_float16(
    Index size, const T *x, const T *S, T divisor, unsigned short *out, T *factors) {
    if (thread_index() == 0) factors[0] = (T)1 / (*S * divisor), factors[1] = (T)0;
    round_all(size, x, out, ScaledFloat16{*S});
}
