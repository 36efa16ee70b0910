#include "arrays.hpp"

// With and without AVX2; both without fused multiplication and addition, so that the bits are the same.
#ifdef __x86_64__
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

namespace {
typedef double Lanes __attribute__((vector_size(32), aligned(8)));

// `ROWS` rows and eight columns, whose sums stay in registers.
template <int ROWS>
__attribute__((always_inline)) inline void block(double *sums, size_t sums_row, Left left, const double *right, size_t right_row, int k) {
    Lanes held[ROWS][2];
    for (int i = 0; i < ROWS; i++)
        for (int half = 0; half < 2; half++) held[i][half] = *(const Lanes *)(sums + i * sums_row + 4 * half);
    for (int l = 0; l < k; l++) {
        Lanes first = *(const Lanes *)(right + l * right_row), second = *(const Lanes *)(right + l * right_row + 4);
        for (int i = 0; i < ROWS; i++) {
            double factor = left.values[i * left.row + l * left.inner];
            held[i][0] += factor * first;
            held[i][1] += factor * second;
        }
    }
    for (int i = 0; i < ROWS; i++)
        for (int half = 0; half < 2; half++) *(Lanes *)(sums + i * sums_row + 4 * half) = held[i][half];
}
}  // namespace

CLONES void add_product(double *sums, size_t sums_row, Left left, const double *right, size_t right_row, int m, int n, int k) {
    int column = 0;
    for (; column + 8 <= n; column += 8) {
        int row = 0;
        for (; row + 4 <= m; row += 4)
            block<4>(sums + row * sums_row + column, sums_row, left.from(row), right + column, right_row, k);
        for (; row < m; row++)
            block<1>(sums + row * sums_row + column, sums_row, left.from(row), right + column, right_row, k);
    }
    for (int row = 0; row < m; row++)
        for (int rest = column; rest < n; rest++) {
            double sum = sums[row * sums_row + rest];
            for (int l = 0; l < k; l++) sum += left.values[row * left.row + l * left.inner] * right[l * right_row + rest];
            sums[row * sums_row + rest] = sum;
        }
}
