// Copies of images in another shape: zeros around them and behind channels, for convolutions whose sizes cuDNN does not take, and
// windows that do not overlap, as the rows of a matrix.
#include "math.cuh"

// Sizes without and with padding; the image begins at (top, left).
struct Padding {
    int height, width, channels, padded_height, padded_width, padded_channels, top, left;
};

// `count` is the number of padded pixels.
template <class T> __device__ void pad(const T *x, T *y, Padding p, int count) {
    FOR_EACH_INT(i, count) {
        int h = (int)(i % p.padded_width) - p.left, v = (int)(i / p.padded_width % p.padded_height) - p.top;
        wide image = i / p.padded_width / p.padded_height;
        bool inside = h >= 0 && v >= 0 && h < p.width && v < p.height;
        const T *from = x + ((image * p.height + v) * p.width + h) * p.channels;
        T *to = y + (wide)i * p.padded_channels;
        for (int c = 0; c < p.padded_channels; c++) {
            T value;
            store(value, 0.0f);
            if (inside && c < p.channels) value = from[c];
            to[c] = value;
        }
    }
}

// The inverse: cuts the image out. `count` is the number of its pixels.
template <class T> __device__ void crop(const T *x, T *y, Padding p, int count) {
    FOR_EACH_INT(i, count) {
        int h = (int)(i % p.width) + p.left, v = (int)(i / p.width % p.height) + p.top;
        wide image = i / p.width / p.height;
        const T *from = x + ((image * p.padded_height + v) * p.padded_width + h) * p.padded_channels;
        T *to = y + (wide)i * p.channels;
        for (int c = 0; c < p.channels; c++) to[c] = from[c];
    }
}

// Windows of an image that do not overlap. `line` is the length of a row of a window in packs.
struct Patches {
    int height, width_line, rows, columns, kernel_height, stride, line, step;
};

// y[image][row][column][tap row][line] from x[image][height][width_line], all in packs; a window begins every `step` packs.
template <class P> __device__ void gather(const P *x, P *y, Patches p, int count) {
    FOR_EACH_INT(i, count) {
        int j = i % p.line, rest = i / p.line, a = rest % p.kernel_height;
        rest /= p.kernel_height;
        int column = rest % p.columns, row = rest / p.columns % p.rows, image = rest / p.columns / p.rows;
        y[i] = x[((wide)image * p.height + row * p.stride + a) * p.width_line + column * p.step + j];
    }
}

// The adjoint, zero between the windows, added to `other` if that is given.
template <class T, int V> __device__ void scatter(const Pack<T, V> *x, const Pack<T, V> *other, Pack<T, V> *y, Patches p, int count) {
    FOR_EACH_INT(i, count) {
        int at = i % p.width_line, rest = i / p.width_line, v = rest % p.height, image = rest / p.height;
        int row = v / p.stride, a = v % p.stride, column = at / p.step, j = at % p.step;
        bool inside = row < p.rows && a < p.kernel_height && column < p.columns && j < p.line;
        Pack<T, V> value, added;
        if (inside) value = x[((((wide)image * p.rows + row) * p.columns + column) * p.kernel_height + a) * p.line + j];
        if (other) added = other[i];
        for (int v = 0; v < V; v++) {
            float sum = (inside ? to_float(value.values[v]) : 0.0f) + (other ? to_float(added.values[v]) : 0.0f);
            store(value.values[v], sum);
        }
        y[i] = value;
    }
}

// All windows of an image with few channels.
struct Columns {
    int height, width, channels, rows, columns, kernel_height, kernel_width, stride, top, left, row;
};

// y[image][row][column][tap row][tap column][channel] in rows of `row` values, zero beyond the window's; in packs of V values.
template <class T, int V> __device__ void columns(const T *x, Pack<T, V> *y, Columns p, int count) {
    int packs = p.row / V, line = p.kernel_width * p.channels;
    FOR_EACH_INT(i, count) {
        int first = i % packs * V, pixel = i / packs, column = pixel % p.columns, row = pixel / p.columns % p.rows;
        wide image = pixel / p.columns / p.rows;
        int start = (column * p.stride - p.left) * p.channels, top = row * p.stride - p.top;
        Pack<T, V> pack;
        UNROLL for (int v = 0; v < V; v++) {
            int j = first + v, a = j / line, at = start + j % line, from = top + a;
            bool inside = a < p.kernel_height && from >= 0 && from < p.height && at >= 0 && at < p.width * p.channels;
            store(pack.values[v], inside ? to_float(x[(image * p.height + from) * p.width * p.channels + at]) : 0.0f);
        }
        y[i] = pack;
    }
}

#define PADDING(T, V, NAME)                                                                                                     \
    extern "C" __global__ void pad_##NAME(const T *x, T *y, Padding p, int count) { pad(x, y, p, count); }                      \
    extern "C" __global__ void crop_##NAME(const T *x, T *y, Padding p, int count) { crop(x, y, p, count); }                    \
    extern "C" __global__ void gather_##NAME(const Pack<T, 1> *x, Pack<T, 1> *y, Patches p, int count) {                        \
        gather(x, y, p, count);                                                                                                 \
    }                                                                                                                           \
    extern "C" __global__ void scatter_##NAME(const Pack<T, 1> *x, const Pack<T, 1> *other, Pack<T, 1> *y, Patches p,           \
                                              int count) {                                                                      \
        scatter<T, 1>(x, other, y, p, count);                                                                                   \
    }                                                                                                                           \
    extern "C" __global__ void gather_##NAME##_packed(const Pack<T, V> *x, Pack<T, V> *y, Patches p, int count) {               \
        gather(x, y, p, count);                                                                                                 \
    }                                                                                                                           \
    extern "C" __global__ void scatter_##NAME##_packed(const Pack<T, V> *x, const Pack<T, V> *other, Pack<T, V> *y, Patches p,  \
                                                       int count) {                                                             \
        scatter<T, V>(x, other, y, p, count);                                                                                   \
    }                                                                                                                           \
    extern "C" __global__ void columns_##NAME(const T *x, Pack<T, V> *y, Columns p, int count) { columns<T, V>(x, y, p, count); }
PADDING(float, 4, f32)
PADDING(bf16, 8, bf16)
