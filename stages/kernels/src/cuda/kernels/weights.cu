// Weights of convolutions: from torchvision's layout [out, depth, taps], f32, to that of the kernels, with the scale of a frozen batch
// normalisation multiplied in. With w' = s ∘ w and the gradient d of w': dw = s ∘ d and ds[o] = ⟨w[o], d[o]⟩, both from the weight alone;
// with a normalisation s = γ / √(variance + ε) and t = β + (bias − mean) · s, so that dγ = (ds + (bias − mean) · dt) / √(variance + ε),
// dβ = dt and dbias = s · dt (finish.cu).
#include "math.cuh"

// A frozen batch normalisation; `gamma` is null if there is none.
struct Norm {
    const float *gamma, *beta, *mean, *variance, *bias;
    float epsilon;
};

// Scale of an output channel: gamma / √(variance + ε), the one that is given, or 1.
RULE float scale_of(const Norm &norm, const float *scale, int o) {
    if (norm.gamma) return norm.gamma[o] * (1.0f / sqrtf(norm.variance[o] + norm.epsilon));
    return scale ? scale[o] : 1.0f;
}

// Writes the shift, with a normalisation beta + (bias − mean) · scale, in f32 and in the type of activations.
template <class T>
__device__ void write_shift(const Norm &norm, const float *shift, float scale, int o, float *shifts, T *rounded) {
    float value = shift ? shift[o] : 0.0f;
    if (norm.gamma) value = norm.beta[o] + ((norm.bias ? norm.bias[o] : 0.0f) - norm.mean[o]) * scale;
    if (shifts) shifts[o] = value;
    if (rounded) store(rounded[o], value);
}

// result[o][tap · padded + c] = scale[o] · weight[o][c][tap] for c below `depth`; zero up to `padded`, and from `padded · taps` up to `row`.
template <class T>
__device__ void fold(const float *weight, Norm norm, const float *scale, const float *shift, T *result, float *shifts, T *rounded,
                     int depth, int padded, int taps, int row, int count) {
    FOR_EACH_INT(i, count) {
        int o = i / row, at = i % row, tap = at / padded, c = at % padded;
        float factor = scale_of(norm, scale, o);
        store(result[i], c < depth && tap < taps ? factor * weight[(o * depth + c) * taps + tap] : 0.0f);
        if (at == 0) write_shift(norm, shift, factor, o, shifts, rounded);
    }
}

// Depthwise: result[tap][c] = scale[c] · weight[c][tap]
extern "C" __global__ void fold_depthwise(const float *weight, Norm norm, const float *scale, const float *shift, float *result,
                                          float *shifts, int channels, int taps) {
    FOR_EACH_INT(i, channels * taps) {
        int c = i % channels, tap = i / channels;
        float factor = scale_of(norm, scale, c);
        result[i] = factor * weight[c * taps + tap];
        if (tap == 0) write_shift(norm, shift, factor, c, shifts, (float *)0);
    }
}

#define WEIGHTS(T, NAME)                                                                                                        \
    extern "C" __global__ void fold_##NAME(const float *weight, Norm norm, const float *scale, const float *shift, T *result,   \
                                           float *shifts, T *rounded, int depth, int padded, int taps, int row, int count) {    \
        fold(weight, norm, scale, shift, result, shifts, rounded, depth, padded, taps, row, count);                             \
    }
WEIGHTS(float, f32)
WEIGHTS(bf16, bf16)
