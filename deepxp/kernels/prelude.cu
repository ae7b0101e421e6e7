// A kernel may be launched with 256 threads a block: that many have room for all the registers a thread may use. One that
// is launched with more says so in __launch_bounds__.
//
// What every kernel begins with, after `typedef float T;` or double: indices, 16-byte accesses, the choices of the array
// API with its NaN, sums over the threads of a block.

typedef unsigned long long Index;

constexpr int N = 16 / sizeof(T);                          // numbers of a 16-byte access
constexpr bool SINGLE = sizeof(T) == 4;
constexpr T LOWEST = SINGLE ? (T)-3.402823466e38 : (T)-1.7976931348623157e308;
constexpr T SMALLEST = SINGLE ? (T)1.17549435e-38 : (T)2.2250738585072014e-308;  // of the normal numbers

template <typename U> struct alignas(sizeof(U) * N) Pack { U v[N]; };

template <typename U> static __device__ __forceinline__ Pack<U> load(const U *x, Index pack) {
    return reinterpret_cast<const Pack<U> *>(x)[pack];
}

template <typename U> static __device__ __forceinline__ void store(U *x, Index pack, const Pack<U> &value) {
    reinterpret_cast<Pack<U> *>(x)[pack] = value;
}

static __device__ __forceinline__ bool aligned() { return true; }

template <typename U, typename... Others>
static __device__ __forceinline__ bool aligned(const U *x, const Others *...others) {
    return (Index)x % sizeof(Pack<U>) == 0 && aligned(others...);
}

// 64-bit division takes several times as long, and few arrays have 2^32 numbers
static __device__ __forceinline__ Index quotient(Index a, Index b) {
    return (a | b) >> 32 ? a / b : (unsigned)a / (unsigned)b;
}

static __device__ __forceinline__ Index thread_index() { return (Index)blockIdx.x * blockDim.x + threadIdx.x; }

static __device__ __forceinline__ Index thread_count() { return (Index)gridDim.x * blockDim.x; }

static __device__ __forceinline__ T maximum(T a, T b) { return a > b || a != a ? a : b; }

static __device__ __forceinline__ T minimum(T a, T b) { return a < b || a != a ? a : b; }

static __device__ __forceinline__ T sign(T x) { return x > (T)0 ? (T)1 : x < (T)0 ? (T)-1 : x; }

// The sum of `x` over the threads of a row of the block (threadIdx.x), in an order that is always the same; every
// thread of the row gets it. blockDim.x is 32 to 1024 and a power of two. `shared` has a place for each warp.
template <typename U> static __device__ U sum_of_row(U x, U *shared) {
    for (int distance = 16; distance; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
    const int warps = blockDim.x / 32;
    if (warps == 1) return x;
    U *mine = shared + threadIdx.y * warps;
    __syncthreads();  // a sum before this one may still be read
    if (threadIdx.x % 32 == 0) mine[threadIdx.x / 32] = x;
    __syncthreads();
    U total = mine[0];
    for (int warp = 1; warp < warps; ++warp) total += mine[warp];
    return total;
}

// The sum of `x` over the threads of a column of the block (threadIdx.y), likewise; thread (., 0) gets it. blockDim.y is
// a power of two. `shared` has a place for each thread.
static __device__ T sum_of_column(T x, T *shared) {
    const int at = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();
    shared[at] = x;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) shared[at] += shared[at + half * blockDim.x];
    }
    return shared[at];
}
