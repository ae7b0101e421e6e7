// Rows of a table into a batch. `From`, `To` and `Row` are the types of the table, of the batch and of the row numbers;
// V numbers are as many as 16 bytes hold of the wider one of the first two.

constexpr int V = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));

template <typename U> struct alignas(sizeof(U) * V) Several { U v[V]; };

template <typename U> static __device__ __forceinline__ bool in_packs(const U *x) {
    return (Index)x % sizeof(Several<U>) == 0;
}

// out (m, n) = table[rows], whose numbers lie `row` and `next` apart. Reads what the rows name, writes out.
extern "C" __global__ void gather(
    Index m, Index n, const From *table, Index row, Index next, const Row *rows, To *out) {
    if (next == 1 && n % V == 0 && row % V == 0 && in_packs(table) && in_packs(out)) {
        const Index packs = n / V;
        for (Index k = thread_index(); k < m * packs; k += thread_count()) {
            const Index i = quotient(k, packs);
            const Several<From> x =
                reinterpret_cast<const Several<From> *>(table + (Index)rows[i] * row)[k - i * packs];
            Several<To> y;
#pragma unroll
            for (int v = 0; v < V; ++v) y.v[v] = (To)x.v[v];
            reinterpret_cast<Several<To> *>(out)[k] = y;
        }
        return;
    }
    for (Index k = thread_index(); k < m * n; k += thread_count()) {
        const Index i = quotient(k, n);
        out[k] = (To)table[(Index)rows[i] * row + (k - i * n) * next];
    }
}
