// CUDA's view of a kernel on a CPU: blocks run one after another, the threads of a block as coroutines, so that barriers work.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define RULE inline

struct Index {
    unsigned x, y, z;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;
extern "C++" void __syncthreads();

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// The value of the lane whose number differs in the bits of `lanes`. Warps are rows of 32 threads.
inline float __shfl_xor_sync(unsigned, float value, int lanes) {
    static float values[1024];
    unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    values[thread] = value;
    __syncthreads();
    float other = values[thread ^ lanes];
    __syncthreads();
    return other;
}

// bfloat16 with rounding to the nearest, ties to even.
struct bf16 {
    uint16_t bits;
};
inline float to_float(bf16 value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
inline void store(bf16 &out, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) out.bits = 0x7fff;
    else out.bits = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Runs `body` for every thread of every block; without barriers in it, threads run one after another.
void run_grid(Index grid, Index block, bool has_barriers, const std::function<void()> &body);
