// Philox4x64-10 (Salmon et al. 2011), the generator of `deepxp.rng`: block i of a stream is a function of the key and of
// the counter (i + 1, layer, step, epoch), so each thread computes its own.

// bits = the words of the stream, four numbers of 16 bits to a word, the lowest first. key is (seed, purpose), counter
// (step, epoch); both are read on the device, so that a recorded step draws new bits each time. Writes bits.
extern "C" __global__ void dropout_bits(
    Index size, const Index *key, const Index *counter, Index layer, unsigned short *bits) {
    const Index blocks = (size + 15) / 16;
    for (Index block = thread_index(); block < blocks; block += thread_count()) {
        Index x[4] = {block + 1, layer, counter[0], counter[1]};
        Index k0 = key[0], k1 = key[1];
#pragma unroll
        for (int round = 0; round < 10; ++round) {
            const Index high0 = __umul64hi(0xD2E7470EE14C6C93ull, x[0]), low0 = 0xD2E7470EE14C6C93ull * x[0];
            const Index high1 = __umul64hi(0xCA5A826395121157ull, x[2]), low1 = 0xCA5A826395121157ull * x[2];
            x[0] = high1 ^ x[1] ^ k0, x[1] = low1;
            x[2] = high0 ^ x[3] ^ k1, x[3] = low0;
            k0 += 0x9E3779B97F4A7C15ull, k1 += 0xBB67AE8584CAA73Bull;
        }
        struct alignas(16) Half { Index words[2]; };
        if (block * 16 + 16 <= size && (Index)bits % 16 == 0) {
            Half *out = reinterpret_cast<Half *>(bits + block * 16);
            out[0] = Half{{x[0], x[1]}}, out[1] = Half{{x[2], x[3]}};
        } else {
#pragma unroll
            for (int i = 0; i < 16; ++i)
                if (block * 16 + i < size) bits[block * 16 + i] = (unsigned short)(x[i / 4] >> (16 * (i % 4)));
        }
    }
}
