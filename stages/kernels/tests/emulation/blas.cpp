// cuBLAS and cuBLASLt, as far as the tests use them. They check what the real ones demand of their arguments, sum in double precision,
// and round to TF32 where that was asked for. Also cuRAND, which candle opens with every device.
#include <vector>

#include "arrays.hpp"

namespace {
enum { INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };

const Type NO_TYPE = (Type)-1;
Type type_of(int number) { return number == 0 ? F32 : number == 1 ? F64 : number == 14 ? BF16 : NO_TYPE; }

// Matrices in memory, row r and column c of matrix t at `t · batch + r · row + c · column`.
struct Matrices {
    const void *values;
    Type type;
    long long row, column, batch;

    size_t at(int t, int r, int c) const { return (size_t)(t * batch + r * row + c * column); }
    Matrices transposed() const { return {values, type, column, row, batch}; }
};

// `a · b` of matrix t, `[n, m]` so that the columns of the result lie one after another.
std::vector<double> product(const Matrices &a, const Matrices &b, int t, int m, int n, int k, bool rounds) {
    auto value = [&](const Matrices &of, int r, int c) {
        double number = load(of.values, of.type, of.at(t, r, c));
        return rounds ? tf32(number) : number;
    };
    std::vector<double> left((size_t)k * m), right((size_t)n * k), sums((size_t)n * m, 0.0);
    for (int l = 0; l < k; l++)
        for (int i = 0; i < m; i++) left[(size_t)l * m + i] = value(a, i, l);
    for (int j = 0; j < n; j++)
        for (int l = 0; l < k; l++) right[(size_t)j * k + l] = value(b, l, j);
    add_product(sums.data(), m, {right.data(), (size_t)k, 1}, left.data(), m, n, m, k);
    return sums;
}
}  // namespace

extern "C" {
int cublasCreate_v2(void **handle) { return *handle = (void *)5, 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *, void *) { return 0; }
int cublasSetWorkspace_v2(void *, void *, size_t) { return 0; }
int cublasGetVersion_v2(void *, int *version) { return *version = 130100, 0; }
int cublasGetPointerMode_v2(void *, int *mode) { return *mode = 0, 0; }
int cublasSetPointerMode_v2(void *, int) { return 0; }

int cublasGemmStridedBatchedEx(void *, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda,
                               long long stride_a, const void *b, int b_type, int ldb, long long stride_b, const void *beta, void *c,
                               int c_type, int ldc, long long stride_c, int batch, int compute, int) {
    Type ta = type_of(a_type), tc = type_of(c_type);
    if (ta == NO_TYPE || tc == NO_TYPE || a_type != b_type || m <= 0 || n <= 0 || k <= 0 || batch <= 0) return INVALID_VALUE;
    if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return INVALID_VALUE;
    auto scalar = [&](const void *value) { return tc == F64 ? *(const double *)value : *(const float *)value; };
    double scale = scalar(alpha), keep = scalar(beta);
    Matrices left{a, ta, 1, lda, stride_a}, right{b, ta, 1, ldb, stride_b}, result{c, tc, 1, ldc, stride_c};
    if (op_a) left = left.transposed();
    if (op_b) right = right.transposed();
    for (int t = 0; t < batch; t++) {
        auto sums = product(left, right, t, m, n, k, compute == COMPUTE_32F_FAST_TF32);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                size_t at = result.at(t, i, j);
                put(c, tc, at, scale * sums[(size_t)j * m + i] + (keep == 0 ? 0 : keep * load(c, tc, at)));
            }
    }
    return 0;
}
int cublasGemmEx(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda, const void *b,
                 int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1,
                                      compute, algorithm);
}
int cublasDgemmStridedBatched(void *handle, int op_a, int op_b, int m, int n, int k, const double *alpha, const double *a, int lda,
                              long long stride_a, const double *b, int ldb, long long stride_b, const double *beta, double *c, int ldc,
                              long long stride_c, int batch) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, 1, lda, stride_a, b, 1, ldb, stride_b, beta, c, 1, ldc, stride_c,
                                      batch, 70, 0);
}

int curandCreateGenerator(void **generator, int) { return *generator = (void *)6, 0; }
int curandDestroyGenerator(void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, void *) { return 0; }

