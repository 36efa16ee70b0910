// Depthwise convolution: forward with shift, residual and activation, gradient of the input, gradient of the weight. Weights are
// [tap][channel], f32, with the scale folded in. Windows of 3 × 3 and 5 × 5 with strides 1 and 2 have kernels of their own, in which a
// thread computes neighbouring outputs of V channels from one read of the inputs below them; `any` kernels take what remains.
// Blocks of 128 threads, without loops over the grid: `count` is the number of threads that have something to do.
#include "math.cuh"

struct Depthwise {
    int height, width, channels, rows, columns, kernel_height, kernel_width, stride, top, left;
};

RULE unsigned groups_of(int columns, int group) { return (columns + group - 1) / group; }

// Neighbouring pixels of a line of an image, from pixel `first` on; those outside of the line are zero. `line` is the line's first pixel.
template <int N, class T, int V>
__device__ __forceinline__ void read_pixels(const T *line, int first, int width, int channels, Pack<T, V> (&pixels)[N]) {
    UNROLL for (int n = 0; n < N; n++) {
        int at = first + n;
        pixels[n] = at >= 0 && at < width ? *(const Pack<T, V> *)(line + at * channels) : Pack<T, V>{};
    }
}

// y = act(sum + shift + residual), for one pack at index `at`.
template <class T, int V>
__device__ __forceinline__ void finish(float (&sums)[V], const float *shift, const T *residual, T *y, int activation, int c, wide at) {
    float terms[V];
    if (shift) {
        read_pack(shift + c, terms);
        UNROLL for (int k = 0; k < V; k++) sums[k] += terms[k];
    }
    if (residual) {
        read_pack(residual + at, terms);
        UNROLL for (int k = 0; k < V; k++) sums[k] += terms[k];
    }
    UNROLL for (int k = 0; k < V; k++) sums[k] = activate(sums[k], activation);
    write_pack(y + at, sums);
}

// Windows of K × K at stride S; a thread computes P neighbouring columns of the output. With FLIP the weight is turned by half a turn.
template <class T, int V, int K, int S, int P, bool FLIP>
__device__ __forceinline__ void convolve(const T *x, const float *weight, const float *shift, const T *residual, T *y, int activation,
                                         const Depthwise &d, int count) {
    constexpr int PIXELS = (P - 1) * S + K;
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, packs = d.channels / V, groups = groups_of(d.columns, P);
    if (i >= (unsigned)count) return;
    unsigned c = i % packs * V, line = i / packs / groups;
    int column = i / packs % groups * P, row = line % d.rows;
    const T *image = x + (wide)(line / d.rows) * d.height * d.width * d.channels + c;
    float sums[P][V] = {};
    NO_UNROLL for (int a = 0; a < K; a++) {
        int v = row * S + a - d.top;
        if (v < 0 || v >= d.height) continue;
        Pack<T, V> pixels[PIXELS];
        read_pixels<PIXELS>(image + (wide)v * d.width * d.channels, column * S - d.left, d.width, d.channels, pixels);
        float factors[K][V];
        UNROLL for (int b = 0; b < K; b++) {
            read_pack(weight + (FLIP ? K * K - 1 - a * K - b : a * K + b) * d.channels + c, factors[b]);
        }
        UNROLL for (int n = 0; n < PIXELS; n++) {
            UNROLL for (int k = 0; k < V; k++) {
                float value = to_float(pixels[n].values[k]);
                UNROLL for (int p = 0; p < P; p++) {
                    int b = n - p * S;
                    if (b >= 0 && b < K) sums[p][k] = fmaf(factors[b][k], value, sums[p][k]);
                }
            }
        }
    }
    UNROLL for (int p = 0; p < P; p++) {
        if (column + p >= d.columns) continue;
        finish(sums[p], shift, residual, y, activation, c, ((wide)line * d.columns + column + p) * d.channels + c);
    }
}

// `group` is the number of columns per thread: 3 or 4 at stride 1, and 2 at stride 2.
template <class T, int V, int K>
__device__ void depthwise(const T *x, const float *weight, const float *shift, const T *residual, T *y, int activation,
                          const Depthwise &d, int group, int count) {
    if (d.stride == 2) convolve<T, V, K, 2, 2, false>(x, weight, shift, residual, y, activation, d, count);
    else if (group == 3) convolve<T, V, K, 1, 3, false>(x, weight, shift, residual, y, activation, d, count);
    else convolve<T, V, K, 1, 4, false>(x, weight, shift, residual, y, activation, d, count);
}

