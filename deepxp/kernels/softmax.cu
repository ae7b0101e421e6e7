// Softmax down the columns of Z (C, m), alone and with its loss. A block takes blockDim.x columns, whose rows its
// blockDim.y threads share; with few columns of many rows, gridDim.y blocks share a column, and `softmax_parts` runs
// first. Z is read once for the greatest logit and the sum of the exponentials, and once more for what is written.
// Results below the normal numbers are 0.

struct Running { T top, total; };  // the greatest logit so far, and sum e^(z - top)

static __device__ __forceinline__ Running joined(Running a, Running b) {
    const T top = maximum(a.top, b.top);
    return {top, a.total * exp(a.top - top) + b.total * exp(b.top - top)};
}

static __device__ __forceinline__ Index begin(Index C) { return C * blockIdx.y / gridDim.y; }

static __device__ __forceinline__ Index end(Index C) { return C * (blockIdx.y + 1) / gridDim.y; }

// Of the block's rows of column j, for all threads that share it. The top is never -inf: rows of nothing but -inf have
// the total 0, and a column of nothing else becomes NaN from there, as e^(-inf - -inf) is. An infinite one is NaN, too.
static __device__ Running of_rows(Index C, Index m, const T *Z, Index j) {
    __shared__ T tops[1024], totals[1024];
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
    const Running rows = of_rows(C, m, Z, j);
    if (j >= m || threadIdx.y != 0) return;
    parts[2 * blockIdx.y * m + j] = rows.top;
    parts[(2 * blockIdx.y + 1) * m + j] = rows.total;
}

// Of a whole column, for all threads of the block that share it.
static __device__ Running of_column(Index C, Index m, const T *Z, Index j, const double *parts) {
    if (gridDim.y == 1) return of_rows(C, m, Z, j);
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

// A = softmax(Z)
extern "C" __global__ __launch_bounds__(1024) void softmax(Index C, Index m, const T *Z, const double *parts, T *A) {
    const Index j = thread_index();
    const Running column = of_column(C, m, Z, j, parts);
    if (j >= m) return;
    for (Index i = begin(C) + threadIdx.y; i < end(C); i += blockDim.y) A[i * m + j] = share(Z[i * m + j], column);
}

// losses = -log a_y, dZ = A - 1 at the label y. A label that is no class has the loss NaN.
extern "C" __global__ __launch_bounds__(1024) void softmax_labels(
    Index C, Index m, const T *Z, const double *parts, const int *y, T *losses, T *dZ) {
    const Index j = thread_index();
    const Running column = of_column(C, m, Z, j, parts);
    if (j >= m) return;
    const long long label = y[j];
    const bool known = 0 <= label && label < (long long)C;
    if (threadIdx.y == 0 && blockIdx.y == 0)
        losses[j] = known ? log(column.total) - (Z[label * m + j] - column.top) : log((T)-1);
    for (Index i = begin(C) + threadIdx.y; i < end(C); i += blockDim.y)
        dZ[i * m + j] = share(Z[i * m + j], column) - (i == (Index)label ? (T)1 : (T)0);
}

// losses = -sum_i y_i log a_i, dZ = A - Y; gridDim.y is 1. Y (C, m) lies as its two strides say, in numbers.
extern "C" __global__ __launch_bounds__(1024) void softmax_targets(
    Index C, Index m, const T *Z, const double *parts, const T *Y, Index row, Index next, T *losses, T *dZ) {
    __shared__ T shared[1024];
    const Index j = thread_index();
    const Running column = of_column(C, m, Z, j, parts);
    const T shift = log(column.total);
    T loss = 0;
    if (j < m)
        for (Index i = threadIdx.y; i < C; i += blockDim.y) {
            const T z = Z[i * m + j], y = Y[i * row + j * next];
            loss -= y * (z - column.top - shift);
            dZ[i * m + j] = share(z, column) - y;
        }
    loss = sum_of_column(loss, shared);
    if (j < m && threadIdx.y == 0) losses[j] = loss;
}