// cuBLASLt.
struct Layout {
    int type, order;
    uint64_t rows, columns;
    int64_t leading, distance;
    int batch;
};
struct Operation {
    int compute, scale, pointer_mode, transposes[2], epilogue, bias_type;
    void *bias;
};
struct Preference {
    // Of A, B, C and D in bytes.
    uint32_t alignments[4];
    uint64_t workspace;
};
struct Algorithm {
    uint64_t data[8];
};
struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
}

namespace {
enum { RELU = 2, BIAS = 4, GRADIENT_A = 256, GRADIENT_B = 512, DEFAULT = 1 };
const uint64_t ALGORITHM = 0x656d756c61746564;

// Copies an attribute of the size that it must have.
template <class Value> int copied(Value &out, const void *buffer, size_t bytes) {
    if (!buffer || bytes != sizeof(Value)) return INVALID_VALUE;
    return memcpy(&out, buffer, bytes), 0;
}
Matrices matrices(const void *values, const Layout &layout) {
    long long row = layout.order ? layout.leading : 1, column = layout.order ? 1 : layout.leading;
    return {values, type_of(layout.type), row, column, layout.batch > 1 ? layout.distance : 0};
}
bool is_sound(const Layout &layout) {
    return type_of(layout.type) != NO_TYPE && layout.rows > 0 && layout.columns > 0 && layout.order >= 0 && layout.order <= 1 &&
           layout.batch > 0 && layout.leading >= (int64_t)(layout.order ? layout.columns : layout.rows);
}
bool same_shape(const Layout &a, const Layout &b) { return a.rows == b.rows && a.columns == b.columns && a.batch == b.batch; }

// What the library refuses. The length of the sums goes to `k`.
int check(const Operation &op, const Layout &a, const Layout &b, const Layout &c, const Layout &d, uint64_t &k) {
    if (!is_sound(a) || !is_sound(b) || !is_sound(c) || !is_sound(d)) return INVALID_VALUE;
    k = op.transposes[0] ? a.rows : a.columns;
    uint64_t m = op.transposes[0] ? a.columns : a.rows, n = op.transposes[1] ? b.rows : b.columns;
    if ((op.transposes[1] ? b.columns : b.rows) != k || d.rows != m || d.columns != n || !same_shape(c, d)) return INVALID_VALUE;
    if (a.batch != d.batch || b.batch != d.batch) return INVALID_VALUE;
    bool types = a.type == b.type && c.type == d.type && a.type != 1 && (a.type == d.type || d.type == 0) && op.scale == 0;
    if (!types || op.pointer_mode != 0 || (op.compute != COMPUTE_32F && op.compute != COMPUTE_32F_FAST_TF32)) return NOT_SUPPORTED;
    switch (op.epilogue) {
    case DEFAULT:
    case RELU: return 0;
    case BIAS:
    case RELU | BIAS:
    case GRADIENT_A:
    case GRADIENT_B: break;
    default: return NOT_SUPPORTED;
    }
    // The bias has the type of the result; other types are for numbers of eight bits.
    return op.bias_type == -1 || op.bias_type == d.type ? 0 : NOT_SUPPORTED;
}
}  // namespace

