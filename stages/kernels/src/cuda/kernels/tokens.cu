// Layers of transformers: layer normalisation, softmax and GELU. A block works on one row; sums have a fixed order.
#include "math.cuh"

// y = weight ∘ (x − mean) / deviation + bias; the means and inverse deviations of the rows are kept for the gradient.
template <class T>
__device__ void layer_norm(const T *x, const float *weight, const float *bias, T *y, float *means, float *inverses, int width,
                           float epsilon) {
    const T *row = x + (wide)blockIdx.x * width;
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += to_float(row[i]);
    float mean = block_sum(sum) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float centred = to_float(row[i]) - mean;
        squares += centred * centred;
    }
    float inverse = 1.0f / sqrtf(block_sum(squares) / width + epsilon);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        store(y[(wide)blockIdx.x * width + i], (to_float(row[i]) - mean) * inverse * weight[i] + bias[i]);
    }
    if (threadIdx.x == 0) {
        means[blockIdx.x] = mean;
        inverses[blockIdx.x] = inverse;
    }
}

// With n = (x − mean) · inverse and h = weight ∘ dy: dx = inverse · (h − mean(h) − n · mean(h ∘ n)). Also writes n, from which `mask_rows`
// sums the gradient of the weight.
template <class T>
__device__ void layer_norm_backward(const T *dy, const T *x, const float *weight, const float *means, const float *inverses, T *dx,
                                    T *normalised, int width) {
    wide first = (wide)blockIdx.x * width;
    float mean = means[blockIdx.x], inverse = inverses[blockIdx.x], sum = 0.0f, product = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float n = (to_float(x[first + i]) - mean) * inverse, h = weight[i] * to_float(dy[first + i]);
        sum += h;
        product += h * n;
        store(normalised[first + i], n);
    }
    sum = block_sum(sum) / width;
    product = block_sum(product) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float n = (to_float(x[first + i]) - mean) * inverse, h = weight[i] * to_float(dy[first + i]);
        store(dx[first + i], inverse * (h - sum - n * product));
    }
}

// y = softmax(factor · x) in each row.
template <class T> __device__ void softmax(const T *x, T *y, int width, float factor) {
    wide first = (wide)blockIdx.x * width;
    float best = -INFINITY, sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) best = fmaxf(best, factor * to_float(x[first + i]));
    best = block_max(best);
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += expf(factor * to_float(x[first + i]) - best);
    sum = block_sum(sum);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        store(y[first + i], expf(factor * to_float(x[first + i]) - best) / sum);
    }
}

// dx = factor · y ∘ (dy − ⟨dy, y⟩)
template <class T> __device__ void softmax_backward(const T *dy, const T *y, T *dx, int width, float factor) {
    wide first = (wide)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += to_float(dy[first + i]) * to_float(y[first + i]);
    sum = block_sum(sum);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        store(dx[first + i], factor * to_float(y[first + i]) * (to_float(dy[first + i]) - sum));
    }
}

// x · Φ(x) with the error function, as PyTorch's default.
RULE float gelu_of(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

// Its derivative, Φ(x) + x · φ(x).
RULE float gelu_slope(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x); }

template <class T> __device__ void gelu(const T *x, T *y, wide count) {
    FOR_EACH(i, count) store(y[i], gelu_of(to_float(x[i])));
}

template <class T> __device__ void gelu_backward(const T *dy, const T *x, T *dx, wide count) {
    FOR_EACH(i, count) store(dx[i], to_float(dy[i]) * gelu_slope(to_float(x[i])));
}

#define TOKENS(T, NAME)                                                                                                         \
    extern "C" __global__ void layer_norm_##NAME(const T *x, const float *weight, const float *bias, T *y, float *means,        \
                                                 float *inverses, int width, float epsilon) {                                   \
        layer_norm(x, weight, bias, y, means, inverses, width, epsilon);                                                        \
    }                                                                                                                           \
    extern "C" __global__ void layer_norm_backward_##NAME(const T *dy, const T *x, const float *weight, const float *means,     \
                                                          const float *inverses, T *dx, T *normalised, int width) {             \
        layer_norm_backward(dy, x, weight, means, inverses, dx, normalised, width);                                             \
    }                                                                                                                           \
    extern "C" __global__ void softmax_##NAME(const T *x, T *y, int width, float factor) { softmax(x, y, width, factor); }      \
    extern "C" __global__ void softmax_backward_##NAME(const T *dy, const T *y, T *dx, int width, float factor) {               \
        softmax_backward(dy, y, dx, width, factor);                                                                             \
    }                                                                                                                           \
    extern "C" __global__ void gelu_##NAME(const T *x, T *y, wide count) { gelu(x, y, count); }                                 \
    extern "C" __global__ void gelu_backward_##NAME(const T *dy, const T *x, T *dx, wide count) { gelu_backward(dy, x, dx, count); }
TOKENS(float, f32)
TOKENS(bf16, bf16)
