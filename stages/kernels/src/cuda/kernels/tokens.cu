// Layers of transformers: layer normalisation, softmax and GELU. A warp works on one row, and a block of 32 × 8 threads on eight. Rows of
// up to 1024 values, or 256 if they are not packed, are held in registers; wider ones are read again for each pass. Sums have a fixed order.
#include "math.cuh"

// Calls `f(n, first)` for each pack of this lane, whose first value is `first`: the packs l, l + 32, … of lane l. With N > 0 there are at
// most N of them and n counts them, so that arrays indexed by n lie in registers; with N = 0 there are any number, and n is 0.
template <int V, int N, class F> __device__ __forceinline__ void each_pack(int width, F f) {
    if (N > 0) {
        UNROLL for (int n = 0; n < N; n++) {
            int first = (n * 32 + threadIdx.x) * V;
            if (first < width) f(n, first);
        }
    } else {
        NO_UNROLL for (int first = threadIdx.x * V; first < width; first += 32 * V) f(0, first);
    }
}

// Packs that a lane holds.
template <int N> constexpr int HELD = N > 0 ? N : 1;

// Calls the kernel for rows of `size` values.
#define BY_SIZE(size, kernel, ...)                                                                                              \
    if (size <= 256) kernel<T, V, 8 / V>(__VA_ARGS__);                                                                          \
    else if (V > 1 && size <= 512) kernel<T, V, (V > 1 ? 16 / V : 0)>(__VA_ARGS__);                                             \
    else if (V > 1 && size <= 1024) kernel<T, V, (V > 1 ? 32 / V : 0)>(__VA_ARGS__);                                            \
    else kernel<T, V, 0>(__VA_ARGS__);

// The row of this warp.
__device__ __forceinline__ int row_of_warp() { return blockIdx.x * 8 + threadIdx.y; }

// y = weight ∘ (x − mean) / deviation + bias; the means and inverse deviations of the rows are kept for the gradient.
template <class T, int V, int N>
__device__ void layer_norm_row(const T *x, const float *weight, const float *bias, T *y, float *means, float *inverses, int width,
                               float epsilon) {
    float values[HELD<N>][V], sum = 0.0f, squares = 0.0f;
    each_pack<V, N>(width, [&](int n, int first) {
        read_pack(x + first, values[n]);
        UNROLL for (int v = 0; v < V; v++) sum += values[n][v];
    });
    float mean = warp_sum(sum) / width;
    each_pack<V, N>(width, [&](int n, int first) {
        if (N == 0) read_pack(x + first, values[n]);
        UNROLL for (int v = 0; v < V; v++) {
            float centred = values[n][v] - mean;
            squares += centred * centred;
        }
    });
    float inverse = 1.0f / sqrtf(warp_sum(squares) / width + epsilon);
    each_pack<V, N>(width, [&](int n, int first) {
        float factors[V], terms[V];
        if (N == 0) read_pack(x + first, values[n]);
        read_pack(weight + first, factors);
        read_pack(bias + first, terms);
        UNROLL for (int v = 0; v < V; v++) values[n][v] = (values[n][v] - mean) * inverse * factors[v] + terms[v];
        write_pack(y + first, values[n]);
    });
    if (threadIdx.x == 0) {
        *means = mean;
        *inverses = inverse;
    }
}

template <class T, int V>
__device__ void layer_norm(const T *x, const float *weight, const float *bias, T *y, float *means, float *inverses, int rows, int width,
                           float epsilon) {
    int row = row_of_warp();
    if (row >= rows) return;
    wide at = (wide)row * width;
    BY_SIZE(width, layer_norm_row, x + at, weight, bias, y + at, means + row, inverses + row, width, epsilon)
}

// Columns of which one block of the backward pass writes the gradients.
template <int V> constexpr int COLUMNS = V > 1 ? 512 : 128;