extern "C" {
int cublasLtCreate(void **handle) { return *handle = (void *)8, 0; }
int cublasLtDestroy(void *) { return 0; }
size_t cublasLtGetVersion() { return 130100; }
int cublasLtMatmulDescCreate(Operation **made, int compute, int scale) {
    return *made = new Operation{compute, scale, 0, {0, 0}, DEFAULT, -1, nullptr}, 0;
}
int cublasLtMatmulDescDestroy(Operation *made) { return delete made, 0; }
int cublasLtMatmulDescSetAttribute(Operation *op, int name, const void *buffer, size_t bytes) {
    switch (name) {
    case 0: return copied(op->compute, buffer, bytes);
    case 1: return copied(op->scale, buffer, bytes);
    case 2: return copied(op->pointer_mode, buffer, bytes);
    case 3:
    case 4: return copied(op->transposes[name - 3], buffer, bytes);
    case 7: return copied(op->epilogue, buffer, bytes);
    case 8: return copied(op->bias, buffer, bytes);
    case 26: return copied(op->bias_type, buffer, bytes);
    default: return NOT_SUPPORTED;
    }
}
int cublasLtMatrixLayoutCreate(Layout **made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    return *made = new Layout{type, 0, rows, columns, leading, 0, 1}, 0;
}
int cublasLtMatrixLayoutDestroy(Layout *made) { return delete made, 0; }
int cublasLtMatrixLayoutSetAttribute(Layout *layout, int name, const void *buffer, size_t bytes) {
    switch (name) {
    case 0: return copied(layout->type, buffer, bytes);
    case 1: return copied(layout->order, buffer, bytes);
    case 2: return copied(layout->rows, buffer, bytes);
    case 3: return copied(layout->columns, buffer, bytes);
    case 4: return copied(layout->leading, buffer, bytes);
    case 5: return copied(layout->batch, buffer, bytes);
    case 6: return copied(layout->distance, buffer, bytes);
    default: return NOT_SUPPORTED;
    }
}
int cublasLtMatmulPreferenceCreate(Preference **made) { return *made = new Preference{{256, 256, 256, 256}, 0}, 0; }
int cublasLtMatmulPreferenceDestroy(Preference *made) { return delete made, 0; }
int cublasLtMatmulPreferenceSetAttribute(Preference *preference, int name, const void *buffer, size_t bytes) {
    if (name == 1) return copied(preference->workspace, buffer, bytes);
    if (name >= 5 && name <= 8) return copied(preference->alignments[name - 5], buffer, bytes);
    return 0;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, Operation *op, Layout *a, Layout *b, Layout *c, Layout *d, Preference *preference,
                                   int asked, Heuristic *out, int *given) {
    if (!handle || !op || !a || !b || !c || !d || !preference || asked < 1 || !out || !given) return INVALID_VALUE;
    uint64_t k;
    *given = 0;
    if (int refused = check(*op, *a, *b, *c, *d, k)) return refused;
    const uint32_t *promised = preference->alignments;
    out[0] = Heuristic{{{ALGORITHM, promised[0], promised[1], promised[2], promised[3]}}, 0, 0, 1.0f, {}};
    *given = 1;
    return 0;
}

int cublasLtMatmul(void *handle, Operation *op, const void *alpha, const void *a, Layout *a_layout, const void *b, Layout *b_layout,
                   const void *beta, const void *c, Layout *c_layout, void *d, Layout *d_layout, const Algorithm *algorithm, void *, size_t,
                   void *) {
    if (!handle || !op || !alpha || !beta || !a || !b || !d || (algorithm && algorithm->data[0] != ALGORITHM)) return INVALID_VALUE;
    if (!a_layout || !b_layout || !c_layout || !d_layout) return INVALID_VALUE;
    // An algorithm is for the alignments that it was asked for with.
    const void *pointers[] = {a, b, c, d};
    for (int i = 0; algorithm && i < 4; i++)
        if ((uintptr_t)pointers[i] % algorithm->data[1 + i]) return INVALID_VALUE;
    uint64_t length;
    if (int refused = check(*op, *a_layout, *b_layout, *c_layout, *d_layout, length)) return refused;
    bool has_bias = op->epilogue & BIAS, sums_a = op->epilogue == GRADIENT_A, sums_b = op->epilogue == GRADIENT_B;
    double scale = *(const float *)alpha, keep = *(const float *)beta;
    if (((has_bias || sums_a || sums_b) && !op->bias) || (keep != 0 && !c)) return INVALID_VALUE;
    int m = (int)d_layout->rows, n = (int)d_layout->columns, k = (int)length;
    Matrices left = matrices(a, *a_layout), right = matrices(b, *b_layout), added = matrices(c, *c_layout), result = matrices(d, *d_layout);
    if (op->transposes[0]) left = left.transposed();
    if (op->transposes[1]) right = right.transposed();
    if ((sums_a || sums_b) && d_layout->batch > 1) return NOT_SUPPORTED;
    for (int i = 0; i < (sums_a ? m : sums_b ? n : 0); i++) {
        double sum = 0;
        for (int l = 0; l < k; l++) sum += sums_a ? load(a, left.type, left.at(0, i, l)) : load(b, right.type, right.at(0, l, i));
        put(op->bias, result.type, i, sum);
    }
    for (int t = 0; t < d_layout->batch; t++) {
        auto sums = product(left, right, t, m, n, k, op->compute == COMPUTE_32F_FAST_TF32);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                double value = scale * sums[(size_t)j * m + i];
                if (keep != 0) value += keep * load(c, added.type, added.at(t, i, j));
                if (has_bias) value += load(op->bias, result.type, i);
                // What is not a number stays so.
                if (op->epilogue & RELU && value < 0) value = 0;
                put(d, result.type, result.at(t, i, j), value);
            }
    }
    return 0;
}
}
