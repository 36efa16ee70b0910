// Depthwise convolution: forward with shift, residual and activation, gradient of the input, gradient of the weight. Weights are
// [tap][channel], f32, with the scale folded in.
#include "math.cuh"

struct Depthwise {
    int height, width, channels, rows, columns, kernel_height, kernel_width, stride, top, left;
};

template <class T, int V>
__device__ void depthwise(const T *x, const float *weight, const float *shift, const T *residual, T *y, int activation, Depthwise d,
                          wide count) {
    int packs = d.channels / V;
    FOR_EACH(i, count) {
        int c = i % packs * V, column = i / packs % d.columns, row = i / packs / d.columns % d.rows;
        wide image = i / packs / d.columns / d.rows;
        float sum[V] = {};
        for (int a = 0; a < d.kernel_height; a++) {
            int v = row * d.stride + a - d.top;
            if (v < 0 || v >= d.height) continue;
            for (int b = 0; b < d.kernel_width; b++) {
                int h = column * d.stride + b - d.left;
                if (h < 0 || h >= d.width) continue;
                Pack<T, V> pack = *(const Pack<T, V> *)(x + ((image * d.height + v) * d.width + h) * d.channels + c);
                const float *factors = weight + (a * d.kernel_width + b) * d.channels + c;
                for (int k = 0; k < V; k++) sum[k] += factors[k] * to_float(pack.values[k]);
            }
        }
        Pack<T, V> pack, other;
        if (residual) other = ((const Pack<T, V> *)residual)[i];
        for (int k = 0; k < V; k++) {
            float value = sum[k] + (shift ? shift[c + k] : 0.0f) + (residual ? to_float(other.values[k]) : 0.0f);
            store(pack.values[k], activate(value, activation));
        }
        ((Pack<T, V> *)y)[i] = pack;
    }
}

template <class T, int V>
__device__ void depthwise_input(const T *dy, const float *weight, T *dx, Depthwise d, wide count) {
    int packs = d.channels / V;
    FOR_EACH(i, count) {
        int c = i % packs * V, h = i / packs % d.width, v = i / packs / d.width % d.height;
        wide image = i / packs / d.width / d.height;
        float sum[V] = {};
        for (int a = 0; a < d.kernel_height; a++) {
            int row = v + d.top - a;
            if (row < 0 || row % d.stride || row / d.stride >= d.rows) continue;
            for (int b = 0; b < d.kernel_width; b++) {
                int column = h + d.left - b;
                if (column < 0 || column % d.stride || column / d.stride >= d.columns) continue;
                wide at = ((image * d.rows + row / d.stride) * d.columns + column / d.stride) * d.channels + c;
                Pack<T, V> pack = *(const Pack<T, V> *)(dy + at);
                const float *factors = weight + (a * d.kernel_width + b) * d.channels + c;
                for (int k = 0; k < V; k++) sum[k] += factors[k] * to_float(pack.values[k]);
            }
        }
        Pack<T, V> pack;
        for (int k = 0; k < V; k++) store(pack.values[k], sum[k]);
        ((Pack<T, V> *)dx)[i] = pack;
    }
}

// partial[chunk][tap][channel], of a chunk of the output's pixels. Blocks of 32 channels × 8 pixels; blockIdx.z is the tap.
template <class T>
__device__ void depthwise_weight(const T *x, const T *dy, float *partial, Depthwise d, int pixels, int pixels_per_chunk) {
    __shared__ float sums[8][33];
    int c = blockIdx.x * 32 + threadIdx.x, a = blockIdx.z / d.kernel_width, b = blockIdx.z % d.kernel_width;
    int first = blockIdx.y * pixels_per_chunk, end = first + pixels_per_chunk < pixels ? first + pixels_per_chunk : pixels;
    float sum = 0.0f;
    if (c < d.channels) {
        for (int pixel = first + threadIdx.y; pixel < end; pixel += 8) {
            int column = pixel % d.columns, row = pixel / d.columns % d.rows;
            wide image = pixel / d.columns / d.rows;
            int v = row * d.stride + a - d.top, h = column * d.stride + b - d.left;
            if (v < 0 || h < 0 || v >= d.height || h >= d.width) continue;
            float factor = to_float(x[((image * d.height + v) * d.width + h) * d.channels + c]);
            sum += factor * to_float(dy[(wide)pixel * d.channels + c]);
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= d.channels) return;
    float total = 0.0f;
    for (int row = 0; row < 8; row++) total += sums[row][threadIdx.x];
    int taps = d.kernel_height * d.kernel_width;
    partial[((wide)blockIdx.y * taps + blockIdx.z) * d.channels + c] = total;
}

#define DEPTHWISE(T, V, NAME)                                                                                                   \
    extern "C" __global__ void depthwise_##NAME(const T *x, const float *weight, const float *shift, const T *residual, T *y,   \
                                                int activation, Depthwise d, wide count) {                                      \
        depthwise<T, V>(x, weight, shift, residual, y, activation, d, count);                                                   \
    }                                                                                                                           \
    extern "C" __global__ void depthwise_input_##NAME(const T *dy, const float *weight, T *dx, Depthwise d, wide count) {       \
        depthwise_input<T, V>(dy, weight, dx, d, count);                                                                        \
    }
DEPTHWISE(float, 1, f32)
DEPTHWISE(float, 4, f32_packed)
DEPTHWISE(bf16, 1, bf16)
DEPTHWISE(bf16, 4, bf16_packed)

extern "C" __global__ void depthwise_weight_f32(const float *x, const float *dy, float *partial, Depthwise d, int pixels,
                                                int pixels_per_chunk) {
    depthwise_weight(x, dy, partial, d, pixels, pixels_per_chunk);
}
extern "C" __global__ void depthwise_weight_bf16(const bf16 *x, const bf16 *dy, float *partial, Depthwise d, int pixels,
                                                 int pixels_per_chunk) {
    depthwise_weight(x, dy, partial, d, pixels, pixels_per_chunk);
}
