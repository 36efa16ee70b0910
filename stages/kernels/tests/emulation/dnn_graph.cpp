// Graphs of cuDNN: which engines there are for one, and how it is computed, operation by operation.
#include <float.h>

#include <utility>

#include "dnn.hpp"

Tensor::Tensor(const Content &content)
    : id(content.values<int64_t>(906).at(0)), alignment(content.values<int64_t>(900).at(0)), dims(content.values<int64_t>(902)),
      strides(content.values<int64_t>(903)), type(content.number(901) == 0 ? F32 : BF16),
      is_virtual(content.has(907) && content.values<unsigned char>(907).at(0)) {}

namespace {
// The names of the attributes of a convolution in one direction.
struct Names {
    int convolution, x, w, y, alpha, beta;
};
Names names_of(int kind) {
    if (kind == FORWARD) return {702, 704, 703, 705, 700, 701};
    if (kind == BACKWARD_DATA) return {708, 710, 709, 711, 706, 707};
    return {714, 716, 715, 717, 712, 713};
}
bool is_convolution(const Content &operation) { return operation.kind != OPERATION_POINTWISE; }
int mode_of(const Content &operation) { return operation.other(750)->number(0); }

// A convolution with its three tensors.
struct Window {
    std::vector<int64_t> stride, before, after, dilation;
    Tensor x, w, y;

    explicit Window(const Content &operation) : Window(operation, names_of(operation.kind)) {}
    Window(const Content &operation, Names names)
        : stride(of(operation, names, 103)), before(of(operation, names, 105)), after(of(operation, names, 104)),
          dilation(of(operation, names, 102)), x(*operation.other(names.x)), w(*operation.other(names.w)), y(*operation.other(names.y)) {}
    static std::vector<int64_t> of(const Content &operation, Names names, int name) {
        return operation.other(names.convolution)->values<int64_t>(name);
    }
    int64_t groups() const { return w.dims[1] ? x.dims[1] / w.dims[1] : 0; }
    int64_t out(int axis) const {
        int64_t covered = dilation[axis] * (w.dims[2 + axis] - 1) + 1;
        return (x.dims[2 + axis] + before[axis] + after[axis] - covered) / stride[axis] + 1;
    }
    bool fits() const {
        bool whole = groups() >= 1 && x.dims[1] == w.dims[1] * groups() && w.dims[0] % groups() == 0;
        return whole && y.dims[0] == x.dims[0] && y.dims[1] == w.dims[0] && y.dims[2] == out(0) && y.dims[3] == out(1);
    }
};

// Whether `small` can be repeated to the sizes of `large`.
bool broadcasts(const Tensor &small, const Tensor &large) {
    for (int i = 0; i < 4; i++)
        if (small.dims[i] != large.dims[i] && small.dims[i] != 1) return false;
    return true;
}

bool is_channels_last(const Tensor &tensor) { return tensor.strides[1] == 1 && tensor.dims[1] > 1; }

enum Pattern { NONE, PRECOMPILED, COMPILED };

// Which engines real cuDNN 9.19 has for a graph on a card of compute capability 9.0, as found with a described card.
Pattern pattern(const std::vector<Shared> &operations) {
    const Content &first = *operations.at(0);
    if (!is_convolution(first)) return COMPILED;
    Window window(first);
    // To test the other order of dimensions: no engine for channels last for one size of kernel.
    if (window.x.type == F32 && window.w.dims[2] == 5 && is_channels_last(window.x)) return NONE;
    bool is_alone = operations.size() == 1;
    if (window.x.type != window.w.type && first.kind == FORWARD) return NONE;
    if (is_alone) return window.x.type == window.y.type && window.w.type == window.y.type ? PRECOMPILED : NONE;
    if (first.kind != FORWARD) return COMPILED;
    // Without compilation: an optional residual, the bias, and an optional ReLU, in this order and with intermediate results in f32.
    size_t next = 1;
    auto is_sum = [&](size_t at, bool is_bias) {
        if (at >= operations.size() || mode_of(*operations[at]) != ADD) return false;
        Tensor b(*operations[at]->other(752));
        return b.type == window.x.type && is_bias == (b.dims[0] == 1 && b.dims[2] == 1 && b.dims[3] == 1);
    };
    for (size_t i = 0; i + 1 < operations.size(); i++) {
        const Tensor result(*operations[i]->other(i == 0 ? 705 : 753));
        if (!result.is_virtual || result.type != F32) return COMPILED;
    }
    if (is_sum(next, false)) next++;
    if (!is_sum(next, true)) return COMPILED;
    next++;
    if (next < operations.size() && mode_of(*operations[next]) == RELU_FWD) {
        if (operations[next]->other(750)->real(4, DBL_MAX) < FLT_MAX) return NONE;
        next++;
    }
    return next == operations.size() ? PRECOMPILED : COMPILED;
}

// Values with channels last, `[N, H, W, C]`.
struct Values {
    std::vector<int64_t> dims;
    std::vector<double> data;
};

class Run {
  public:
    Run(const std::map<int64_t, void *> &pointers, bool rounds) : pointers(pointers), rounds(rounds) {}