// Any window; a thread computes one pixel.
template <class T, int V>
__device__ void depthwise_any(const T *x, const float *weight, const float *shift, const T *residual, T *y, int activation,
                              const Depthwise &d, int count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, packs = d.channels / V;
    if (i >= (unsigned)count) return;
    unsigned c = i % packs * V, line = i / packs / d.columns;
    int column = i / packs % d.columns, row = line % d.rows;
    const T *image = x + (wide)(line / d.rows) * d.height * d.width * d.channels + c;
    float sums[V] = {};
    for (int a = 0; a < d.kernel_height; a++) {
        int v = row * d.stride + a - d.top;
        if (v < 0 || v >= d.height) continue;
        for (int b = 0; b < d.kernel_width; b++) {
            int h = column * d.stride + b - d.left;
            if (h < 0 || h >= d.width) continue;
            float values[V], factors[V];
            read_pack(image + ((wide)v * d.width + h) * d.channels, values);
            read_pack(weight + (a * d.kernel_width + b) * d.channels + c, factors);
            UNROLL for (int k = 0; k < V; k++) sums[k] = fmaf(factors[k], values[k], sums[k]);
        }
    }
    finish(sums, shift, residual, y, activation, c, (wide)i * V);
}

// The gradient of the input at stride 2. Pixels (2i, 2j) to (2i + 1, 2j + 1), counted from the start of the padding, lie under the same
// windows: (i − s, j − t) for s, t ≤ K / 2, with the taps (2s, 2t) to (2s + 1, 2t + 1). A thread computes four such pixels.
template <class T, int V, int K>
__device__ __forceinline__ void spread(const T *dy, const float *weight, T *dx, const Depthwise &d, int count) {
    constexpr int WINDOWS = K / 2 + 1;
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, packs = d.channels / V;
    if (i >= (unsigned)count) return;
    int first_row = d.top / 2, first_column = d.left / 2;
    unsigned squares = (d.left + d.width + 1) / 2 - first_column, lines = (d.top + d.height + 1) / 2 - first_row;
    unsigned c = i % packs * V, line = i / packs / squares, image = line / lines;
    int column = i / packs % squares + first_column, row = line % lines + first_row;
    float sums[2][2][V] = {};
    NO_UNROLL for (int s = 0; s < WINDOWS; s++) {
        if (row - s < 0 || row - s >= d.rows) continue;
        Pack<T, V> pixels[WINDOWS];
        const T *from = dy + ((wide)image * d.rows + row - s) * d.columns * d.channels + c;
        read_pixels<WINDOWS>(from, column - WINDOWS + 1, d.columns, d.channels, pixels);
        UNROLL for (int e = 0; e < 2; e++) {
            int a = 2 * s + e;
            if (a >= K) continue;
            UNROLL for (int b = 0; b < K; b++) {
                float factors[V];
                read_pack(weight + (a * K + b) * d.channels + c, factors);
                UNROLL for (int k = 0; k < V; k++) {
                    float value = to_float(pixels[WINDOWS - 1 - b / 2].values[k]);
                    sums[e][b % 2][k] = fmaf(factors[k], value, sums[e][b % 2][k]);
                }
            }
        }
    }
    UNROLL for (int e = 0; e < 2; e++) {
        UNROLL for (int f = 0; f < 2; f++) {
            int v = 2 * row + e - d.top, h = 2 * column + f - d.left;
            if (v < 0 || h < 0 || v >= d.height || h >= d.width) continue;
            write_pack(dx + (((wide)image * d.height + v) * d.width + h) * d.channels + c, sums[e][f]);
        }
    }
}

// At stride 1 it is a convolution of dy with the turned weight.
template <class T, int V, int K>
__device__ void depthwise_input(const T *dy, const float *weight, T *dx, const Depthwise &d, int group, int count) {
    if (d.stride == 2) return spread<T, V, K>(dy, weight, dx, d, count);
    Depthwise turned = {d.rows, d.columns, d.channels, d.height, d.width, K, K, 1, K - 1 - d.top, K - 1 - d.left};
    if (group == 3) convolve<T, V, K, 1, 3, true>(dy, weight, nullptr, nullptr, dx, NONE, turned, count);
    else convolve<T, V, K, 1, 4, true>(dy, weight, nullptr, nullptr, dx, NONE, turned, count);
}

