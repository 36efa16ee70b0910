// Attention for inference: y = softmax(q kᵀ · factor) v for each head, read from [image][token][part][head][channel] and written to
// [image][token][head][channel], without scores or shares in memory. A block works on up to 128 queries of one head, a warp of 32
// threads on 16 of them; keys and values pass through shared memory in tiles, and the softmax is rescaled when a tile raises the maximum
// of its row, as in FlashAttention-2 (Dao, 2023). Products run on tensor cores: bf16 factors, f32 sums.
#include "math.cuh"

// Queries of a block, queries of a warp, keys of a tile, and keys of a product of shares and values.
enum { MOST_QUERIES = 128, WARP_QUERIES = 16, TILE = 64, GROUP = 16 };

// Eight neighbouring channels, and a row of D channels. The pack at its end shifts the rows against each other, so that the same channels
// of eight rows lie in different banks of shared memory.
typedef Pack<bf16, 8> Eight;
template <int D> using Row = Eight[D / 8 + 1];

// Keys and values of the tile that is worked on and of the next one.
template <int D> struct Tiles { Row<D> rows[2][2][TILE]; };

// A register holds a pair of bf16: elements 2i (low half) and 2i + 1 of a row. With g = lane / 4 and t = lane % 4, a lane holds
//   of an 8 × 8 matrix: pair t of row g;
//   of a 16 × 16 matrix a (left factor): pair t of row g of its 8 × 8 matrices upper left, lower left, upper right, lower right;
//   of a 16 × 8 matrix b (right factor): b0 and b1, rows 2t, 2t + 1 and rows 2t + 8, 2t + 9 of column g;
//   of a 16 × 8 matrix of sums: columns 2t, 2t + 1 of row g, and columns 2t, 2t + 1 of row g + 8.
#ifdef __CUDACC__
// 2ˣ.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ unsigned pair(float low, float high) {
    unsigned y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

// Starts a copy to shared memory, of zeros if there is nothing to copy.
__device__ __forceinline__ void start_copy(Eight *to, const Eight *from, bool any) {
    unsigned target = (unsigned)__cvta_generic_to_shared(to), bytes = any ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
}

// Waits for the copies of this thread.
__device__ __forceinline__ void finish_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Reads a 16 × 16 matrix from rows of P packs: its 8 × 8 matrices upper left, lower left, upper right, lower right, or the transposed of
// each of them.
template <bool TRANSPOSED, int P> __device__ __forceinline__ void read_matrix(unsigned (&y)[4], const Eight (*rows)[P], int pack) {
    // Lane l gives the address of row l % 8 of the 8 × 8 matrix l / 8.
    unsigned from = (unsigned)__cvta_generic_to_shared(&rows[threadIdx.x % 16][pack + threadIdx.x / 16]);
    if (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                     : "r"(from)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                     : "r"(from)
                     : "memory");
    }
}

// sums += a b for matrices 16 × 16 and 16 × 8.
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif
inline float power_of_two(float x) { return exp2f(x); }

inline unsigned pair(float low, float high) {
    bf16 a, b;
    store(a, low);
    store(b, high);
    return a.bits | (unsigned)b.bits << 16;
}

inline void start_copy(Eight *to, const Eight *from, bool any) { *to = any ? *from : Eight{}; }

inline void finish_copies() {}

template <bool TRANSPOSED, int P> inline void read_matrix(unsigned (&y)[4], const Eight (*rows)[P], int pack) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int matrix = 0; matrix < 4; matrix++) {
        auto element = [&](int r, int c) { return (unsigned)rows[matrix % 2 * 8 + r][pack + matrix / 2].values[c].bits; };
        y[matrix] = TRANSPOSED ? element(2 * t, g) | element(2 * t + 1, g) << 16 : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
    }
}

// The low or high half of a pair.
inline float half_of(unsigned pair, int high) {
    bf16 value = {(uint16_t)(pair >> 16 * high)};
    return to_float(value);
}

