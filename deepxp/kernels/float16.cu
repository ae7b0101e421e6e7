// The 16 bits of a float in float16: 5 of exponent, 10 after the point. Rounded to the nearest, ties to even; NaN stays
// NaN, and what is too large becomes infinite. Below 2^-14 its numbers are multiples of 2^-24, which is what a float
// between 1/2 and 1 is rounded to.
struct Float16 {
    __device__ __forceinline__ unsigned short operator()(T x) const {
        const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
        const unsigned small = __float_as_uint(fabs(x) + (T)0.5) - 0x3f000000u;
        const unsigned normal = (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;
        const unsigned large = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
        return sign | (size < 0x38800000u ? small : size < 0x477ff000u ? normal : large);
    }
};

struct Half {
    unsigned short bits;
    Half() = default;
    __device__ __forceinline__ Half(T x) : bits(Float16()(x)) {}
};