    int operation(const Content &content) { return is_convolution(content) ? convolution(content) : pointwise(content); }

  private:
    const std::map<int64_t, void *> &pointers;
    bool rounds;
    // Results that are not written to memory.
    std::map<int64_t, Values> held;

    template <class Body> static void each(const Tensor &tensor, Body body) {
        size_t at = 0;
        for (int64_t n = 0; n < tensor.dims[0]; n++)
            for (int64_t h = 0; h < tensor.dims[2]; h++)
                for (int64_t w = 0; w < tensor.dims[3]; w++)
                    for (int64_t c = 0; c < tensor.dims[1]; c++, at++)
                        body(at, n * tensor.strides[0] + c * tensor.strides[1] + h * tensor.strides[2] + w * tensor.strides[3]);
    }
    static size_t count(const Tensor &tensor) {
        return (size_t)(tensor.dims[0] * tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
    }
    int find(const Tensor &tensor, void *&address) const {
        auto found = pointers.find(tensor.id);
        if (found == pointers.end() || !found->second) return refuse(NULL_POINTER, "no address for the tensor " + std::to_string(tensor.id));
        address = found->second;
        if ((uintptr_t)address % tensor.alignment) return refuse(MISALIGNED_POINTER, "the tensor " + std::to_string(tensor.id));
        return SUCCESS;
    }
    int read(const Tensor &tensor, Values &out) const {
        if (tensor.is_virtual) {
            auto found = held.find(tensor.id);
            if (found == held.end()) return refuse(BAD_PARAM, "the tensor " + std::to_string(tensor.id) + " is read before it is computed");
            out = found->second;
            return SUCCESS;
        }
        void *address = nullptr;
        if (int refused = find(tensor, address)) return refused;
        out = Values{tensor.dims, std::vector<double>(count(tensor))};
        each(tensor, [&](size_t at, int64_t place) { out.data[at] = load(address, tensor.type, place); });
        return SUCCESS;
    }
    int write(const Tensor &tensor, std::vector<double> values) {
        if (tensor.is_virtual) {
            for (double &value : values) value = (float)value;
            held[tensor.id] = Values{tensor.dims, std::move(values)};
            return SUCCESS;
        }
        void *address = nullptr;
        if (int refused = find(tensor, address)) return refused;
        each(tensor, [&](size_t at, int64_t place) { put(address, tensor.type, place, values[at]); });
        return SUCCESS;
    }

    int convolution(const Content &content) {
        Window window(content);
        const Tensor &result = content.kind == FORWARD ? window.y : content.kind == BACKWARD_DATA ? window.x : window.w;
        Values x, w, y;
        for (auto [tensor, values] : {std::pair{&window.x, &x}, {&window.w, &w}, {&window.y, &y}}) {
            if (tensor == &result) {
                *values = Values{tensor->dims, std::vector<double>(count(*tensor), 0.0)};
                continue;
            }
            if (int refused = read(*tensor, *values)) return refused;
            if (rounds && tensor->type == F32)
                for (double &value : values->data) value = tf32(value);
        }
        products(content.kind, window, x.data, w.data, y.data);
        std::vector<double> &sums = content.kind == FORWARD ? y.data : content.kind == BACKWARD_DATA ? x.data : w.data;
        Names names = names_of(content.kind);
        double alpha = content.real(names.alpha, 1), beta = content.real(names.beta, 0);
        Values before;
        if (beta != 0)
            if (int refused = read(result, before)) return refused;
        for (size_t i = 0; i < sums.size(); i++) sums[i] = alpha * (float)sums[i] + (beta == 0 ? 0 : beta * before.data[i]);
        return write(result, std::move(sums));
    }

    // Adds up the products of a convolution in one direction. A weight lies as `[out, H, W, depth]`, and is reordered so that each tap is
    // a matrix of each group.
    static void products(int kind, const Window &window, std::vector<double> &x, std::vector<double> &w, std::vector<double> &y) {
        int64_t groups = window.groups(), depth = window.w.dims[1], out = window.w.dims[0] / groups;
        int64_t rows = window.w.dims[2], columns = window.w.dims[3], taps = rows * columns;
        int64_t height = window.x.dims[2], width = window.x.dims[3], channels = window.x.dims[1], outs = window.y.dims[1];
        bool by_depth = kind == FORWARD;
        std::vector<double> matrices(w.size(), 0.0);
        auto exchange = [&](bool is_back) {
            for (int64_t o = 0; o < outs; o++)
                for (int64_t tap = 0; tap < taps; tap++)
                    for (int64_t d = 0; d < depth; d++) {
                        int64_t matrix = (tap * groups + o / out) * out * depth;
                        double &there = matrices[matrix + (by_depth ? d * out + o % out : o % out * depth + d)];
                        double &here = w[(o * taps + tap) * depth + d];
                        (is_back ? here : there) = is_back ? there : here;
                    }
        };
        exchange(false);
        size_t step = (size_t)(window.stride[1] * channels), next = (size_t)outs;
        for (int64_t n = 0; n < window.y.dims[0]; n++)
            for (int64_t i = 0; i < window.y.dims[2]; i++)
                for (int64_t tap = 0; tap < taps; tap++) {
                    int64_t v = i * window.stride[0] + tap / columns * window.dilation[0] - window.before[0];
                    // The pixels of the row whose tap lies within the image: the first, and how many.
                    int64_t shift = tap % columns * window.dilation[1] - window.before[1], j = 0, pixels = 0;
                    while (j < window.y.dims[3] && j * window.stride[1] + shift < 0) j++;
                    while (j + pixels < window.y.dims[3] && (j + pixels) * window.stride[1] + shift < width) pixels++;
                    if (v < 0 || v >= height || pixels == 0) continue;
                    for (int64_t group = 0; group < groups; group++) {
                        double *in = &x[((n * height + v) * width + j * window.stride[1] + shift) * channels + group * depth];
                        double *result = &y[((n * window.y.dims[2] + i) * window.y.dims[3] + j) * outs + group * out];
                        double *matrix = &matrices[(tap * groups + group) * out * depth];
                        if (kind == FORWARD) add_product(result, next, {in, step, 1}, matrix, out, pixels, out, depth);
                        else if (kind == BACKWARD_DATA) add_product(in, step, {result, next, 1}, matrix, depth, pixels, depth, out);
                        else add_product(matrix, depth, {result, 1, next}, in, step, out, depth, pixels);
                    }
                }
        if (kind == BACKWARD_FILTER) exchange(true);
    }

    int pointwise(const Content &content) {
        const Content &rule = *content.other(750);
        int mode = rule.number(0);
        bool is_backward = mode == RELU_BWD;
        double alpha = content.real(754, 1), beta = content.real(755, 1);
        double lower = rule.real(3, 0), upper = rule.real(4, DBL_MAX);
        Tensor result(*content.other(is_backward ? 756 : 753));
        Tensor first(*content.other(is_backward ? 757 : 751));
        const Content *other = is_backward ? content.other(content.has(751) ? 751 : 753) : content.other(752);
        Values a, b;
        if (int refused = read(first, a)) return refused;
        if (other)
            if (int refused = read(Tensor(*other), b)) return refused;
        std::vector<double> out(count(result));
        size_t at = 0;
        for (int64_t n = 0; n < result.dims[0]; n++)
            for (int64_t h = 0; h < result.dims[2]; h++)
                for (int64_t w = 0; w < result.dims[3]; w++)
                    for (int64_t c = 0; c < result.dims[1]; c++, at++) {
                        float x = (float)(alpha * a.data[place(a, n, c, h, w)]), y = other ? (float)(beta * b.data[place(b, n, c, h, w)]) : 0;
                        out[at] = compute(mode, x, y, lower, upper);
                    }
        return write(result, std::move(out));
    }
    static size_t place(const Values &values, int64_t n, int64_t c, int64_t h, int64_t w) {
        auto at = [&](int axis, int64_t index) { return values.dims[axis] == 1 ? 0 : index; };
        return (size_t)(((at(0, n) * values.dims[2] + at(2, h)) * values.dims[3] + at(3, w)) * values.dims[1] + at(1, c));
    }
    // In f32, as the operations' precision says. What is not a number stays so.
    static float compute(int mode, float x, float y, double lower, double upper) {
        switch (mode) {
        case ADD: return x + y;
        case SUB: return x - y;
        case MUL: return x * y;
        case RELU_FWD: return x < lower ? (float)lower : x > upper ? (float)upper : x;
        // `x` is the gradient, `y` what decides.
        case RELU_BWD: return y != y ? y : y > lower && y < upper ? x : 0;
        default: return x;
        }
    }
};
}  // namespace

int check_operation(const Content &operation) {
    if (is_convolution(operation)) {
        Window window(operation);
        if (!window.fits()) return refuse(SHAPE_MISMATCH, "a convolution whose tensors do not fit");
        return SUCCESS;
    }
    int mode = mode_of(operation);
    bool is_sum = mode == ADD || mode == MUL || mode == SUB, is_backward = mode == RELU_BWD;
    if (!is_sum && !is_backward && mode != RELU_FWD && mode != IDENTITY)
        return refuse(NOT_SUPPORTED, "pointwise mode " + std::to_string(mode));
    bool is_whole = is_backward ? operation.has(756) && operation.has(757) && operation.has(751) != operation.has(753)
                                : operation.has(751) && operation.has(753) && operation.has(752) == is_sum;
    if (!is_whole) return refuse(BAD_PARAM, "a pointwise operation without the tensors of its mode");
    Tensor result(*operation.other(is_backward ? 756 : 753));
    for (int name : {751, 752, 753, 757})
        if (operation.has(name) && !broadcasts(Tensor(*operation.other(name)), result))
            return refuse(SHAPE_MISMATCH, "a pointwise operation whose tensors do not fit");
    return SUCCESS;
}

std::vector<Engine> engines(const Content &graph, bool is_fallback) {
    const auto &operations = graph.find(801)->others;
    const int RUNTIME_COMPILATION = 0, SUPPORTS_CUDA_GRAPH_NATIVE_API = 3;
    switch (pattern(operations)) {
    case NONE: return {};
    case COMPILED: return {{7, {TENSOR_CORE}, {RUNTIME_COMPILATION, SUPPORTS_CUDA_GRAPH_NATIVE_API}, 16}};
    default: break;
    }
    if (is_fallback)
        return {{25, {REDUCED_PRECISION_REDUCTION, NONDETERMINISTIC}, {}, 4096}, {1, {}, {}, 4096}, {0, {STRICT_NAN_PROP}, {}, 0}};
    // The first must not be chosen, and the second not for f32 without TF32.
    return {{25, {NONDETERMINISTIC}, {}, 4096}, {62, {TENSOR_CORE}, {}, 131}, {28, {}, {}, 0}};
}

int run_graph(const Content &graph, const std::map<int64_t, void *> &pointers, bool rounds_to_tf32) {
    Run run(pointers, rounds_to_tf32);
    for (const Shared &operation : graph.find(801)->others)
        if (int refused = run.operation(*operation)) return refused;
    return SUCCESS;
}
