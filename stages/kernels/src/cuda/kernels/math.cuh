// Element types, scalar rules and sums that all kernels share. Everything compiles for a GPU and, with tests/emulation, for a CPU.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
typedef __nv_bfloat16 bf16;
#define RULE __host__ __device__ __forceinline__
RULE float to_float(bf16 value) { return __bfloat162float(value); }
RULE void store(bf16 &out, float value) { out = __float2bfloat16_rn(value); }
#endif
RULE float to_float(float value) { return value; }
RULE void store(float &out, float value) { out = value; }

typedef long long wide;

// Loops over sizes that are known at compile time are unrolled, so that their arrays lie in registers; loops that are rarely long are not,
// because the driver compiles every instruction when it loads a file.
#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#else
#define UNROLL
#define NO_UNROLL
#endif

// V neighbouring values that are read and written at once.
template <class T, int V> struct alignas(sizeof(T) * V) Pack { T values[V]; };

// How many of V neighbouring values one instruction takes: at most 16 bytes.
template <class T, int V> constexpr int AT_ONCE = V * sizeof(T) > 16 ? 16 / sizeof(T) : V;

// Reads V neighbouring values, whose address is a multiple of 16 bytes or of their size.
template <class T, int V> RULE void read_pack(const T *from, float (&values)[V]) {
    constexpr int PART = AT_ONCE<T, V>;
    UNROLL for (int first = 0; first < V; first += PART) {
        Pack<T, PART> pack = *(const Pack<T, PART> *)(from + first);
        UNROLL for (int v = 0; v < PART; v++) values[first + v] = to_float(pack.values[v]);
    }
}

// Writes V neighbouring values.
template <class T, int V> RULE void write_pack(T *to, const float (&values)[V]) {
    constexpr int PART = AT_ONCE<T, V>;
    UNROLL for (int first = 0; first < V; first += PART) {
        Pack<T, PART> pack;
        UNROLL for (int v = 0; v < PART; v++) store(pack.values[v], values[first + v]);
        *(Pack<T, PART> *)(to + first) = pack;
    }
}

// Numbers of activation functions, as in the Rust enumeration.
enum { NONE = 0, RELU = 1, RELU6 = 2 };

// As in PyTorch, NaN passes.
RULE float activate(float value, int activation) {
    if (activation == NONE) return value;
    value = value <= 0.0f ? 0.0f : value;
    return activation == RELU6 && value >= 6.0f ? 6.0f : value;
}

// The gradient of an activation's input, given its output y: zero at and beyond the kinks, and it passes where y is NaN.
RULE float mask(float gradient, float y, int activation) {
    if (activation == NONE) return gradient;
    if (y <= 0.0f) return 0.0f;
    return activation == RELU6 && y >= 6.0f ? 0.0f : gradient;
}

// Whether a value replaces the maximum so far: the first of equal values stays, and NaN wins.
RULE bool replaces(float value, float best) { return value > best || (value != value && best == best); }

// Index of the first element of this thread, and the distance to its next.
#define FOR_EACH(index, count)                                                                                                  \
    for (wide index = (wide)blockIdx.x * blockDim.x + threadIdx.x; index < (count); index += (wide)gridDim.x * blockDim.x)

// The same for a count below 2³¹: divisions of 32 bits are several times as fast as those of 64.
#define FOR_EACH_INT(index, count)                                                                                              \
    for (unsigned index = blockIdx.x * blockDim.x + threadIdx.x; index < (unsigned)(count); index += gridDim.x * blockDim.x)

// The sum of one value of each lane of a warp, where blockDim.x is 32. Every lane gets the same bits. Between two barriers of the
// block, all its warps must call this equally often, or end: the emulation lets a warp wait by a barrier.
__device__ __forceinline__ float warp_sum(float value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
    return value;
}

// The same for the maximum, which is not NaN unless all values are.
__device__ __forceinline__ float warp_max(float value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, lanes));
    return value;
}

// The sum of one value of each thread of the block, in an order that depends on nothing but the block's size, a power of two of at
// most 256. Every thread gets it.
__device__ __forceinline__ float block_sum(float value) {
    __shared__ float sums[256];
    __syncthreads();
    sums[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[0];
}
