// Softmax down the columns of Z (C, m), alone and with its loss: a block takes blockDim.x columns, whose rows its
// blockDim.y threads share. Reads Z once for the greatest logit and the sum of the exponentials, and once more, from a
// cache where the block's columns fit one, for what is written. Subnormal results are 0.

struct Running { T top, total; };  // the greatest logit so far, and sum e^(z - top)

static __device__ __forceinline__ Running joined(Running a, Running b) {
    const T top = maximum(a.top, b.top);
    return {top, a.total * exp(a.top - top) + b.total * exp(b.top - top)};
}

// Of a whole column, for all threads of the block that share it. The top is finite or NaN or +inf: a column of nothing
// but -inf has the total 0, and from there NaN, as e^(-inf - -inf) has.
static __device__ Running of_column(Index C, Index m, const T *Z, Index j) {
    __shared__ T tops[1024], totals[1024];
    Running mine = {LOWEST, (T)0};
    if (j < m)
        for (Index i = threadIdx.y; i < C; i += blockDim.y) {
            const T z = Z[i * m + j];
            if (z <= mine.top) mine.total += exp(z - mine.top);
            else mine = {z, mine.total * exp(mine.top - z) + exp(z - z)};  // z - z is 0, or NaN
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

static __device__ __forceinline__ T share(T z, Running column) {
    const T a = exp(z - column.top) / column.total;
    return a < SMALLEST ? (T)0 : a;
}

// A = softmax(Z)
extern "C" __global__ void softmax(Index C, Index m, const T *Z, T *A) {
    const Index j = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    const Running column = of_column(C, m, Z, j);
    if (j < m)
        for (Index i = threadIdx.y; i < C; i += blockDim.y) A[i * m + j] = share(Z[i * m + j], column);
}

// losses = -log a_y, dZ = A - 1 at the label y. A label that is no class has the loss NaN.
extern "C" __global__ void softmax_labels(Index C, Index m, const T *Z, const int *y, T *losses, T *dZ) {
    const Index j = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    const Running column = of_column(C, m, Z, j);
    if (j >= m) return;
    const long long label = y[j];
    const bool known = 0 <= label && label < (long long)C;
    if (threadIdx.y == 0) losses[j] = known ? log(column.total) - (Z[label * m + j] - column.top) : log((T)-1);
    for (Index i = threadIdx.y; i < C; i += blockDim.y)
        dZ[i * m + j] = share(Z[i * m + j], column) - (i == (Index)label ? (T)1 : (T)0);
}

// losses = -sum_i y_i log a_i, dZ = A - Y. Y (C, m) lies as its two strides say, in numbers.
extern "C" __global__ void softmax_targets(
    Index C, Index m, const T *Z, const T *Y, Index row, Index next, T *losses, T *dZ) {
    __shared__ T shared[1024];
    const Index j = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    const Running column = of_column(C, m, Z, j);
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
