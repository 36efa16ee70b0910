// The gradients of all layers of a network in one launch, at the end of a backward pass: from those of the folded weights to those of the
// weights, and of what scales and shifts are made from. Formulas: weights.cu.
#include "math.cuh"

// A layer; the same layout as in Rust. Null pointers are left out.
struct Layer {
    // Of the folded weight: [out][row] with rows of [tap][padded], or [chunk][tap][out] to be summed over the chunks if it is depthwise.
    const void *gradient;
    const float *weight, *gamma, *mean, *variance, *bias, *scale;
    // Sums of the output's gradient over chunks of pixels, [chunk][out].
    const float *sums;
    float *d_weight, *d_scale, *d_shift, *d_bias;
    int kind, out, depth, padded, row, taps, chunks, sum_chunks;
    float epsilon;
    int unused;
};

// What `gradient` is.
enum { NOTHING = 0, FLOATS = 1, ROUNDED = 2, DEPTHWISE = 3 };

// Outputs of one block, one for each of its warps.
enum { OUTPUTS = 8, LANES = 32 };

// Taps of a depthwise layer that are summed at once, those of a window of 5 × 5.
enum { MOST_TAPS = 25 };

// For each output of the block, the sum of values[chunk][width] over the chunks, in the order of 32 groups and then of the groups.
// Every lane of the output's warp gets it.
__device__ float sum_over_chunks(const float *values, wide first, int width, int chunks, int outputs) {
    __shared__ float partial[OUTPUTS][LANES + 1];
    int thread = threadIdx.y * LANES + threadIdx.x, output = thread % OUTPUTS, group = thread / OUTPUTS;
    float sum = 0.0f;
    if (output < outputs) {
#pragma unroll 8
        for (int chunk = group; chunk < chunks; chunk += LANES) sum += values[first + (wide)chunk * width + output];
    }
    __syncthreads();
    partial[output][group] = sum;
    __syncthreads();
    return warp_sum(partial[threadIdx.y][threadIdx.x]);
}

// The same for the taps of a depthwise layer at once, values[chunk][tap][width]: those of the warp's output, in every lane.
struct Taps {
    float values[MOST_TAPS];
};
__device__ Taps sum_taps_over_chunks(const float *values, int first, int width, int taps, int chunks, int outputs) {
    __shared__ float partial[MOST_TAPS][OUTPUTS][LANES + 1];
    int thread = threadIdx.y * LANES + threadIdx.x, output = thread % OUTPUTS, group = thread / OUTPUTS;
    Taps sum = {};
    if (output < outputs) {
        for (int chunk = group; chunk < chunks; chunk += LANES) {
            const float *from = values + (wide)chunk * taps * width + first + output;
            UNROLL for (int tap = 0; tap < MOST_TAPS; tap++) {
                if (tap < taps) sum.values[tap] += from[tap * width];
            }
        }
    }
    __syncthreads();
    UNROLL for (int tap = 0; tap < MOST_TAPS; tap++) partial[tap][output][group] = sum.values[tap];
    __syncthreads();
    UNROLL for (int tap = 0; tap < MOST_TAPS; tap++) {
        if (tap < taps) sum.values[tap] = warp_sum(partial[tap][threadIdx.y][threadIdx.x]);
    }
    return sum;
}

__device__ float gradient_at(const Layer &layer, wide at) {
    return layer.kind == ROUNDED ? to_float(((const bf16 *)layer.gradient)[at]) : ((const float *)layer.gradient)[at];
}

// Writes the gradient of a tap of a depthwise layer; its share of the scale's gradient.
__device__ float finish_tap(const Layer &layer, int o, int tap, float factor, float value) {
    int at = o * layer.taps + tap;
    if (threadIdx.x == 0) layer.d_weight[at] = factor * value;
    return layer.weight[at] * value;
}

// `blocks` holds for each block its layer and its first output. Blocks of 32 × 8 threads.
extern "C" __global__ void finish_layers(const Layer *layers, const int *blocks) {
    Layer layer = layers[blocks[2 * blockIdx.x]];
    int first = blocks[2 * blockIdx.x + 1], o = first + threadIdx.y;
    int outputs = layer.out - first < OUTPUTS ? layer.out - first : OUTPUTS;
    bool inside = o < layer.out;
    float d_shift = layer.sums ? sum_over_chunks(layer.sums, first, layer.out, layer.sum_chunks, outputs) : 0.0f;
    if (layer.sums && layer.d_shift && inside && threadIdx.x == 0) layer.d_shift[o] = d_shift;
    float inverse = 1.0f, factor = 1.0f, sum = 0.0f;
    if (inside && layer.gamma) {
        inverse = 1.0f / sqrtf(layer.variance[o] + layer.epsilon);
        factor = layer.gamma[o] * inverse;
    } else if (inside && layer.scale) {
        factor = layer.scale[o];
    }
    int size = layer.depth * layer.taps;
    if (layer.kind == DEPTHWISE) {
        const float *values = (const float *)layer.gradient;
        if (layer.taps <= MOST_TAPS) {
            Taps taps = sum_taps_over_chunks(values, first, layer.out, layer.taps, layer.chunks, outputs);
            UNROLL for (int tap = 0; tap < MOST_TAPS; tap++) {
                if (tap < layer.taps && inside) sum += finish_tap(layer, o, tap, factor, taps.values[tap]);
            }
        } else {
            for (int tap = 0; tap < layer.taps; tap++) {
                float value = sum_over_chunks(values, (wide)tap * layer.out + first, layer.taps * layer.out, layer.chunks, outputs);
                if (inside) sum += finish_tap(layer, o, tap, factor, value);
            }
        }
    } else if (layer.kind != NOTHING) {
        wide to = (wide)o * size, from = (wide)o * layer.row;
        for (int i = threadIdx.x; inside && i < size; i += LANES) {
            float value = gradient_at(layer, from + i % layer.taps * layer.padded + i / layer.taps);
            layer.d_weight[to + i] = factor * value;
            sum += layer.weight[to + i] * value;
        }
        sum = warp_sum(sum);
    }
    if (!inside || threadIdx.x != 0) return;
    float offset = layer.gamma ? (layer.bias ? layer.bias[o] : 0.0f) - layer.mean[o] : 0.0f;
    if (layer.d_scale) layer.d_scale[o] = layer.gamma ? (sum + offset * d_shift) * inverse : sum;
    if (layer.d_bias) layer.d_bias[o] = factor * d_shift;
}
