// Weights of convolutions: from torchvision's layout [out, depth, taps], f32, to that of the kernels, with the scale of a frozen batch
// normalisation multiplied in; and the gradients back.
#include "math.cuh"

// result[o][tap][c] = scale[o] * weight[o][c][tap]
template <class T>
__device__ void fold(const float *weight, const float *scale, T *result, int depth, int taps, wide count) {
    FOR_EACH(i, count) {
        wide c = i % depth, tap = i / depth % taps, o = i / depth / taps;
        float value = weight[(o * depth + c) * taps + tap];
        store(result[i], scale ? scale[o] * value : value);
    }
}

// Depthwise: result[tap][c] = scale[c] * weight[c][tap]
extern "C" __global__ void fold_depthwise(const float *weight, const float *scale, float *result, int channels, int taps) {
    FOR_EACH(i, (wide)channels * taps) {
        int c = i % channels, tap = i / channels;
        float value = weight[c * taps + tap];
        result[i] = scale ? scale[c] * value : value;
    }
}

// From the gradient of the folded weight, [out][tap][depth]: d_weight = scale ∘ gradient, d_scale[o] = ⟨weight[o], gradient[o]⟩. One block
// per output channel.
template <class T>
__device__ void unfold(const T *gradient, const float *weight, const float *scale, float *d_weight, float *d_scale, int depth, int taps) {
    wide first = (wide)blockIdx.x * depth * taps;
    float factor = scale ? scale[blockIdx.x] : 1.0f, sum = 0.0f;
    for (int i = threadIdx.x; i < depth * taps; i += blockDim.x) {
        int c = i / taps, tap = i % taps;
        float value = to_float(gradient[first + (wide)tap * depth + c]);
        d_weight[first + i] = factor * value;
        sum += weight[first + i] * value;
    }
    sum = block_sum(sum);
    if (d_scale && threadIdx.x == 0) d_scale[blockIdx.x] = sum;
}

extern "C" __global__ void unfold_depthwise(const float *gradient, const float *weight, const float *scale, float *d_weight,
                                            float *d_scale, int channels, int taps) {
    FOR_EACH(c, channels) {
        float factor = scale ? scale[c] : 1.0f, sum = 0.0f;
        for (int tap = 0; tap < taps; tap++) {
            float value = gradient[(wide)tap * channels + c];
            d_weight[c * taps + tap] = factor * value;
            sum += weight[c * taps + tap] * value;
        }
        if (d_scale) d_scale[c] = sum;
    }
}

// A frozen batch normalisation as scale and shift: scale = gamma / √(variance + ε), shift = beta + (bias − mean) · scale.
extern "C" __global__ void frozen_norm(const float *gamma, const float *beta, const float *mean, const float *variance, const float *bias,
                                float *scale, float *shift, float epsilon, int channels) {
    FOR_EACH(c, channels) {
        float factor = gamma[c] / sqrtf(variance[c] + epsilon);
        scale[c] = factor;
        shift[c] = beta[c] + ((bias ? bias[c] : 0.0f) - mean[c]) * factor;
    }
}

// The gradients of gamma and of the bias, given those of scale and shift. That of beta is that of the shift.
extern "C" __global__ void frozen_norm_backward(const float *d_scale, const float *d_shift, const float *mean, const float *variance,
                                         const float *bias, const float *scale, float *d_gamma, float *d_bias, float epsilon, int channels) {
    FOR_EACH(c, channels) {
        float total = d_scale[c] + ((bias ? bias[c] : 0.0f) - mean[c]) * d_shift[c];
        d_gamma[c] = total / sqrtf(variance[c] + epsilon);
        if (d_bias) d_bias[c] = scale[c] * d_shift[c];
    }
}

#define WEIGHTS(T, NAME)                                                                                                        \
    extern "C" __global__ void fold_##NAME(const float *weight, const float *scale, T *result, int depth, int taps, wide count) { \
        fold(weight, scale, result, depth, taps, count);                                                                        \
    }                                                                                                                           \
    extern "C" __global__ void unfold_##NAME(const T *gradient, const float *weight, const float *scale, float *d_weight,       \
                                             float *d_scale, int depth, int taps) {                                             \
        unfold(gradient, weight, scale, d_weight, d_scale, depth, taps);                                                        \
    }
WEIGHTS(float, f32)
WEIGHTS(bf16, bf16)