template <class T, int V>
__device__ void depthwise_input_any(const T *dy, const float *weight, T *dx, const Depthwise &d, int count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, packs = d.channels / V;
    if (i >= (unsigned)count) return;
    unsigned c = i % packs * V, line = i / packs / d.width;
    int h = i / packs % d.width + d.left, v = line % d.height + d.top;
    const T *image = dy + (wide)(line / d.height) * d.rows * d.columns * d.channels + c;
    float sums[V] = {};
    for (int a = v % d.stride; a < d.kernel_height && a <= v; a += d.stride) {
        int row = (v - a) / d.stride;
        if (row >= d.rows) continue;
        for (int b = h % d.stride; b < d.kernel_width && b <= h; b += d.stride) {
            int column = (h - b) / d.stride;
            if (column >= d.columns) continue;
            float values[V], factors[V];
            read_pack(image + ((wide)row * d.columns + column) * d.channels, values);
            read_pack(weight + (a * d.kernel_width + b) * d.channels + c, factors);
            UNROLL for (int k = 0; k < V; k++) sums[k] = fmaf(factors[k], values[k], sums[k]);
        }
    }
    write_pack(dx + (wide)i * V, sums);
}

// partial[chunk][tap][channel], of a chunk of units; a unit is P neighbouring columns of a row of the output. Blocks of 16 pairs of
// channels × 8 units: a thread sums all taps of two channels in registers.
template <class T, int K, int S, int P>
__device__ __forceinline__ void correlate(const T *x, const T *dy, float *partial, const Depthwise &d, int units, int units_per_chunk) {
    constexpr int V = 2, PIXELS = (P - 1) * S + K;
    __shared__ float shared[4][K * K][16 * V];
    unsigned groups = groups_of(d.columns, P);
    int c = (blockIdx.x * 16 + threadIdx.x) * V, first = blockIdx.y * units_per_chunk;
    int end = first + units_per_chunk < units ? first + units_per_chunk : units;
    float sums[K][K][V] = {};
    if (c < d.channels) {
        NO_UNROLL for (unsigned unit = first + threadIdx.y; unit < (unsigned)end; unit += 8) {
            unsigned line = unit / groups, image = line / d.rows;
            int column = unit % groups * P, row = line % d.rows;
            Pack<T, V> gradients[P];
            read_pixels<P>(dy + (wide)line * d.columns * d.channels + c, column, d.columns, d.channels, gradients);
            UNROLL for (int a = 0; a < K; a++) {
                int v = row * S + a - d.top;
                if (v < 0 || v >= d.height) continue;
                Pack<T, V> pixels[PIXELS];
                const T *from = x + ((wide)image * d.height + v) * d.width * d.channels + c;
                read_pixels<PIXELS>(from, column * S - d.left, d.width, d.channels, pixels);
                UNROLL for (int p = 0; p < P; p++) {
                    UNROLL for (int b = 0; b < K; b++) {
                        UNROLL for (int k = 0; k < V; k++) {
                            float value = to_float(pixels[p * S + b].values[k]);
                            sums[a][b][k] = fmaf(value, to_float(gradients[p].values[k]), sums[a][b][k]);
                        }
                    }
                }
            }
        }
    }
    UNROLL for (int half = 4; half > 0; half /= 2) {
        int row = threadIdx.y;
        __syncthreads();
        UNROLL for (int i = 0; i < K * K * V; i++) {
            if (row >= half && row < 2 * half) shared[row - half][i / V][threadIdx.x * V + i % V] = sums[i / V / K][i / V % K][i % V];
        }
        __syncthreads();
        UNROLL for (int i = 0; i < K * K * V; i++) {
            if (row < half) sums[i / V / K][i / V % K][i % V] += shared[row][i / V][threadIdx.x * V + i % V];
        }
    }
    if (threadIdx.y != 0 || c >= d.channels) return;
    UNROLL for (int i = 0; i < K * K * V; i++) {
        partial[((wide)blockIdx.y * K * K + i / V) * d.channels + c + i % V] = sums[i / V / K][i / V % K][i % V];
    }
}

// `group` is the number of columns of a unit: 3 or 4 at stride 1, and 4 at stride 2.
template <class T, int K>
__device__ void depthwise_weight(const T *x, const T *dy, float *partial, const Depthwise &d, int group, int units, int units_per_chunk) {
    if (d.stride == 2) correlate<T, K, 2, 4>(x, dy, partial, d, units, units_per_chunk);
    else if (group == 3) correlate<T, K, 1, 3>(x, dy, partial, d, units, units_per_chunk);
    else correlate<T, K, 1, 4>(x, dy, partial, d, units, units_per_chunk);
}

