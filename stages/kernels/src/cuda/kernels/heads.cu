// Copies between token by token, [image][token][part][head][channel], and head by head, [part][image][head][token][channel], where the
// tokens of each image are padded with zeros. A thread copies a pack; `packs` is the number of packs of a head, `count` that of all.
#include "math.cuh"

template <class T, int V>
__device__ void heads_apart(const T *x, T *y, int batch, int parts, int heads, int tokens, int padded, int packs, int count) {
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs, line = i / packs, token = line % padded, head = line / padded % heads;
        unsigned image = line / padded / heads % batch, part = line / padded / heads / batch;
        Pack<T, V> pack = {};
        if (token < (unsigned)tokens) {
            pack = ((const Pack<T, V> *)x)[(((image * tokens + token) * parts + part) * heads + head) * packs + c];
        }
        ((Pack<T, V> *)y)[i] = pack;
    }
}

template <class T, int V>
__device__ void heads_together(const T *x, T *y, int batch, int parts, int heads, int tokens, int padded, int packs, int count) {
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs, line = i / packs, head = line % heads, part = line / heads % parts;
        unsigned token = line / heads / parts % tokens, image = line / heads / parts / tokens;
        ((Pack<T, V> *)y)[i] = ((const Pack<T, V> *)x)[(((part * batch + image) * heads + head) * padded + token) * packs + c];
    }
}

#define HEADS(T, V, NAME)                                                                                                       \
    extern "C" __global__ void heads_apart_##NAME(const T *x, T *y, int batch, int parts, int heads, int tokens, int padded,    \
                                                  int packs, int count) {                                                       \
        heads_apart<T, V>(x, y, batch, parts, heads, tokens, padded, packs, count);                                             \
    }                                                                                                                           \
    extern "C" __global__ void heads_together_##NAME(const T *x, T *y, int batch, int parts, int heads, int tokens, int padded, \
                                                     int packs, int count) {                                                    \
        heads_together<T, V>(x, y, batch, parts, heads, tokens, padded, packs, count);                                          \
    }
HEADS(float, 1, f32)
HEADS(float, 4, f32_packed)
HEADS(bf16, 1, bf16)
HEADS(bf16, 8, bf16_packed)
