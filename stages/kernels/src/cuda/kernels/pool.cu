// Pooling: maximum and average under a window and over the whole image. A thread writes a pack of V channels, so nothing depends on an
// order. Indices of packs fit into 32 bits; `packs` is the number of packs of a pixel.
#include "math.cuh"

struct Window {
    int height, width, channels, rows, columns, kernel_height, kernel_width, stride, top, left;
};

// Calls `f(tap, at, inside)` for each tap of a window in their order, where `at` is the index of the pack, or that of the nearest one for a
// tap that lies in the padding: without branches all reads start at once. K is the size of a square window, or 0 for any window.
template <int K, class F>
__device__ __forceinline__ void each_tap(const Window &w, unsigned image, int row, int column, unsigned c, unsigned packs, F f) {
    int kernel_height = K > 0 ? K : w.kernel_height, kernel_width = K > 0 ? K : w.kernel_width;
    UNROLL for (int a = 0; a < kernel_height; a++) {
        UNROLL for (int b = 0; b < kernel_width; b++) {
            int v = row * w.stride + a - w.top, h = column * w.stride + b - w.left;
            bool inside = v >= 0 && h >= 0 && v < w.height && h < w.width;
            v = min(max(v, 0), w.height - 1);
            h = min(max(h, 0), w.width - 1);
            f(a * kernel_width + b, ((image * w.height + v) * w.width + h) * packs + c, inside);
        }
    }
}

// Maxima, and the tap of each, which is its number within the window.
template <class T, int V, int K> __device__ void max_pool_of(const T *x, T *y, unsigned char *taps, const Window &w, int count) {
    unsigned packs = w.channels / V;
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs, pixel = i / packs, column = pixel % w.columns, line = pixel / w.columns;
        float best[V] = {};
        int best_taps[V];
        UNROLL for (int v = 0; v < V; v++) best_taps[v] = -1;
        each_tap<K>(w, line / w.rows, line % w.rows, column, c, packs, [&](int tap, unsigned at, bool inside) {
            float values[V];
            read_pack(x + (wide)at * V, values);
            UNROLL for (int v = 0; v < V; v++) {
                if (!inside || (best_taps[v] >= 0 && !replaces(values[v], best[v]))) continue;
                best[v] = values[v];
                best_taps[v] = tap;
            }
        });
        Pack<unsigned char, V> pack;
        UNROLL for (int v = 0; v < V; v++) {
            // A window that lies in the padding alone has the padding's value.
            if (best_taps[v] < 0) best[v] = -INFINITY;
            pack.values[v] = best_taps[v] < 0 ? 255 : best_taps[v];
        }
        write_pack(y + (wide)i * V, best);
        ((Pack<unsigned char, V> *)taps)[i] = pack;
    }
}

template <class T, int V> __device__ void max_pool(const T *x, T *y, unsigned char *taps, const Window &w, int count) {
    if (w.kernel_height == 3 && w.kernel_width == 3) max_pool_of<T, V, 3>(x, y, taps, w, count);
    else max_pool_of<T, V, 0>(x, y, taps, w, count);
}

template <class T, int V> __device__ void average_pool(const T *x, T *y, const Window &w, int count) {
    float share = 1.0f / (w.kernel_height * w.kernel_width);
    unsigned packs = w.channels / V;
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs, pixel = i / packs, column = pixel % w.columns, line = pixel / w.columns;
        float sums[V] = {};
        each_tap<0>(w, line / w.rows, line % w.rows, column, c, packs, [&](int, unsigned at, bool inside) {
            float values[V];
            read_pack(x + (wide)at * V, values);
            UNROLL for (int v = 0; v < V; v++) sums[v] += inside ? values[v] : 0.0f;
        });
        UNROLL for (int v = 0; v < V; v++) sums[v] *= share;
        write_pack(y + (wide)i * V, sums);
    }
}

// The first window that reaches this far from the start of the padding.
RULE int first_window(int place, int kernel, int stride) {
    int start = place - kernel + 1;
    return start <= 0 ? 0 : (start + stride - 1) / stride;
}

// The last such window of `count`.
RULE int last_window(int place, int stride, int count) { return place / stride < count ? place / stride : count - 1; }

