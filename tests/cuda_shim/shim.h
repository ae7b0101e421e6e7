// Enough of CUDA C++ for g++: the threads of a block are fibers of one host thread, run in turn; at a barrier and at a
// shuffle the others run until all have come. Blocks run one after the other, backwards, so that what depends on their order
// shows. A barrier that some thread never reaches is an error, and so is a shuffle.

// No header of the C++ library is included: they would take ten times as long to compile as the kernels.

#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define FUNCTION(name)                                              \
    static inline float name(float x) { return __builtin_##name##f(x); } \
    static inline double name(double x) { return __builtin_##name(x); }
static inline float pow(float x, float y) { return __builtin_powf(x, y); }
static inline double pow(double x, double y) { return __builtin_pow(x, y); }
FUNCTION(exp) FUNCTION(expm1) FUNCTION(log) FUNCTION(log1p) FUNCTION(sqrt) FUNCTION(tanh) FUNCTION(fabs)

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Three { unsigned x, y, z; };
static Three threadIdx, blockIdx, blockDim, gridDim;

static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

namespace shim {

constexpr unsigned MOST = 1024, STACK = 64 * 1024;
enum State { READY, AT_BLOCK, AT_WARP, DONE };

static jmp_buf scheduler, fiber[MOST];
static ucontext_t start, back;
static State state[MOST];
static bool begun[MOST];
static char *stacks;
static unsigned current, threads;
static bool progress, misaligned;
static double slots[MOST];
static void (*kernel)(void **);
static void **arguments;

static void place(unsigned t) {
    current = t;
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

static void loop() {  // a fiber serves one thread of each block, for ever
    for (;;) {
        kernel(arguments);
        state[current] = DONE;
        if (!_setjmp(fiber[current])) _longjmp(scheduler, 1);
    }
}

static __attribute__((noinline)) void wait(State where) {
    state[current] = where;
    if (!_setjmp(fiber[current])) _longjmp(scheduler, 1);
}

static __attribute__((noinline)) void resume(unsigned t) {
    place(t);
    if (_setjmp(scheduler)) return;
    if (begun[t]) _longjmp(fiber[t], 1);
    begun[t] = true;
    getcontext(&start);
    start.uc_stack.ss_sp = stacks + (size_t)t * STACK;
    start.uc_stack.ss_size = STACK;
    start.uc_link = &back;
    makecontext(&start, loop, 0);
    setcontext(&start);
}

static bool release(unsigned from, unsigned to, State where) {  // true where all threads have come, and may go on
    for (unsigned t = from; t < to; ++t)
        if (state[t] != where) return false;
    for (unsigned t = from; t < to; ++t) state[t] = READY;
    return true;
}

static bool block() {  // false: stuck
    for (unsigned t = 0; t < threads; ++t) state[t] = READY;
    for (;;) {
        // a warp runs as far as it can before another begins, from either end: then a barrier that is missing shows
        static unsigned order = 1;
        order = order * 1103515245u + 12345u;
        const unsigned warps = (threads + 31) / 32;
        bool done = true;
        for (unsigned i = 0; i < warps; ++i) {
            const unsigned w = 32 * (order >> 30 & 1 ? i : warps - 1 - i);
            const unsigned end = w + 32 < threads ? w + 32 : threads;
            do
                for (unsigned t = w; t < end; ++t)
                    if (state[t] == READY) resume(t);
            while (release(w, end, AT_WARP));
        }
        for (unsigned t = 0; t < threads; ++t) done = done && state[t] == DONE;
        if (done) return true;
        if (!release(0, threads, AT_BLOCK)) {
            for (unsigned t = 0; t < threads; ++t) begun[t] = begun[t] && state[t] == DONE;  // others start anew
            return false;
        }
    }
}

// 0, or 1 where the threads got stuck, or 2 where an access was not aligned to its size
static int run(void (*call)(void **), void **given, const unsigned *grid, const unsigned *size, bool flush) {
    if (!stacks)
        stacks = (char *)mmap(0, (size_t)MOST * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const unsigned mode = __builtin_ia32_stmxcsr();
    if (flush) __builtin_ia32_ldmxcsr(mode | 0x8040);  // results and operands, as with -ftz=true
    kernel = call, arguments = given, misaligned = false;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {size[0], size[1], size[2]};
    threads = size[0] * size[1] * size[2];
    int stuck = 0;
    for (unsigned long long b = (unsigned long long)grid[0] * grid[1] * grid[2]; b-- && !stuck;) {
        blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / grid[0] / grid[1])};
        stuck = !block();
    }
    __builtin_ia32_ldmxcsr(mode);
    return stuck ? 1 : misaligned ? 2 : 0;
}

template <size_t... I> struct Places {};

template <typename... A, size_t... I> static void unpack(void (*f)(A...), void **given, Places<I...>) {
    f(*(A *)given[I]...);
}

template <typename... A> static void call(void (*f)(A...), void **given) {
    unpack(f, given, Places<__integer_pack(sizeof...(A))...>());
}

template <typename U> struct Size { static constexpr int value = sizeof(U); };
template <typename U> struct Size<U *> { static constexpr int value = -8; };

template <typename... A> static void sizes(void (*)(A...), int *out) {  // of the parameters; pointers negative
    const int all[] = {Size<A>::value..., 0};
    memcpy(out, all, sizeof all);
}

}  // namespace shim

// g++ calls this, with -fsanitize=alignment, before an access that a GPU refuses: the thread goes no further
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void *, void *) {
    shim::misaligned = true;
    shim::state[shim::current] = shim::DONE;
    shim::begun[shim::current] = false;
    _longjmp(shim::scheduler, 1);
}

static inline void __syncthreads() { shim::wait(shim::AT_BLOCK); }

template <typename U> static U __shfl_xor_sync(unsigned mask, U x, int lanes) {
    static_assert(sizeof(U) <= 8, "a slot has 8 bytes");
    const unsigned t = shim::current;
    memcpy(&shim::slots[t], &x, sizeof x);
    shim::wait(shim::AT_WARP);
    U other;
    memcpy(&other, &shim::slots[t / 32 * 32 + (t % 32 ^ lanes)], sizeof other);
    shim::wait(shim::AT_WARP);
    return other;
}