inline void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    static unsigned factors[MOST_QUERIES / WARP_QUERIES][32][6];
    unsigned(&warp)[32][6] = factors[threadIdx.y], *own = warp[threadIdx.x];
    for (int i = 0; i < 4; i++) own[i] = a[i];
    own[4] = b0;
    own[5] = b1;
    __syncthreads();
    for (int i = 0; i < 4; i++) {
        int row = threadIdx.x / 4 + i / 2 * 8, column = threadIdx.x % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            unsigned left = warp[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], right = warp[column * 4 + k % 8 / 2][4 + k / 8];
            sums[i] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
    __syncthreads();
}
#endif

// Calls `f(row, pack)` for this thread's packs of `count` rows.
template <int D, class F> __device__ __forceinline__ void each_row(int count, F f) {
    constexpr int WARP_ROWS = 32 / (D / 8);
    for (int row = threadIdx.y * WARP_ROWS + threadIdx.x / (D / 8); row < count; row += blockDim.y * WARP_ROWS) {
        f(row, threadIdx.x % (D / 8));
    }
}

// Starts copies of `count` rows of N matrices, of which those from `rows` on are zeros. Row r of matrix n starts at x[r · stride + n · gap],
// its copy at to[n · TILE + r].
template <int D, int N>
__device__ __forceinline__ void start_rows(Row<D> *to, const bf16 *x, unsigned stride, unsigned gap, int rows, int count) {
    each_row<D>(count, [&](int row, int pack) {
        bool any = row < rows;
        const bf16 *from = x + ((any ? row : 0) * stride + pack * 8);
        UNROLL for (int n = 0; n < N; n++) start_copy(&to[n * TILE + row][pack], (const Eight *)(from + n * gap), any);
    });
}

// A warp's results so far. A lane has rows g and g + 8 in the layout of sums; `totals` are the parts of its own columns.
template <int D> struct Results {
    float sums[D / 8][4], maxima[2], totals[2];
};

// Adds the first N groups of keys and values of a tile, of which `left` keys exist. `scale` is factor · log₂ e.
template <int D, int N>
__device__ __forceinline__ void add_keys(Results<D> &results, const unsigned (&queries)[D / 16][4], const Row<D> *keys,
                                         const Row<D> *values, int left, float scale) {
    float scores[2 * N][4] = {};
    UNROLL for (int c = 0; c < D / 16; c++) {
        UNROLL for (int n = 0; n < N; n++) {
            unsigned part[4];
            read_matrix<false>(part, keys + n * GROUP, 2 * c);
            multiply(scores[2 * n], queries[c], part[0], part[2]);
            multiply(scores[2 * n + 1], queries[c], part[1], part[3]);
        }
    }
    if (left < N * GROUP) {
        UNROLL for (int n = 2 * N - 2; n < 2 * N; n++) {
            UNROLL for (int i = 0; i < 4; i++) {
                if (n * 8 + (int)threadIdx.x % 4 * 2 + i % 2 >= left) scores[n][i] = -INFINITY;
            }
        }
    }
    UNROLL for (int half = 0; half < 2; half++) {
        float maximum = results.maxima[half];
        UNROLL for (int n = 0; n < 2 * N; n++) maximum = fmaxf(maximum, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
        maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, 1));
        maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, 2));
        float shrink = power_of_two((results.maxima[half] - maximum) * scale), offset = -maximum * scale, total = 0.0f;
        UNROLL for (int n = 0; n < 2 * N; n++) {
            UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) {
                scores[n][i] = power_of_two(fmaf(scores[n][i], scale, offset));
                total += scores[n][i];
            }
        }
        results.maxima[half] = maximum;
        results.totals[half] = fmaf(results.totals[half], shrink, total);
        UNROLL for (int c = 0; c < D / 8; c++) {
            UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) results.sums[c][i] *= shrink;
        }
    }
    UNROLL for (int n = 0; n < N; n++) {
        const float(&low)[4] = scores[2 * n], (&high)[4] = scores[2 * n + 1];
        unsigned shares[4] = {pair(low[0], low[1]), pair(low[2], low[3]), pair(high[0], high[1]), pair(high[2], high[3])};
        UNROLL for (int c = 0; c < D / 16; c++) {
            unsigned part[4];
            read_matrix<true>(part, values + n * GROUP, 2 * c);
            multiply(results.sums[2 * c], shares, part[0], part[1]);
            multiply(results.sums[2 * c + 1], shares, part[2], part[3]);
        }
    }
}

