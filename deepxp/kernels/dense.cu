// Bias and activation, and back. `forward(z)` and `backward(da, kept)` are written by the definitions of g and g'.

// Z (n, m) += b (n); A = g(Z), which may be the memory of Z, and then Z is not kept. Reads Z and b, writes A, and Z.
extern "C" __global__ void bias_activation(Index n, Index m, T *Z, const T *b, T *A) {
    const Index size = n * m, first = thread_index(), step = thread_count();
    Index done = 0;
    if (aligned(Z, A)) {
        done = size / N * N;
        for (Index pack = first; pack < size / N; pack += step) {
            Pack<T> z = load(Z, pack), a;
            Index row = quotient(pack * N, m), column = pack * N - row * m;
            T bias = b[row];
#pragma unroll
            for (int i = 0; i < N; ++i, ++column) {
                if (column == m) bias = b[++row], column = 0;
                z.v[i] += bias;
                a.v[i] = forward(z.v[i]);
            }
            if (A != Z) store(Z, pack, z);
            store(A, pack, a);
        }
    }
    for (Index k = done + first; k < size; k += step) {
        const T z = Z[k] + b[quotient(k, m)];
        if (A != Z) Z[k] = z;
        A[k] = forward(z);
    }
}

// dZ = dA g' and, for each row, sums[blockIdx.x] = its sum over this block's part of the columns / divisor.
// blockDim is (columns, rows), gridDim (parts, rows). dZ may be the memory of dA. Reads dA and kept, writes dZ.
template <typename Sum>
static __device__ void rows(Index n, Index m, const T *dA, const T *kept, T *dZ, Sum *sums, Sum divisor) {
    __shared__ T shared[32];
    const Index part = (m / N + gridDim.x - 1) / gridDim.x * N;  // columns of a part, of which the last may have more
    const Index begin = blockIdx.x * part < m ? blockIdx.x * part : m;
    const Index end = blockIdx.x + 1 == gridDim.x || begin + part > m ? m : begin + part;
    for (Index top = (Index)blockIdx.y * blockDim.y; top < n; top += (Index)gridDim.y * blockDim.y) {
        const Index row = top + threadIdx.y, start = row * m;
        T total = 0;
        if (row < n) {
            Index done = begin;
            if (m % N == 0 && aligned(dA, kept, dZ)) {
                done = begin + (end - begin) / N * N;
                for (Index pack = (start + begin) / N + threadIdx.x; pack < (start + done) / N; pack += blockDim.x) {
                    const Pack<T> da = load(dA, pack), saved = load(kept, pack);
                    Pack<T> dz;
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        dz.v[i] = backward(da.v[i], saved.v[i]);
                        total += dz.v[i];
                    }
                    store(dZ, pack, dz);
                }
            }
            for (Index k = start + done + threadIdx.x; k < start + end; k += blockDim.x) {
                const T dz = backward(dA[k], kept[k]);
                dZ[k] = dz;
                total += dz;
            }
        }
        total = sum_of_row(total, shared);
        if (row < n && threadIdx.x == 0) sums[blockIdx.x * n + row] = total / divisor;
    }
}

// All of a row in one block: db is its mean.
extern "C" __global__ void activation_backward(Index n, Index m, const T *dA, const T *kept, T *dZ, T *db) {
    rows<T>(n, m, dA, kept, dZ, db, (T)m);
}

// Few long rows, over several blocks each; `mean_of_parts` adds them up.
extern "C" __global__ void activation_backward_parts(
    Index n, Index m, const T *dA, const T *kept, T *dZ, double *sums) {
    rows<double>(n, m, dA, kept, dZ, sums, 1.0);
}
