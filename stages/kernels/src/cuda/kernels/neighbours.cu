// Nearest neighbours: rows are rounded for a product in TF32, the best rows of each query by that product are kept, and their distances
// are computed exactly. A row and its score are one number, ordered by score and then by the row's index.
#include "math.cuh"

typedef unsigned long long Key;

// Above every key of a row.
#define NO_KEY (~(Key)0)

// Scores that a block reads at a time, four for each of its 256 threads.
#define TILE 1024

// Rows of a query whose distances are computed at a time.
#define PAIRS 128

// Operations that are never fused: the bits are those of the CPU.
#ifdef __CUDACC__
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float minus(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
// Adds to a number in shared memory and returns what it was.
__device__ __forceinline__ int take(int *number, int count) { return atomicAdd(number, count); }
#else
inline float plus(float a, float b) { return a + b; }
inline float minus(float a, float b) { return a - b; }
inline float times(float a, float b) { return a * b; }
inline int take(int *number, int count) {
    int before = *number;
    *number += count;
    return before;
}
#endif

RULE unsigned bits_of(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}
RULE float float_of(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// A number in the order of floats, and back.
RULE unsigned ordered(float value) {
    unsigned bits = bits_of(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
RULE float unordered(unsigned number) { return float_of(number & 0x80000000u ? number & 0x7fffffffu : ~number); }

// The nearest float with ten bits of mantissa, which a product in TF32 takes as it is; 0 for what a GPU may take for 0.
RULE float to_tf32(float value) {
    if (fabsf(value) < 1.17549435e-38f) return 0.0f;
    unsigned bits = bits_of(value);
    return float_of((bits + 0x0fffu + (bits >> 13 & 1u)) & 0xffffe000u);
}

// Sorts keys in shared memory. `size` is a power of two. All threads of the block take part.
__device__ __forceinline__ void sort_keys(Key *keys, int size) {
    for (int run = 2; run <= size; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int i = threadIdx.x; i < size / 2; i += blockDim.x) {
                int low = 2 * i - (i & (step - 1)), high = low + step;
                Key a = keys[low], b = keys[high];
                if ((a > b) == ((low & run) == 0)) {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
        }
    }
    __syncthreads();
}

// Sorts the first `count` keys, with room for a power of two of them.
__device__ __forceinline__ void sort_first(Key *keys, int count) {
    int size = 1;
    while (size < count) size *= 2;
    for (int i = count + threadIdx.x; i < size; i += blockDim.x) keys[i] = NO_KEY;
    sort_keys(keys, size);
}

// rounded = tf32(row − centre) with zeros up to `width`, its squared norm, and the sum of the squares of bounds on its values' errors. A
// block works on one row.
extern "C" __global__ void prepare_rows(const float *rows, const float *centre, float *rounded, float *norms, float *errors, int dim,
                                        int width) {
    const float *row = rows + (wide)blockIdx.x * dim;
    float norm = 0.0f, error = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float value = i < dim ? minus(row[i], centre[i]) : 0.0f, taken = to_tf32(value);
        // The second term bounds the rounding of the difference.
        float off = fabsf(value - taken) + fabsf(value) * 6e-8f;
        rounded[(wide)blockIdx.x * width + i] = taken;
        norm += taken * taken;
        error += off * off;
    }
    norm = block_sum(norm);
    error = block_sum(error);
    if (threadIdx.x == 0) {
        norms[blockIdx.x] = norm;
        errors[blockIdx.x] = error;
    }
}

// Four neighbouring numbers of a block's share, as far as there are any.
RULE Pack<float, 4> four(const float *values, int at, int count) {
    Pack<float, 4> none = {};
    return at < count ? *(const Pack<float, 4> *)(values + at) : none;
}

// Continues the search of each query's `keep` rows with the least scores ‖row‖² − 2 ⟨query, row⟩ by the rows from `first` on, given their
// products, [queries][stride] with a stride that is a multiple of four. `best`, [queries][keep], holds sorted keys. A block of 256 threads
// works on one query; `keep` is at most CAPACITY − TILE.
//
// Keys below the greatest one of the best so far are collected; when there is no room for another tile, only the best are kept. The
// places of the keys depend on the order of the threads, but not which keys are kept.
template <int CAPACITY>
__device__ void select_rows(const float *products, const float *norms, Key *best, int first, int rows, int stride, int keep) {
    __shared__ Key keys[CAPACITY];
    __shared__ int collected;
    const float *own = products + (wide)blockIdx.x * stride, *own_norms = norms + first;
    Key *results = best + (wide)blockIdx.x * keep;
    int known = first < keep ? first : keep;
    for (int i = threadIdx.x; i < known; i += blockDim.x) keys[i] = results[i];
    if (threadIdx.x == 0) collected = known;
    __syncthreads();
    Key limit = known == keep ? keys[keep - 1] : NO_KEY;
    int at = 4 * threadIdx.x, total = known;
    Pack<float, 4> next = four(own, at, rows), next_norms = four(own_norms, at, rows);
    for (; at - 4 * (int)threadIdx.x < rows; at += TILE) {
        Pack<float, 4> product = next, norm = next_norms;
        next = four(own, at + TILE, rows);
        next_norms = four(own_norms, at + TILE, rows);
        Key found[4];
        int count = 0;
        for (int v = 0; v < 4; v++) {
            float score = norm.values[v] - 2.0f * product.values[v];
            found[v] = at + v < rows ? (Key)ordered(score) << 32 | (unsigned)(first + at + v) : NO_KEY;
            count += found[v] < limit;
        }
        if (count > 0) {
            int place = take(&collected, count);
            for (int v = 0; v < 4; v++) {
                if (found[v] < limit) keys[place++] = found[v];
            }
        }
        __syncthreads();
        total = collected;
        __syncthreads();
        if (total > CAPACITY - TILE) {
            sort_first(keys, total);
            total = total < keep ? total : keep;
            if (total == keep) limit = keys[keep - 1];
            if (threadIdx.x == 0) collected = total;
            __syncthreads();
        }
    }
    sort_first(keys, total);
    for (int i = threadIdx.x; i < keep; i += blockDim.x) results[i] = i < total ? keys[i] : NO_KEY;
}

// Replaces the scores in the keys of each query by exact squared distances, and sorts them. `last` is each query's greatest score. The
// order of operations is that of `distance.rs`: lane i sums the squares of the differences i, i + 64, …, and a tree adds the 64 lanes. A
// block of 256 threads works on one query: 16 threads on one row, each with four lanes.
template <int CAPACITY>
__device__ void measure_rows(const float *queries, const float *rows, Key *best, float *last, int dim, int keep) {
    __shared__ Key keys[CAPACITY];
    __shared__ float sums[PAIRS][17];
    const float *query = queries + (wide)blockIdx.x * dim;
    Key *own = best + (wide)blockIdx.x * keep;
    int group = threadIdx.x / 16, lane = threadIdx.x % 16, whole = dim / 64 * 64;
    if (threadIdx.x == 0) last[blockIdx.x] = unordered((unsigned)(own[keep - 1] >> 32));
    for (int start = 0; start < keep; start += PAIRS) {
        int pairs = keep - start < PAIRS ? keep - start : PAIRS;
        for (int pair = group; pair < pairs; pair += 16) {
            const float *row = rows + (wide)(unsigned)own[start + pair] * dim;
            float lanes[4] = {};
            for (int i = lane; i < whole; i += 64) {
                for (int v = 0; v < 4; v++) {
                    float difference = minus(query[i + 16 * v], row[i + 16 * v]);
                    lanes[v] = plus(lanes[v], times(difference, difference));
                }
            }
            for (int v = 0; v < 4; v++) {
                int i = whole + lane + 16 * v;
                float difference = i < dim ? minus(query[i], row[i]) : 0.0f;
                lanes[v] = plus(lanes[v], times(difference, difference));
            }
            sums[pair][lane] = plus(plus(lanes[0], lanes[2]), plus(lanes[1], lanes[3]));
        }
        __syncthreads();
        if ((int)threadIdx.x < pairs) {
            float *sum = sums[threadIdx.x];
            for (int half = 8; half > 0; half /= 2) {
                for (int i = 0; i < half; i++) sum[i] = plus(sum[i], sum[i + half]);
            }
            keys[start + threadIdx.x] = (Key)bits_of(sum[0]) << 32 | (unsigned)own[start + threadIdx.x];
        }
        __syncthreads();
    }
    sort_first(keys, keep);
    for (int i = threadIdx.x; i < keep; i += blockDim.x) own[i] = keys[i];
}

#define NEIGHBOURS(NAME, COLLECTED, KEPT)                                                                                       \
    extern "C" __global__ void select_rows_##NAME(const float *products, const float *norms, Key *best, int first, int rows,    \
                                                  int stride, int keep) {                                                       \
        select_rows<COLLECTED>(products, norms, best, first, rows, stride, keep);                                               \
    }                                                                                                                           \
    extern "C" __global__ void measure_rows_##NAME(const float *queries, const float *rows, Key *best, float *last, int dim,    \
                                                   int keep) {                                                                  \
        measure_rows<KEPT>(queries, rows, best, last, dim, keep);                                                               \
    }
NEIGHBOURS(few, 2048, 512)
NEIGHBOURS(many, 4096, 2048)
