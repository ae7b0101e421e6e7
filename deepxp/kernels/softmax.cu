// Softmax down the columns of Z (C, m), alone and with its loss. A block takes blockDim.x columns, whose rows its
// blockDim.y threads share; with few columns of many rows, gridDim.y blocks share a column, and `softmax_parts` runs
// first. Z is read for the greatest logit and the sum of the exponentials, in one pass, and once more for what is
// written; the kernels that end in _kept have the block's columns in its registers, and read Z once. Results below the
// normal numbers are 0.

struct Running { T top, total; };  // the greatest logit so far, and sum e^(z - top)

static __device__ __forceinline__ Running joined(Running a, Running b) {
    const T top = maximum(a.top, b.top);
    return {top, a.total * exp(a.top - top) + b.total * exp(b.top - top)};
}

static __device__ __forceinline__ Index begin(Index C) { return C * blockIdx.y / gridDim.y; }

static __device__ __forceinline__ Index end(Index C) { return C * (blockIdx.y + 1) / gridDim.y; }

// Two ways to go down the rows of column j that are this thread's: `first` once, then `each`.

struct Read {
    static constexpr bool ALONE = false;  // is the column all the block's?

    __device__ Running first(Index C, Index m, const T *Z, Index j) {
        Running mine = {LOWEST, (T)0};
        constexpr int AHEAD = 4;  // rows that are on their way at once
        Index i = begin(C) + threadIdx.y;
        const Index last = j < m ? end(C) : 0;
        for (; i + (AHEAD - 1) * blockDim.y < last; i += AHEAD * blockDim.y) {
            T z[AHEAD], top = mine.top;
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) z[k] = Z[(i + k * blockDim.y) * m + j];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) top = maximum(top, z[k]);
            mine = {top, mine.total * exp(mine.top - top)};
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) mine.total += exp(z[k] - top);
        }
        for (; i < last; i += blockDim.y) {
            const T z = Z[i * m + j], top = maximum(mine.top, z);
            mine = {top, mine.total * exp(mine.top - top) + exp(z - top)};
        }
        return mine;
    }

    template <typename F> __device__ __forceinline__ void each(Index C, Index m, const T *Z, Index j, F f) const {
        for (Index i = begin(C) + threadIdx.y; i < end(C); i += blockDim.y) f(i, Z[i * m + j]);
    }
};

struct Kept {
    static constexpr bool ALONE = true;
    static constexpr int MOST = SINGLE ? 32 : 6;  // of the 64 registers of a thread, where there are 1024

    T z[MOST];
    int rows;

    __device__ __forceinline__ Running first(Index C, Index m, const T *Z, Index j) {
        rows = j < m && threadIdx.y < C ? (int)((C - 1 - threadIdx.y) / blockDim.y) + 1 : 0;
        const T *next = Z + threadIdx.y * m + j;
        Running mine = {LOWEST, (T)0};
#pragma unroll
        for (int k = 0; k < MOST; ++k, next += blockDim.y * m)
            if (k < rows) z[k] = *next;
#pragma unroll
        for (int k = 0; k < MOST; ++k)
            if (k < rows) mine.top = maximum(mine.top, z[k]);
#pragma unroll
        for (int k = 0; k < MOST; ++k)
            if (k < rows) mine.total += exp(z[k] - mine.top);
        return mine;
    }

    template <typename F> __device__ __forceinline__ void each(Index, Index, const T *, Index, F f) const {
#pragma unroll
        for (int k = 0; k < MOST; ++k)
            if (k < rows) f((Index)(threadIdx.y + k * blockDim.y), z[k]);
    }
};

// Of the threads of the block that share a column, for all of them. The top is never -inf: rows of nothing but -inf have
// the total 0, and a column of nothing else becomes NaN from there, as e^(-inf - -inf) is. An infinite one is NaN, too.
static __device__ Running of_block(Running mine) {
    __shared__ T tops[1024], totals[1024];
    const int at = threadIdx.y * blockDim.x + threadIdx.x;
    tops[at] = mine.top, totals[at] = mine.total;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) {
            const int other = at + half * blockDim.x;
            const Running both = joined({tops[at], totals[at]}, {tops[other], totals[other]});
            tops[at] = both.top, totals[at] = both.total;
        }
    }
    __syncthreads();
    return {tops[threadIdx.x], totals[threadIdx.x]};
}

// parts (gridDim.y, 2, m) = top and total of each block's rows
extern "C" __global__ __launch_bounds__(1024) void softmax_parts(Index C, Index m, const T *Z, double *parts) {
    const Index j = thread_index();
    const Running rows = of_block(Read().first(C, m, Z, j));
    if (j >= m || threadIdx.y != 0) return;
    parts[2 * blockIdx.y * m + j] = rows.top;
    parts[(2 * blockIdx.y + 1) * m + j] = rows.total;
}