// For any window; units are pixels, in blocks of 32 channels × 8 pixels, and blockIdx.z is the tap.
template <class T>
__device__ void depthwise_weight_any(const T *x, const T *dy, float *partial, const Depthwise &d, int units, int units_per_chunk) {
    __shared__ float shared[8][33];
    int c = blockIdx.x * 32 + threadIdx.x, a = blockIdx.z / d.kernel_width, b = blockIdx.z % d.kernel_width;
    int first = blockIdx.y * units_per_chunk, end = first + units_per_chunk < units ? first + units_per_chunk : units;
    float sum = 0.0f;
    if (c < d.channels) {
        for (int pixel = first + threadIdx.y; pixel < end; pixel += 8) {
            int column = pixel % d.columns, row = pixel / d.columns % d.rows;
            wide image = pixel / d.columns / d.rows;
            int v = row * d.stride + a - d.top, h = column * d.stride + b - d.left;
            if (v < 0 || h < 0 || v >= d.height || h >= d.width) continue;
            float factor = to_float(x[((image * d.height + v) * d.width + h) * d.channels + c]);
            sum = fmaf(factor, to_float(dy[(wide)pixel * d.channels + c]), sum);
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= d.channels) return;
    float total = 0.0f;
    for (int row = 0; row < 8; row++) total += shared[row][threadIdx.x];
    int taps = d.kernel_height * d.kernel_width;
    partial[((wide)blockIdx.y * taps + blockIdx.z) * d.channels + c] = total;
}

#define SQUARE(T, V, K, NAME)                                                                                                   \
    extern "C" __global__ void depthwise_##K##_##NAME(const T *__restrict__ x, const float *__restrict__ weight,                \
                                                      const float *__restrict__ shift, const T *__restrict__ residual,          \
                                                      T *__restrict__ y, int activation, Depthwise d, int group, int count) {   \
        depthwise<T, V, K>(x, weight, shift, residual, y, activation, d, group, count);                                         \
    }                                                                                                                           \
    extern "C" __global__ void depthwise_input_##K##_##NAME(const T *__restrict__ dy, const float *__restrict__ weight,         \
                                                            T *__restrict__ dx, Depthwise d, int group, int count) {            \
        depthwise_input<T, V, K>(dy, weight, dx, d, group, count);                                                              \
    }                                                                                                                           \
    extern "C" __global__ void depthwise_weight_##K##_##NAME(const T *__restrict__ x, const T *__restrict__ dy,                 \
                                                             float *__restrict__ partial, Depthwise d, int group, int units,    \
                                                             int units_per_chunk) {                                             \
        depthwise_weight<T, K>(x, dy, partial, d, group, units, units_per_chunk);                                               \
    }
SQUARE(float, 4, 3, f32_packed)
SQUARE(float, 4, 5, f32_packed)
SQUARE(bf16, 8, 3, bf16_packed)
// Eight channels would take so many registers that too few threads ran at the same time.
SQUARE(bf16, 4, 5, bf16_packed)

#define ANY(T, V, NAME)                                                                                                         \
    extern "C" __global__ void depthwise_any_##NAME(const T *x, const float *weight, const float *shift, const T *residual,     \
                                                    T *y, int activation, Depthwise d, int group, int count) {                  \
        depthwise_any<T, V>(x, weight, shift, residual, y, activation, d, count);                                               \
    }                                                                                                                           \
    extern "C" __global__ void depthwise_input_any_##NAME(const T *dy, const float *weight, T *dx, Depthwise d, int group,      \
                                                          int count) {                                                          \
        depthwise_input_any<T, V>(dy, weight, dx, d, count);                                                                    \
    }
ANY(float, 1, f32)
ANY(float, 4, f32_packed)
ANY(bf16, 1, bf16)
ANY(bf16, 8, bf16_packed)

#define ANY_WEIGHT(T, NAME)                                                                                                     \
    extern "C" __global__ void depthwise_weight_any_##NAME(const T *x, const T *dy, float *partial, Depthwise d, int group,     \
                                                           int units, int units_per_chunk) {                                    \
        depthwise_weight_any(x, dy, partial, d, units, units_per_chunk);                                                        \
    }
ANY_WEIGHT(float, f32)
ANY_WEIGHT(bf16, bf16)
