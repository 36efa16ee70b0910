// Pooling: maximum and average under a window and over the whole image. Each thread writes one element, so nothing depends on an order.
#include "math.cuh"

struct Window {
    int height, width, channels, rows, columns, kernel_height, kernel_width, stride, top, left;
};

// Maxima, and the tap of each, which is its number within the window.
template <class T> __device__ void max_pool(const T *x, T *y, unsigned char *taps, Window w, wide count) {
    FOR_EACH(i, count) {
        int c = i % w.channels, column = i / w.channels % w.columns, row = i / w.channels / w.columns % w.rows;
        wide image = i / w.channels / w.columns / w.rows;
        float best = 0.0f;
        int best_tap = -1;
        for (int a = 0; a < w.kernel_height; a++) {
            for (int b = 0; b < w.kernel_width; b++) {
                int v = row * w.stride + a - w.top, h = column * w.stride + b - w.left;
                if (v < 0 || h < 0 || v >= w.height || h >= w.width) continue;
                float value = to_float(x[((image * w.height + v) * w.width + h) * w.channels + c]);
                if (best_tap < 0 || replaces(value, best)) {
                    best = value;
                    best_tap = a * w.kernel_width + b;
                }
            }
        }
        // A window that lies in the padding alone has the padding's value.
        store(y[i], best_tap < 0 ? -INFINITY : best);
        taps[i] = best_tap < 0 ? 255 : best_tap;
    }
}

// dx at a pixel: the dy of all windows that have their maximum there, or, without taps, a share of the dy of all windows.
template <class T> __device__ void pool_backward(const T *dy, const unsigned char *taps, T *dx, Window w, wide count) {
    float share = 1.0f / (w.kernel_height * w.kernel_width);
    FOR_EACH(i, count) {
        int c = i % w.channels, h = i / w.channels % w.width, v = i / w.channels / w.width % w.height;
        wide image = i / w.channels / w.width / w.height;
        float sum = 0.0f;
        for (int a = 0; a < w.kernel_height; a++) {
            int row = v + w.top - a;
            if (row < 0 || row % w.stride || row / w.stride >= w.rows) continue;
            for (int b = 0; b < w.kernel_width; b++) {
                int column = h + w.left - b;
                if (column < 0 || column % w.stride || column / w.stride >= w.columns) continue;
                wide at = ((image * w.rows + row / w.stride) * w.columns + column / w.stride) * w.channels + c;
                if (!taps) sum += share * to_float(dy[at]);
                else if (taps[at] == a * w.kernel_width + b) sum += to_float(dy[at]);
            }
        }
        store(dx[i], sum);
    }
}

template <class T> __device__ void average_pool(const T *x, T *y, Window w, wide count) {
    float share = 1.0f / (w.kernel_height * w.kernel_width);
    FOR_EACH(i, count) {
        int c = i % w.channels, column = i / w.channels % w.columns, row = i / w.channels / w.columns % w.rows;
        wide image = i / w.channels / w.columns / w.rows;
        float sum = 0.0f;
        for (int a = 0; a < w.kernel_height; a++) {
            for (int b = 0; b < w.kernel_width; b++) {
                int v = row * w.stride + a - w.top, h = column * w.stride + b - w.left;
                if (v < 0 || h < 0 || v >= w.height || h >= w.width) continue;
                sum += to_float(x[((image * w.height + v) * w.width + h) * w.channels + c]);
            }
        }
        store(y[i], sum * share);
    }
}

// Over all pixels of an image, blocks of 32 channels × 8 pixels. For a maximum, `pixels` gets its pixel; for the mean it is null.
template <class T> __device__ void global_pool(const T *x, T *y, int *pixels, int area, int channels) {
    __shared__ float values[8][33];
    __shared__ int places[8][33];
    int c = blockIdx.x * 32 + threadIdx.x;
    wide image = blockIdx.y;
    float value = 0.0f;
    int place = -1;
    if (c < channels) {
        for (int pixel = threadIdx.y; pixel < area; pixel += 8) {
            float next = to_float(x[(image * area + pixel) * channels + c]);
            if (!pixels) value += next;
            else if (place < 0 || replaces(next, value)) { value = next; place = pixel; }
        }
    }
    values[threadIdx.y][threadIdx.x] = value;
    places[threadIdx.y][threadIdx.x] = place;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels) return;
    for (int row = 1; row < 8; row++) {
        float next = values[row][threadIdx.x];
        int at = places[row][threadIdx.x];
        if (!pixels) value += next;
        // Of equal maxima, the one of the first pixel.
        else if (at >= 0 && (replaces(next, value) || (next == value && at < place))) { value = next; place = at; }
    }
    store(y[image * channels + c], pixels ? value : value / area);
    if (pixels) pixels[image * channels + c] = place;
}

template <class T> __device__ void global_pool_backward(const T *dy, const int *pixels, T *dx, int area, int channels, wide count) {
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels % area;
        wide image = i / channels / area;
        float value = to_float(dy[image * channels + c]);
        store(dx[i], !pixels ? value / area : pixels[image * channels + c] == pixel ? value : 0.0f);
    }
}

#define POOL(T, NAME)                                                                                                           \
    extern "C" __global__ void max_pool_##NAME(const T *x, T *y, unsigned char *taps, Window w, wide count) {                   \
        max_pool(x, y, taps, w, count);                                                                                         \
    }                                                                                                                           \
    extern "C" __global__ void average_pool_##NAME(const T *x, T *y, Window w, wide count) { average_pool(x, y, w, count); }    \
    extern "C" __global__ void pool_backward_##NAME(const T *dy, const unsigned char *taps, T *dx, Window w, wide count) {      \
        pool_backward(dy, taps, dx, w, count);                                                                                  \
    }                                                                                                                           \
    extern "C" __global__ void global_pool_##NAME(const T *x, T *y, int *pixels, int area, int channels) {                      \
        global_pool(x, y, pixels, area, channels);                                                                              \
    }                                                                                                                           \
    extern "C" __global__ void global_pool_backward_##NAME(const T *dy, const int *pixels, T *dx, int area, int channels,       \
                                                           wide count) {                                                        \
        global_pool_backward(dy, pixels, dx, area, channels, count);                                                            \
    }
POOL(float, f32)
POOL(bf16, bf16)