template <int D>
__device__ __forceinline__ void fused_attention(const bf16 *qkv, bf16 *y, int tokens, int heads, int parts, float factor) {
    static_assert(MOST_QUERIES <= 2 * TILE, "queries fit into the space of a tile of keys and values");
    __shared__ Tiles<D> tiles;
    unsigned part = blockIdx.x % parts, head = blockIdx.x / parts % heads, image = blockIdx.x / parts / heads;
    unsigned width = heads * D, stride = 3 * width, start = image * tokens * stride + head * D;
    int block_queries = blockDim.y * WARP_QUERIES, first = part * block_queries;

    auto start_tile = [&](int tile) {
        int left = tokens - tile * TILE, count = left < TILE ? (left + GROUP - 1) / GROUP * GROUP : TILE;
        start_rows<D, 2>(tiles.rows[tile % 2][0], qkv + (start + width + tile * TILE * stride), stride, width, left, count);
    };
    // Queries pass through the space of the second tile.
    Row<D> *space = tiles.rows[1][0];
    start_rows<D, 1>(space, qkv + (start + first * stride), stride, 0, tokens - first, block_queries);
    start_tile(0);
    finish_copies();
    __syncthreads();
    unsigned queries[D / 16][4];
    UNROLL for (int c = 0; c < D / 16; c++) read_matrix<false>(queries[c], space + threadIdx.y * WARP_QUERIES, 2 * c);

    Results<D> results = {};
    results.maxima[0] = results.maxima[1] = -INFINITY;
    float scale = factor * 1.44269504f;
    for (int tile = 0; tile * TILE < tokens; tile++) {
        int left = tokens - tile * TILE;
        // All have copied their part of this tile, and nobody reads the space of the next one.
        __syncthreads();
        if (left > TILE) start_tile(tile + 1);
        const Row<D> *keys = tiles.rows[tile % 2][0], *values = tiles.rows[tile % 2][1];
        if (left > 3 * GROUP) add_keys<D, 4>(results, queries, keys, values, left, scale);
        else if (left > 2 * GROUP) add_keys<D, 3>(results, queries, keys, values, left, scale);
        else if (left > GROUP) add_keys<D, 2>(results, queries, keys, values, left, scale);
        else add_keys<D, 1>(results, queries, keys, values, left, scale);
        finish_copies();
    }
    __syncthreads();

    // Results pass through shared memory, so that whole rows are written at once.
    Row<D> *out = tiles.rows[0][0];
    UNROLL for (int half = 0; half < 2; half++) {
        float total = results.totals[half];
        total += __shfl_xor_sync(~0u, total, 1);
        total += __shfl_xor_sync(~0u, total, 2);
        float inverse = 1.0f / total;
        int row = threadIdx.y * WARP_QUERIES + half * 8 + threadIdx.x / 4;
        UNROLL for (int c = 0; c < D / 8; c++) {
            float values[2] = {results.sums[c][2 * half] * inverse, results.sums[c][2 * half + 1] * inverse};
            write_pack(&out[row][c].values[threadIdx.x % 4 * 2], values);
        }
    }
    __syncthreads();
    each_row<D>(tokens - first < block_queries ? tokens - first : block_queries, [&](int row, int pack) {
        ((Eight *)(y + ((image * tokens + first + row) * width + head * D)))[pack] = out[row][pack];
    });
}

// One block for each part of the queries of a head: parts · heads · images in all. A block has 32 × (queries / 16) threads.
#define FUSED_ATTENTION(D)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(2 * MOST_QUERIES)                                                              \
        fused_attention_##D(const bf16 *qkv, bf16 *y, int tokens, int heads, int parts, float factor) {                         \
        fused_attention<D>(qkv, y, tokens, heads, parts, factor);                                                               \
    }
FUSED_ATTENTION(32)
FUSED_ATTENTION(64)