// With n = (x − mean) · inverse and h = weight ∘ dy: dx = inverse · (h − mean(h) − n · mean(h ∘ n)). Block (i, chunk) does so in the i-th
// COLUMNS columns of a chunk of rows; it also sums over its rows dy ∘ n, the gradient of the weight, and dy, that of the bias, to
// partial[chunk][0 or 1][column], which may be null. FITS: rows have at most COLUMNS columns, and are read only once.
template <class T, int V, bool FITS>
__device__ void layer_norm_chunk(const T *dy, const T *x, const float *weight, const float *means, const float *inverses, T *dx,
                                 float *partial, int rows, int rows_per_chunk, int width) {
    constexpr int N = COLUMNS<V> / 32 / V;
    __shared__ float shared[8][32 * V];
    float of_weight[N][V] = {}, of_bias[N][V] = {};
    Pack<T, V> inputs[N], gradients[N];
    int start = blockIdx.x * COLUMNS<V>, first_row = blockIdx.y * rows_per_chunk;
    int end = first_row + rows_per_chunk < rows ? first_row + rows_per_chunk : rows;
    // All warps take as many turns, and those without a row find it empty.
    NO_UNROLL for (int turn = first_row; turn < end; turn += 8) {
        int row = turn + threadIdx.y, present = row < end ? width : 0;
        wide at = (wide)row * width;
        float mean = present ? means[row] : 0.0f, inverse = present ? inverses[row] : 0.0f, sum = 0.0f, product = 0.0f;
        each_pack<V, FITS ? N : 0>(present, [&](int n, int first) {
            inputs[n] = *(const Pack<T, V> *)(x + at + first);
            gradients[n] = *(const Pack<T, V> *)(dy + at + first);
            float factors[V];
            read_pack(weight + first, factors);
            UNROLL for (int v = 0; v < V; v++) {
                float h = factors[v] * to_float(gradients[n].values[v]);
                sum += h;
                product += h * ((to_float(inputs[n].values[v]) - mean) * inverse);
            }
        });
        sum = warp_sum(sum) / width;
        product = warp_sum(product) / width;
        each_pack<V, N>(present - start, [&](int n, int offset) {
            int first = start + offset;
            if (!FITS) {
                inputs[n] = *(const Pack<T, V> *)(x + at + first);
                gradients[n] = *(const Pack<T, V> *)(dy + at + first);
            }
            float factors[V];
            read_pack(weight + first, factors);
            UNROLL for (int v = 0; v < V; v++) {
                float normalised = (to_float(inputs[n].values[v]) - mean) * inverse, gradient = to_float(gradients[n].values[v]);
                of_weight[n][v] += gradient * normalised;
                of_bias[n][v] += gradient;
                factors[v] = inverse * (factors[v] * gradient - sum - normalised * product);
            }
            write_pack(dx + at + first, factors);
        });
    }
    if (!partial) return;
    UNROLL for (int i = 0; i < 2 * N; i++) {
        __syncthreads();
        UNROLL for (int v = 0; v < V; v++) {
            shared[threadIdx.y][v * 32 + threadIdx.x] = i < N ? of_weight[i % N][v] : of_bias[i % N][v];
        }
        __syncthreads();
        NO_UNROLL for (int v = threadIdx.y; v < V; v += 8) {
            int column = start + (i % N * 32 + threadIdx.x) * V + v;
            float total = 0.0f;
            UNROLL for (int warp = 0; warp < 8; warp++) total += shared[warp][v * 32 + threadIdx.x];
            if (column < width) partial[((wide)blockIdx.y * 2 + i / N) * width + column] = total;
        }
    }
}

template <class T, int V>
__device__ void layer_norm_backward(const T *dy, const T *x, const float *weight, const float *means, const float *inverses, T *dx,
                                    float *partial, int rows, int rows_per_chunk, int width) {
    if (width <= COLUMNS<V>) layer_norm_chunk<T, V, true>(dy, x, weight, means, inverses, dx, partial, rows, rows_per_chunk, width);
    else layer_norm_chunk<T, V, false>(dy, x, weight, means, inverses, dx, partial, rows, rows_per_chunk, width);
}

// y = softmax(factor · x) over `width` values of a row; the others, up to `stride`, become zero.
template <class T, int V, int N> __device__ void softmax_row(const T *x, T *y, int width, int stride, float factor) {
    float values[HELD<N>][V], best = -INFINITY, sum = 0.0f;
    auto read = [&](int n, int first) {
        read_pack(x + first, values[n]);
        UNROLL for (int v = 0; v < V; v++) values[n][v] = first + v < width ? factor * values[n][v] : -INFINITY;
    };
    auto exponentiate = [&](int n) {
        UNROLL for (int v = 0; v < V; v++) values[n][v] = expf(values[n][v] - best);
    };
    each_pack<V, N>(stride, [&](int n, int first) {
        read(n, first);
        UNROLL for (int v = 0; v < V; v++) best = fmaxf(best, values[n][v]);
    });
    best = warp_max(best);
    each_pack<V, N>(stride, [&](int n, int first) {
        if (N == 0) read(n, first);
        exponentiate(n);
        UNROLL for (int v = 0; v < V; v++) sum += values[n][v];
    });
    float share = 1.0f / warp_sum(sum);
    each_pack<V, N>(stride, [&](int n, int first) {
        if (N == 0) {
            read(n, first);
            exponentiate(n);
        }
        UNROLL for (int v = 0; v < V; v++) values[n][v] *= share;
        write_pack(y + first, values[n]);
    });
}

