// Passes over activations with a value per channel: scale, shift, residual and activation; backwards, the mask of the activation and
// the sums over all pixels.
#include "math.cuh"

// y = act(scale ∘ x + shift + residual); whatever is null is left out. `count` is the number of packs.
template <class T, int V>
__device__ void affine(const T *x, const float *scale, const float *shift, const T *residual, T *y, int activation, int channels,
                       int count) {
    FOR_EACH_INT(i, count) {
        int c = i * V % channels;
        Pack<T, V> pack = ((const Pack<T, V> *)x)[i], other;
        if (residual) other = ((const Pack<T, V> *)residual)[i];
        for (int v = 0; v < V; v++) {
            float value = to_float(pack.values[v]);
            if (scale) value *= scale[c + v];
            if (shift) value += shift[c + v];
            if (residual) value += to_float(other.values[v]);
            store(pack.values[v], activate(value, activation));
        }
        ((Pack<T, V> *)y)[i] = pack;
    }
}

// gradient = mask(dy, y), scaled by `scale` if that is given; and per chunk of rows the sums of the masked dy and of its product with x,
// [chunk][channel], which `sum_chunks` adds up. Null pointers are left out. Blocks of 32 × 8 threads; a thread owns V channels.
template <class T, int V>
__device__ void mask_rows(const T *dy, const T *y, const T *x, T *gradient, float *sums, float *products, const float *scale,
                          int activation, int channels, int rows, int rows_per_chunk) {
    __shared__ float partial[8][32 * V + 1];
    int c = (blockIdx.x * 32 + threadIdx.x) * V, first = blockIdx.y * rows_per_chunk;
    int end = first + rows_per_chunk < rows ? first + rows_per_chunk : rows;
    float sum[V] = {}, product[V] = {};
    if (c < channels) {
        for (int row = first + threadIdx.y; row < end; row += 8) {
            wide at = ((wide)row * channels + c) / V;
            Pack<T, V> pack = ((const Pack<T, V> *)dy)[at], outputs, inputs;
            if (y) outputs = ((const Pack<T, V> *)y)[at];
            if (products) inputs = ((const Pack<T, V> *)x)[at];
            for (int v = 0; v < V; v++) {
                float value = to_float(pack.values[v]);
                if (y) value = mask(value, to_float(outputs.values[v]), activation);
                sum[v] += value;
                if (products) product[v] += value * to_float(inputs.values[v]);
                store(pack.values[v], scale ? value * scale[c + v] : value);
            }
            if (gradient) ((Pack<T, V> *)gradient)[at] = pack;
        }
    }
    for (int pass = 0; pass < 2; pass++) {
        float *out = pass == 0 ? sums : products;
        if (!out) continue;
        __syncthreads();
        for (int v = 0; v < V; v++) partial[threadIdx.y][threadIdx.x * V + v] = pass == 0 ? sum[v] : product[v];
        __syncthreads();
        if (threadIdx.y == 0 && c < channels) {
            for (int v = 0; v < V; v++) {
                float total = 0.0f;
                for (int row = 0; row < 8; row++) total += partial[row][threadIdx.x * V + v];
                out[(wide)blockIdx.y * channels + c + v] = total;
            }
        }
    }
}

// The sum over chunks, in their order within each of 32 groups, and then over the groups. Blocks of 32 × 32 threads.
extern "C" __global__ void sum_chunks(const float *partial, float *result, int channels, int chunks) {
    __shared__ float groups[32][33];
    int c = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (c < channels) {
#pragma unroll 8
        for (int chunk = threadIdx.y; chunk < chunks; chunk += 32) sum += partial[(wide)chunk * channels + c];
    }
    groups[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        float total = 0.0f;
        for (int group = 0; group < 32; group++) total += groups[group][threadIdx.x];
        result[c] = total;
    }
}

#define CHANNELS(T, V, NAME)                                                                                                    \
    extern "C" __global__ void affine_##NAME(const T *x, const float *scale, const float *shift, const T *residual, T *y,       \
                                             int activation, int channels, int count) {                                         \
        affine<T, V>(x, scale, shift, residual, y, activation, channels, count);                                                \
    }                                                                                                                           \
    extern "C" __global__ void mask_rows_##NAME(const T *dy, const T *y, const T *x, T *gradient, float *sums, float *products, \
                                                const float *scale, int activation, int channels, int rows,                     \
                                                int rows_per_chunk) {                                                           \
        mask_rows<T, V>(dy, y, x, gradient, sums, products, scale, activation, channels, rows, rows_per_chunk);                 \
    }
CHANNELS(float, 1, f32)
CHANNELS(float, 4, f32_packed)
CHANNELS(bf16, 1, bf16)
CHANNELS(bf16, 8, bf16_packed)
