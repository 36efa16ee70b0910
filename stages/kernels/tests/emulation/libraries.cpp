// cuBLAS, cuRAND and cuDNN, as far as the tests use them, in plain loops with sums in double precision. They check what the real ones
// demand of their arguments, round to TF32 where that was asked for, and offer algorithms that must not be chosen.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "threads.hpp"

namespace {
enum Type { F32, F64, BF16 };

double load(const void *values, Type type, size_t at) {
    if (type == F32) return ((const float *)values)[at];
    if (type == F64) return ((const double *)values)[at];
    return to_float(((const bf16 *)values)[at]);
}
void put(void *values, Type type, size_t at, double value) {
    if (type == F32) ((float *)values)[at] = (float)value;
    else if (type == F64) ((double *)values)[at] = value;
    else store(((bf16 *)values)[at], (float)value);
}
// TF32 keeps ten bits of the mantissa.
double tf32(double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    bits = (bits + 0x0fff + (bits >> 13 & 1)) & 0xffffe000u;
    memcpy(&single, &bits, 4);
    return single;
}
}  // namespace

extern "C" {
int cublasCreate_v2(void **handle) { return *handle = (void *)5, 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *, void *) { return 0; }
int cublasGetVersion_v2(void *, int *version) { return *version = 130100, 0; }
int cublasGetPointerMode_v2(void *, int *mode) { return *mode = 0, 0; }
int cublasSetPointerMode_v2(void *, int) { return 0; }

int cublasGemmStridedBatchedEx(void *, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda,
                               long long stride_a, const void *b, int b_type, int ldb, long long stride_b, const void *beta, void *c,
                               int c_type, int ldc, long long stride_c, int batch, int compute, int) {
    auto type = [](int number) { return number == 0 ? F32 : number == 1 ? F64 : number == 14 ? BF16 : (Type)-1; };
    Type ta = type(a_type), tb = type(b_type), tc = type(c_type);
    bool rounds = compute == 77;
    if ((int)ta < 0 || (int)tc < 0 || ta != tb || m <= 0 || n <= 0 || k <= 0 || batch <= 0) return 7;
    if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return 7;
    double scale = tc == F64 ? *(const double *)alpha : *(const float *)alpha, keep = tc == F64 ? *(const double *)beta : *(const float *)beta;
    for (int t = 0; t < batch; t++)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                double sum = 0;
                for (int l = 0; l < k; l++) {
                    double x = load(a, ta, t * stride_a + (op_a ? (size_t)i * lda + l : (size_t)l * lda + i));
                    double y = load(b, tb, t * stride_b + (op_b ? (size_t)l * ldb + j : (size_t)j * ldb + l));
                    sum += rounds ? tf32(x) * tf32(y) : x * y;
                }
                size_t at = t * stride_c + (size_t)j * ldc + i;
                put(c, tc, at, scale * sum + (keep == 0 ? 0 : keep * load(c, tc, at)));
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

// cuDNN.
struct Sizes {
    int format, type, n, c, h, w;
};
struct Convolution {
    int pad_h, pad_w, stride_h, stride_w, groups = 1, math = 0, compute = 0;
};
struct Answer {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};
enum { BAD_PARAMETER = 2000, NOT_SUPPORTED = 3000, FLOAT = 0, BFLOAT16 = 9, NHWC = 1, WORKSPACE = 4096 };

size_t cudnnGetVersion() { return 91900; }
int cudnnCreate(void **handle) { return *handle = (void *)7, 0; }
int cudnnDestroy(void *) { return 0; }
int cudnnSetStream(void *, void *) { return 0; }
int cudnnCreateTensorDescriptor(Sizes **made) { return *made = new Sizes{}, 0; }
int cudnnDestroyTensorDescriptor(Sizes *made) { return delete made, 0; }
int cudnnSetTensor4dDescriptor(Sizes *made, int format, int type, int n, int c, int h, int w) { return *made = {format, type, n, c, h, w}, 0; }
int cudnnCreateFilterDescriptor(Sizes **made) { return *made = new Sizes{}, 0; }
int cudnnDestroyFilterDescriptor(Sizes *made) { return delete made, 0; }
int cudnnSetFilter4dDescriptor(Sizes *made, int type, int format, int n, int c, int h, int w) { return *made = {format, type, n, c, h, w}, 0; }
int cudnnCreateConvolutionDescriptor(Convolution **made) { return *made = new Convolution{}, 0; }
int cudnnDestroyConvolutionDescriptor(Convolution *made) { return delete made, 0; }
int cudnnSetConvolution2dDescriptor(Convolution *made, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w,
                                    int mode, int compute) {
    if (dilation_h != 1 || dilation_w != 1 || mode != 1) return BAD_PARAMETER;
    *made = Convolution{pad_h, pad_w, stride_h, stride_w, 1, 0, compute};
    return 0;
}
int cudnnSetConvolutionGroupCount(Convolution *made, int groups) { return made->groups = groups, 0; }
int cudnnSetConvolutionMathType(Convolution *made, int math) { return made->math = math, 0; }
}

namespace {
// What the libraries that this stands for refuse.
int check(const Sizes *x, const Sizes *w, const Convolution *c, const Sizes *y) {
    int rows = (x->h + 2 * c->pad_h - w->h) / c->stride_h + 1, columns = (x->w + 2 * c->pad_w - w->w) / c->stride_w + 1;
    bool fits = x->c == w->c * c->groups && w->n % c->groups == 0 && y->n == x->n && y->c == w->n && y->h == rows && y->w == columns;
    bool same = x->format == w->format && w->format == y->format && x->type == w->type && w->type == y->type && c->compute == FLOAT;
    if (!fits || !same) return BAD_PARAMETER;
    if (x->type != FLOAT && x->type != BFLOAT16) return NOT_SUPPORTED;
    if (x->type == BFLOAT16 && c->groups == 1 && (w->c % 8 || c->math != 1)) return NOT_SUPPORTED;
    // To test the other order: no algorithm for channels last in a case that PyTorch's users have met.
    if (x->format == NHWC && x->type == FLOAT && w->h == 5) return NOT_SUPPORTED;
    return 0;
}
size_t place(const Sizes *s, int n, int c, int h, int w) {
    if (s->format == NHWC) return (((size_t)n * s->h + h) * s->w + w) * s->c + c;
    return (((size_t)n * s->c + c) * s->h + h) * s->w + w;
}
// Calls `body(place in x, place in w, place in y)` for every product of a convolution.
template <class Body> void products(const Sizes *x, const Sizes *w, const Convolution *c, const Sizes *y, Body body) {
    int depth = w->c, per_group = w->n / c->groups;
    for (int n = 0; n < y->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++)
                for (int a = 0; a < w->h; a++)
                    for (int b = 0; b < w->w; b++) {
                        int v = i * c->stride_h + a - c->pad_h, h = j * c->stride_w + b - c->pad_w;
                        if (v < 0 || h < 0 || v >= x->h || h >= x->w) continue;
                        for (int o = 0; o < w->n; o++)
                            for (int d = 0; d < depth; d++)
                                body(place(x, n, o / per_group * depth + d, v, h), place(w, o, d, a, b), place(y, n, o, i, j));
                    }
}
size_t count(const Sizes *s) { return (size_t)s->n * s->c * s->h * s->w; }
Type type_of(const Sizes *s) { return s->type == FLOAT ? F32 : BF16; }

int answers(int refused, int asked, int *given, Answer *out, int deterministic, int other) {
    if (asked < 3) return BAD_PARAMETER;
    if (refused == BAD_PARAMETER) return refused;
    out[0] = {other, 0, 1.0f, WORKSPACE, 0, 0, {}};
    out[1] = {deterministic, refused, 2.0f, WORKSPACE, 1, 0, {}};
    out[2] = {other, NOT_SUPPORTED, -1.0f, 0, 1, 0, {}};
    *given = 3;
    return 0;
}
int workspace(int refused, int algorithm, int deterministic, size_t *bytes) {
    if (refused || algorithm != deterministic) return NOT_SUPPORTED;
    *bytes = WORKSPACE;
    return 0;
}
// One direction of a convolution; `which` of the three tensors is the result.
int run(int which, const Sizes *x, void *xs, const Sizes *w, void *ws, const Convolution *c, const Sizes *y, void *ys, int algorithm,
        void *space, size_t bytes) {
    if (int refused = check(x, w, c, y)) return refused;
    if (algorithm != 1 || bytes < WORKSPACE || !space) return BAD_PARAMETER;
    memset(space, 0xff, WORKSPACE);
    bool rounds = x->type == FLOAT && c->math != 3;
    auto value = [&](void *values, const Sizes *sizes, size_t at) {
        double number = load(values, type_of(sizes), at);
        return rounds ? tf32(number) : number;
    };
    const Sizes *result = which == 0 ? x : which == 1 ? w : y;
    void *out = which == 0 ? xs : which == 1 ? ws : ys;
    std::vector<double> sums(count(result), 0.0);
    products(x, w, c, y, [&](size_t in_x, size_t in_w, size_t in_y) {
        if (which == 0) sums[in_x] += value(ws, w, in_w) * value(ys, y, in_y);
        else if (which == 1) sums[in_w] += value(xs, x, in_x) * value(ys, y, in_y);
        else sums[in_y] += value(xs, x, in_x) * value(ws, w, in_w);
    });
    for (size_t i = 0; i < sums.size(); i++) put(out, type_of(result), i, sums[i]);
    return 0;
}
}  // namespace

extern "C" {
int cudnnGetConvolutionForwardAlgorithm_v7(void *, Sizes *x, Sizes *w, Convolution *c, Sizes *y, int asked, int *given, Answer *out) {
    return answers(check(x, w, c, y), asked, given, out, 1, 0);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *, Sizes *w, Sizes *y, Convolution *c, Sizes *x, int asked, int *given, Answer *out) {
    return answers(check(x, w, c, y), asked, given, out, 1, 0);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *, Sizes *x, Sizes *y, Convolution *c, Sizes *w, int asked, int *given, Answer *out) {
    return answers(check(x, w, c, y), asked, given, out, 1, 0);
}
int cudnnGetConvolutionForwardWorkspaceSize(void *, Sizes *x, Sizes *w, Convolution *c, Sizes *y, int algorithm, size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, 1, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(void *, Sizes *w, Sizes *y, Convolution *c, Sizes *x, int algorithm, size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, 1, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *, Sizes *x, Sizes *y, Convolution *c, Sizes *w, int algorithm, size_t *bytes) {
    return workspace(check(x, w, c, y), algorithm, 1, bytes);
}
int cudnnConvolutionForward(void *, const void *, Sizes *x, void *xs, Sizes *w, void *ws, Convolution *c, int algorithm, void *space,
                            size_t bytes, const void *, Sizes *y, void *ys) {
    return run(2, x, xs, w, ws, c, y, ys, algorithm, space, bytes);
}
int cudnnConvolutionBackwardData(void *, const void *, Sizes *w, void *ws, Sizes *y, void *ys, Convolution *c, int algorithm, void *space,
                                 size_t bytes, const void *, Sizes *x, void *xs) {
    return run(0, x, xs, w, ws, c, y, ys, algorithm, space, bytes);
}
int cudnnConvolutionBackwardFilter(void *, const void *, Sizes *x, void *xs, Sizes *y, void *ys, Convolution *c, int algorithm, void *space,
                                   size_t bytes, const void *, Sizes *w, void *ws) {
    return run(1, x, xs, w, ws, c, y, ys, algorithm, space, bytes);
}
}
