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

// V neighbouring values that are read and written at once.
template <class T, int V> struct alignas(sizeof(T) * V) Pack { T values[V]; };

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

// The same for the maximum.
__device__ __forceinline__ float block_max(float value) {
    __shared__ float best[256];
    __syncthreads();
    best[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half && best[threadIdx.x + half] > best[threadIdx.x]) best[threadIdx.x] = best[threadIdx.x + half];
        __syncthreads();
    }
    return best[0];
}
