// The tokens of a transformer from the patches of its images: a class token in front, and a position added to each.
#include "math.cuh"

// y[image][0] = first + positions[0], y[image][1 + p] = patches[image][p] + positions[1 + p]; in packs of V values, `width` per token.
template <class T, int V>
__device__ void tokens(const T *patches, const float *first, const float *positions, T *y, int width, int length, int count) {
    FOR_EACH_INT(i, count) {
        int at = i * V, c = at % width, token = at / width % length, image = at / width / length;
        Pack<T, V> pack;
        if (token > 0) pack = *(const Pack<T, V> *)(patches + ((wide)image * (length - 1) + token - 1) * width + c);
        for (int v = 0; v < V; v++) {
            float value = token > 0 ? to_float(pack.values[v]) : first[c + v];
            store(pack.values[v], value + positions[token * width + c + v]);
        }
        ((Pack<T, V> *)y)[i] = pack;
    }
}

// The gradient of the patches: that of all tokens without the first.
template <class T, int V> __device__ void tokens_backward(const T *dy, T *dx, int width, int length, int count) {
    FOR_EACH_INT(i, count) {
        int at = i * V, c = at % width, patch = at / width % (length - 1), image = at / width / (length - 1);
        ((Pack<T, V> *)dx)[i] = *(const Pack<T, V> *)(dy + ((wide)image * length + patch + 1) * width + c);
    }
}

#define SEQUENCE(T, V, NAME)                                                                                                    \
    extern "C" __global__ void embed_tokens_##NAME(const T *patches, const float *first, const float *positions, T *y,          \
                                                   int width, int length, int count) {                                          \
        tokens<T, V>(patches, first, positions, y, width, length, count);                                                       \
    }                                                                                                                           \
    extern "C" __global__ void embed_tokens_backward_##NAME(const T *dy, T *dx, int width, int length, int count) {             \
        tokens_backward<T, V>(dy, dx, width, length, count);                                                                    \
    }
SEQUENCE(float, 1, f32)
SEQUENCE(float, 4, f32_packed)
SEQUENCE(bf16, 1, bf16)
SEQUENCE(bf16, 8, bf16_packed)
