// Images from bytes: x[…, c] = (pixel[…, s(c)] − mean[c]) / std[c], with the CPU's operations in their order. Formula: pixels.rs of this
// crate.
#include "math.cuh"

// s(c) is c, or 2 − c if `reversed`. `count` is the number of packs; packs may begin at any channel.
template <class T, int V>
__device__ void normalise_pixels(const unsigned char *pixels, T *x, int reversed, float mean_0, float mean_1, float mean_2, float std_0,
                                 float std_1, float std_2, wide count) {
    FOR_EACH(i, count) {
        wide at = i * V;
        int c = (int)(at % 3);
        Pack<T, V> pack;
        for (int v = 0; v < V; v++) {
            float pixel = pixels[at + v + (reversed ? 2 - 2 * c : 0)];
            float mean = c == 0 ? mean_0 : c == 1 ? mean_1 : mean_2, std = c == 0 ? std_0 : c == 1 ? std_1 : std_2;
            store(pack.values[v], (pixel - mean) / std);
            c = c == 2 ? 0 : c + 1;
        }
        ((Pack<T, V> *)x)[i] = pack;
    }
}

#define PIXELS(T, V, NAME)                                                                                                      \
    extern "C" __global__ void normalise_pixels_##NAME(const unsigned char *pixels, T *x, int reversed, float mean_0,           \
                                                       float mean_1, float mean_2, float std_0, float std_1, float std_2,       \
                                                       wide count) {                                                            \
        normalise_pixels<T, V>(pixels, x, reversed, mean_0, mean_1, mean_2, std_0, std_1, std_2, count);                        \
    }
PIXELS(float, 1, f32)
PIXELS(float, 4, f32_packed)
PIXELS(bf16, 1, bf16)
PIXELS(bf16, 8, bf16_packed)