// dx at a pixel: the dy of all windows that have their maximum there, or, without taps, a share of the dy of all windows.
template <class T, int V> __device__ void pool_backward(const T *dy, const unsigned char *taps, T *dx, const Window &w, int count) {
    float share = 1.0f / (w.kernel_height * w.kernel_width);
    unsigned packs = w.channels / V;
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs, pixel = i / packs, line = pixel / w.width;
        int h = pixel % w.width + w.left, v = line % w.height + w.top;
        unsigned image = line / w.height;
        float sums[V] = {};
        int last_row = last_window(v, w.stride, w.rows), last_column = last_window(h, w.stride, w.columns);
        int first_column = first_window(h, w.kernel_width, w.stride);
        for (int row = first_window(v, w.kernel_height, w.stride); row <= last_row; row++) {
            for (int column = first_column; column <= last_column; column++) {
                unsigned at = ((image * w.rows + row) * w.columns + column) * packs + c;
                int tap = (v - row * w.stride) * w.kernel_width + h - column * w.stride;
                float values[V];
                read_pack(dy + (wide)at * V, values);
                if (taps) {
                    Pack<unsigned char, V> pack = ((const Pack<unsigned char, V> *)taps)[at];
                    UNROLL for (int k = 0; k < V; k++) sums[k] += pack.values[k] == tap ? values[k] : 0.0f;
                } else {
                    UNROLL for (int k = 0; k < V; k++) sums[k] += share * values[k];
                }
            }
        }
        write_pack(dx + (wide)i * V, sums);
    }
}

// Over all pixels of an image, blocks of 32 packs × 8 pixels. For a maximum, `pixels` gets its pixel; for the mean it is null.
template <class T, int V> __device__ void global_pool(const T *x, T *y, int *pixels, int area, int channels) {
    __shared__ float shared[8][32 * V];
    __shared__ int shared_places[8][32 * V];
    int c = (blockIdx.x * 32 + threadIdx.x) * V;
    wide image = blockIdx.y;
    float values[V] = {};
    int places[V];
    UNROLL for (int v = 0; v < V; v++) places[v] = -1;
    if (c < channels) {
        for (int pixel = threadIdx.y; pixel < area; pixel += 8) {
            float next[V];
            read_pack(x + (image * area + pixel) * channels + c, next);
            UNROLL for (int v = 0; v < V; v++) {
                if (!pixels) values[v] += next[v];
                else if (places[v] < 0 || replaces(next[v], values[v])) { values[v] = next[v]; places[v] = pixel; }
            }
        }
    }
    UNROLL for (int v = 0; v < V; v++) {
        shared[threadIdx.y][v * 32 + threadIdx.x] = values[v];
        shared_places[threadIdx.y][v * 32 + threadIdx.x] = places[v];
    }
    __syncthreads();
    // Row y of the block adds up the channels y, y + 8, … of each pack.
    NO_UNROLL for (int v = threadIdx.y; v < V; v += 8) {
        if (c >= channels) continue;
        float value = shared[0][v * 32 + threadIdx.x];
        int place = shared_places[0][v * 32 + threadIdx.x];
        for (int row = 1; row < 8; row++) {
            float next = shared[row][v * 32 + threadIdx.x];
            int at = shared_places[row][v * 32 + threadIdx.x];
            if (!pixels) value += next;
            // Of equal maxima, the one of the first pixel.
            else if (at >= 0 && (replaces(next, value) || (next == value && at < place))) { value = next; place = at; }
        }
        store(y[image * channels + c + v], pixels ? value : value / area);
        if (pixels) pixels[image * channels + c + v] = place;
    }
}

template <class T, int V> __device__ void global_pool_backward(const T *dy, const int *pixels, T *dx, int area, int channels, int count) {
    float share = 1.0f / area;
    unsigned packs = channels / V;
    FOR_EACH_INT(i, count) {
        unsigned c = i % packs * V, pixel = i / packs % area, image = i / packs / area;
        wide at = (wide)image * channels + c;
        float values[V];
        read_pack(dy + at, values);
        UNROLL for (int v = 0; v < V; v++) {
            values[v] = !pixels ? values[v] * share : pixels[at + v] == (int)pixel ? values[v] : 0.0f;
        }
        write_pack(dx + (wide)i * V, values);
    }
}

#define POOL(T, V, NAME)                                                                                                        \
    extern "C" __global__ void max_pool_##NAME(const T *x, T *y, unsigned char *taps, Window w, int count) {                    \
        max_pool<T, V>(x, y, taps, w, count);                                                                                   \
    }                                                                                                                           \
    extern "C" __global__ void average_pool_##NAME(const T *x, T *y, Window w, int count) {                                     \
        average_pool<T, V>(x, y, w, count);                                                                                     \
    }                                                                                                                           \
    extern "C" __global__ void pool_backward_##NAME(const T *dy, const unsigned char *taps, T *dx, Window w, int count) {       \
        pool_backward<T, V>(dy, taps, dx, w, count);                                                                            \
    }                                                                                                                           \
    extern "C" __global__ void global_pool_##NAME(const T *x, T *y, int *pixels, int area, int channels) {                      \
        global_pool<T, V>(x, y, pixels, area, channels);                                                                        \
    }                                                                                                                           \
    extern "C" __global__ void global_pool_backward_##NAME(const T *dy, const int *pixels, T *dx, int area, int channels,       \
                                                           int count) {                                                         \
        global_pool_backward<T, V>(dy, pixels, dx, area, channels, count);                                                      \
    }
POOL(float, 1, f32)
POOL(float, 4, f32_packed)
POOL(bf16, 1, bf16)
POOL(bf16, 8, bf16_packed)
