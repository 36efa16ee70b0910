// What the emulated libraries share: numbers of several types in memory, TF32, and products with sums in double precision.
#pragma once
#include <stddef.h>

#include "threads.hpp"

enum Type { F32, F64, BF16 };

inline double load(const void *values, Type type, size_t at) {
    if (type == F32) return ((const float *)values)[at];
    if (type == F64) return ((const double *)values)[at];
    return to_float(((const bf16 *)values)[at]);
}
inline void put(void *values, Type type, size_t at, double value) {
    if (type == F32) ((float *)values)[at] = (float)value;
    else if (type == F64) ((double *)values)[at] = value;
    else store(((bf16 *)values)[at], (float)value);
}
// TF32 keeps ten bits of the mantissa.
inline double tf32(double value) {
    float single = (float)value;
    if (single != single) return value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    bits = (bits + 0x0fff + (bits >> 13 & 1)) & 0xffffe000u;
    memcpy(&single, &bits, 4);
    return single;
}

// Numbers at `m · row + k · inner`.
struct Left {
    const double *values;
    size_t row, inner;

    Left from(size_t first) const { return {values + first * row, row, inner}; }
};
// `sums[m][n] += Σ left[m, k] · right[k][n]` for k in order; the rows of sums and right lie at these distances.
void add_product(double *sums, size_t sums_row, Left left, const double *right, size_t right_row, int m, int n, int k);
