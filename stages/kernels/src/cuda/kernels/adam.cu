// One step of Adam or AdamW over many tensors at once. Formula and source: adam.rs of this crate.
#include "math.cuh"

// One tensor, with the factors of its step; the same layout as in Rust.
struct Step {
    float *parameter;
    const float *gradient;
    float *first, *second;
    wide count;
    float keep, decay, first_rate, second_keep, second_rate, step_size, root_correction, eps;
};

// `blocks` holds for each block its tensor and its part of that tensor; parts have `part` elements.
extern "C" __global__ void adam(const Step *steps, const int *blocks, int part) {
    Step s = steps[blocks[2 * blockIdx.x]];
    wide start = (wide)blocks[2 * blockIdx.x + 1] * part;
    for (wide i = start + threadIdx.x; i < start + part && i < s.count; i += blockDim.x) {
        float p = s.parameter[i], g = s.gradient[i] + s.decay * p;
        float m = s.first[i], v = s.second[i];
        m += s.first_rate * (g - m);
        v = s.second_keep * v + s.second_rate * g * g;
        s.first[i] = m;
        s.second[i] = v;
        s.parameter[i] = p * s.keep - s.step_size * (m / (sqrtf(v) / s.root_correction + s.eps));
    }
}
