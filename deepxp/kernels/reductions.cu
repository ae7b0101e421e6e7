// Sums over vectors, without atomic additions: what a block adds up and in which order depends on the size alone.

// db = the sum of the parts of each row / m
extern "C" __global__ void mean_of_parts(Index n, Index m, Index parts, const double *sums, T *db) {
    for (Index row = thread_index(); row < n; row += thread_count()) {
        double total = 0;
        for (Index part = 0; part < parts; ++part) total += sums[part * n + row];
        db[row] = (T)(total / (double)m);
    }
}

// J = 1/m sum of losses; one block
extern "C" __global__ __launch_bounds__(1024) void mean(Index m, const T *losses, T *J) {
    __shared__ double shared[32];
    double total = 0;
    for (Index j = threadIdx.x; j < m; j += blockDim.x) total += losses[j];
    total = sum_of_row(total, shared);
    if (threadIdx.x == 0) *J = (T)(total / (double)m);
}

// sums[block] = the sum of the squares that the block reads
extern "C" __global__ void squares(Index size, const T *x, double *sums) {
    __shared__ double shared[32];
    double total = 0;
    Index done = 0;
    if (aligned(x)) {
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) {
            const Pack<T> numbers = load(x, pack);
#pragma unroll
            for (int i = 0; i < N; ++i) total += (double)numbers.v[i] * numbers.v[i];
        }
    }
    for (Index k = done + thread_index(); k < size; k += thread_count()) total += (double)x[k] * x[k];
    total = sum_of_row(total, shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// every thread gets the sum of sums[0..count)
static __device__ double total_of(Index count, const double *sums) {
    __shared__ double shared[32];
    double total = 0;
    for (Index k = threadIdx.x; k < count; k += blockDim.x) total += sums[k];
    return sum_of_row(total, shared);
}

// J = J + strength/2 ||w||^2; one block
extern "C" __global__ void penalty(Index count, const double *sums, T strength, T *J) {
    const double total = total_of(count, sums);
    if (threadIdx.x == 0) *J += (T)(0.5 * (double)strength * total);
}

// g = g limit / max(||g||, limit); g is written only where it is too long, or where its norm is NaN
extern "C" __global__ void clip(Index size, T *g, Index count, const double *sums, T limit) {
    const double norm = sqrt(total_of(count, sums));
    if (norm <= (double)limit) return;
    const T factor = (T)((double)limit / norm);
    Index done = 0;
    if (aligned(g)) {
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) {
            Pack<T> numbers = load(g, pack);
#pragma unroll
            for (int i = 0; i < N; ++i) numbers.v[i] *= factor;
            store(g, pack, numbers);
        }
    }
    for (Index k = done + thread_index(); k < size; k += thread_count()) g[k] *= factor;
}

// flag = 0 where some x is NaN or infinite; else it stays as it is. All that write, write the same.
extern "C" __global__ void all_finite(Index size, const T *x, T *flag) {
    bool sound = true;
    Index done = 0;
    if (aligned(x)) {
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) {
            const Pack<T> numbers = load(x, pack);
#pragma unroll
            for (int i = 0; i < N; ++i) sound = sound && numbers.v[i] - numbers.v[i] == (T)0;
        }
    }
    for (Index k = done + thread_index(); k < size; k += thread_count()) sound = sound && x[k] - x[k] == (T)0;
    if (!sound) *flag = (T)0;
}

__device__ void copy(Index size, const T *from, T *to) {
    Index done = 0;
    if (aligned(from) && aligned(to)) {
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) store(to, pack, load(from, pack));
    }
    for (Index k = done + thread_index(); k < size; k += thread_count()) to[k] = from[k];
}

extern "C" __global__ void remember(Index size, const T *x, T *old) { copy(size, x, old); }

// x = old where the flag fell
extern "C" __global__ void restore(Index size, const T *flag, const T *old, T *x) {
    if (*flag > (T)0) return;
    copy(size, old, x);
}