// Of a whole column, for all threads of the block that share it.
template <typename Rows>
static __device__ __forceinline__ Running of_column(
    Rows &rows, Index C, Index m, const T *Z, Index j, const double *parts) {
    if (Rows::ALONE || gridDim.y == 1) return of_block(rows.first(C, m, Z, j));
    Running column = {LOWEST, (T)0};
    if (j < m)
        for (Index part = 0; part < gridDim.y; ++part)
            column = joined(column, {(T)parts[2 * part * m + j], (T)parts[(2 * part + 1) * m + j]});
    return column;
}

static __device__ __forceinline__ T share(T z, Running column) {
    const T a = exp(z - column.top) / column.total;
    return a < SMALLEST ? (T)0 : a;
}

template <typename Rows>
static __device__ __forceinline__ void shares(Index C, Index m, const T *Z, const double *parts, T *A) {
    const Index j = thread_index();
    Rows rows;
    const Running column = of_column(rows, C, m, Z, j, parts);
    if (j >= m) return;
    rows.each(C, m, Z, j, [=](Index i, T z) { A[i * m + j] = share(z, column); });
}

// A = softmax(Z)
extern "C" __global__ __launch_bounds__(1024) void softmax(Index C, Index m, const T *Z, const double *parts, T *A) {
    shares<Read>(C, m, Z, parts, A);
}

extern "C" __global__ __launch_bounds__(1024) void softmax_kept(
    Index C, Index m, const T *Z, const double *parts, T *A) {
    shares<Kept>(C, m, Z, parts, A);
}

template <typename Rows>
static __device__ __forceinline__ void of_labels(
    Index C, Index m, const T *Z, const double *parts, const int *y, T *losses, T *dZ) {
    const Index j = thread_index();
    Rows rows;
    const Running column = of_column(rows, C, m, Z, j, parts);
    if (j >= m) return;
    const long long label = y[j];
    if ((label < 0 || label >= (long long)C) && threadIdx.y == 0 && blockIdx.y == 0) losses[j] = log((T)-1);
    rows.each(C, m, Z, j, [=](Index i, T z) {
        const bool chosen = i == (Index)label;
        if (chosen) losses[j] = log(column.total) - (z - column.top);
        dZ[i * m + j] = share(z, column) - (chosen ? (T)1 : (T)0);
    });
}

// losses = -log a_y, dZ = A - 1 at the label y. A label that is no class has the loss NaN.
extern "C" __global__ __launch_bounds__(1024) void softmax_labels(
    Index C, Index m, const T *Z, const double *parts, const int *y, T *losses, T *dZ) {
    of_labels<Read>(C, m, Z, parts, y, losses, dZ);
}

extern "C" __global__ __launch_bounds__(1024) void softmax_labels_kept(
    Index C, Index m, const T *Z, const double *parts, const int *y, T *losses, T *dZ) {
    of_labels<Kept>(C, m, Z, parts, y, losses, dZ);
}

template <typename Rows>
static __device__ __forceinline__ void of_targets(
    Index C, Index m, const T *Z, const double *parts, const T *Y, Index row, Index next, T *losses, T *dZ) {
    __shared__ T shared[1024];
    const Index j = thread_index();
    Rows rows;
    const Running column = of_column(rows, C, m, Z, j, parts);
    const T shift = log(column.total);
    T loss = 0;
    if (j < m)
        rows.each(C, m, Z, j, [=, &loss](Index i, T z) {
            const T y = Y[i * row + j * next];
            loss -= y * (z - column.top - shift);
            dZ[i * m + j] = share(z, column) - y;
        });
    loss = sum_of_column(loss, shared);
    if (j < m && threadIdx.y == 0) losses[j] = loss;
}

// losses = -sum_i y_i log a_i, dZ = A - Y; gridDim.y is 1. Y (C, m) lies as its two strides say, in numbers.
extern "C" __global__ __launch_bounds__(1024) void softmax_targets(
    Index C, Index m, const T *Z, const double *parts, const T *Y, Index row, Index next, T *losses, T *dZ) {
    of_targets<Read>(C, m, Z, parts, Y, row, next, losses, dZ);
}

extern "C" __global__ __launch_bounds__(1024) void softmax_targets_kept(
    Index C, Index m, const T *Z, const double *parts, const T *Y, Index row, Index next, T *losses, T *dZ) {
    of_targets<Kept>(C, m, Z, parts, Y, row, next, losses, dZ);
}