template <class T, int V> __device__ void softmax(const T *x, T *y, int rows, int width, int stride, float factor) {
    int row = row_of_warp();
    if (row >= rows) return;
    wide at = (wide)row * stride;
    BY_SIZE(stride, softmax_row, x + at, y + at, width, stride, factor)
}

// dx = factor · y ∘ (dy − ⟨dy, y⟩) over `width` values of a row; the others, up to `stride`, become zero.
template <class T, int V, int N> __device__ void softmax_backward_row(const T *dy, const T *y, T *dx, int width, int stride, float factor) {
    float shares[HELD<N>][V], gradients[HELD<N>][V], sum = 0.0f;
    auto read = [&](int n, int first) {
        read_pack(dy + first, gradients[n]);
        read_pack(y + first, shares[n]);
        UNROLL for (int v = 0; v < V; v++) {
            if (first + v >= width) gradients[n][v] = shares[n][v] = 0.0f;
        }
    };
    each_pack<V, N>(stride, [&](int n, int first) {
        read(n, first);
        UNROLL for (int v = 0; v < V; v++) sum += gradients[n][v] * shares[n][v];
    });
    sum = warp_sum(sum);
    each_pack<V, N>(stride, [&](int n, int first) {
        if (N == 0) read(n, first);
        UNROLL for (int v = 0; v < V; v++) {
            gradients[n][v] = first + v < width ? factor * shares[n][v] * (gradients[n][v] - sum) : 0.0f;
        }
        write_pack(dx + first, gradients[n]);
    });
}

template <class T, int V>
__device__ void softmax_backward(const T *dy, const T *y, T *dx, int rows, int width, int stride, float factor) {
    int row = row_of_warp();
    if (row >= rows) return;
    wide at = (wide)row * stride;
    BY_SIZE(stride, softmax_backward_row, dy + at, y + at, dx + at, width, stride, factor)
}

// x · Φ(x) with the error function, as PyTorch's default.
RULE float gelu_of(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

// Its derivative, Φ(x) + x · φ(x).
RULE float gelu_slope(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x); }

// `count` is the number of packs.
template <class T, int V> __device__ void gelu(const T *x, T *y, int count) {
    FOR_EACH_INT(i, count) {
        float values[V];
        read_pack(x + (wide)i * V, values);
        UNROLL for (int v = 0; v < V; v++) values[v] = gelu_of(values[v]);
        write_pack(y + (wide)i * V, values);
    }
}

template <class T, int V> __device__ void gelu_backward(const T *dy, const T *x, T *dx, int count) {
    FOR_EACH_INT(i, count) {
        float gradients[V], values[V];
        read_pack(dy + (wide)i * V, gradients);
        read_pack(x + (wide)i * V, values);
        UNROLL for (int v = 0; v < V; v++) gradients[v] *= gelu_slope(values[v]);
        write_pack(dx + (wide)i * V, gradients);
    }
}

#define TOKENS(T, V, NAME)                                                                                                      \
    extern "C" __global__ void layer_norm_##NAME(const T *x, const float *weight, const float *bias, T *y, float *means,        \
                                                 float *inverses, int rows, int width, float epsilon) {                         \
        layer_norm<T, V>(x, weight, bias, y, means, inverses, rows, width, epsilon);                                            \
    }                                                                                                                           \
    extern "C" __global__ void layer_norm_backward_##NAME(const T *dy, const T *x, const float *weight, const float *means,     \
                                                          const float *inverses, T *dx, float *partial, int rows,               \
                                                          int rows_per_chunk, int width) {                                      \
        layer_norm_backward<T, V>(dy, x, weight, means, inverses, dx, partial, rows, rows_per_chunk, width);                    \
    }                                                                                                                           \
    extern "C" __global__ void softmax_##NAME(const T *x, T *y, int rows, int width, int stride, float factor) {                \
        softmax<T, V>(x, y, rows, width, stride, factor);                                                                       \
    }                                                                                                                           \
    extern "C" __global__ void softmax_backward_##NAME(const T *dy, const T *y, T *dx, int rows, int width, int stride,         \
                                                       float factor) {                                                          \
        softmax_backward<T, V>(dy, y, dx, rows, width, stride, factor);                                                         \
    }                                                                                                                           \
    extern "C" __global__ void gelu_##NAME(const T *x, T *y, int count) { gelu<T, V>(x, y, count); }                            \
    extern "C" __global__ void gelu_backward_##NAME(const T *dy, const T *x, T *dx, int count) {                                \
        gelu_backward<T, V>(dy, x, dx, count);                                                                                  \
    }
TOKENS(float, 1, f32)
TOKENS(float, 4, f32_packed)
TOKENS(bf16, 1, bf16)
TOKENS(bf16, 8, bf16_packed)
