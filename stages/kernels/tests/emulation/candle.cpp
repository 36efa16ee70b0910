// The kernels of candle that tests use, by what they compute. One call does the work of a whole grid.
#include "kernels.hpp"

#include <cmath>
#include <limits>

namespace {
typedef size_t usize;

template <class T> double load(const T &value) { return (double)value; }
template <> double load(const bf16 &value) { return to_float(value); }
template <class T> void put(T &out, double value) { out = (T)value; }
template <> void put(bf16 &out, double value) { store(out, (float)value); }

template <class T> const T &argument(void **arguments, int index) { return *(const T *)arguments[index]; }

// Where element i of a strided tensor is. Without sizes, it is contiguous.
usize strided(usize i, usize rank, const usize *dims, const usize *strides) {
    if (!dims) return i;
    usize at = 0;
    for (usize d = rank; d-- > 0;) {
        at += i % dims[d] * strides[d];
        i /= dims[d];
    }
    return at;
}

typedef double (*Unary)(double);
typedef double (*Binary)(double, double);

template <class S, class T> Kernel map(Unary f) {
    return [f](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        const S *x = argument<const S *>(a, 3);
        T *y = argument<T *>(a, 4);
        for (usize i = 0; i < count; i++) put(y[i], f(load(x[strided(i, rank, info, info + rank)])));
    };
}

template <class T> Kernel powers() {
    return [](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        double exponent = load(argument<T>(a, 3));
        const T *x = argument<const T *>(a, 4);
        T *y = argument<T *>(a, 5);
        for (usize i = 0; i < count; i++) put(y[i], pow(load(x[strided(i, rank, info, info + rank)]), exponent));
    };
}

template <class T, class O> Kernel zip(Binary f) {
    return [f](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        const T *x = argument<const T *>(a, 3), *y = argument<const T *>(a, 4);
        O *out = argument<O *>(a, 5);
        for (usize i = 0; i < count; i++) {
            double left = load(x[strided(i, rank, info, info + rank)]), right = load(y[strided(i, rank, info, info + 2 * rank)]);
            put(out[i], f(left, right));
        }
    };
}

template <class T> Kernel affine() {
    return [](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        const T *x = argument<const T *>(a, 3);
        T *y = argument<T *>(a, 4);
        double factor = load(argument<T>(a, 5)), summand = load(argument<T>(a, 6));
        for (usize i = 0; i < count; i++) {
            put(y[i], load(x ? x[strided(i, rank, info, info + rank)] : y[i]) * factor + summand);
        }
    };
}

template <class T, class C> Kernel select() {
    return [](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        const C *condition = argument<const C *>(a, 3);
        const T *yes = argument<const T *>(a, 4), *no = argument<const T *>(a, 5);
        T *out = argument<T *>(a, 6);
        for (usize i = 0; i < count; i++) {
            bool chosen = condition[strided(i, rank, info, info + rank)];
            out[i] = chosen ? yes[strided(i, rank, info, info + 2 * rank)] : no[strided(i, rank, info, info + 3 * rank)];
        }
    };
}

// Sum (0), maximum (1) or minimum (2) of each group of `width` neighbours.
template <class T> Kernel reduce(int kind, bool small = false) {
    return [kind, small](void **a) {
        usize count = argument<usize>(a, 0), width = argument<usize>(a, 1), rank = argument<usize>(a, 2);
        const usize *info = argument<const usize *>(a, 3);
        const T *x = argument<const T *>(a, 4);
        T *y = argument<T *>(a, 5);
        // The kernel for short groups is told their number instead of that of all elements.
        if (small) count *= width;
        for (usize group = 0; group * width < count; group++) {
            double best = load(x[strided(group * width, rank, info, info + rank)]);
            for (usize i = 1; i < width; i++) {
                double next = load(x[strided(group * width + i, rank, info, info + rank)]);
                best = kind == 0 ? best + next : kind == 1 ? fmax(best, next) : fmin(best, next);
            }
            put(y[group], best);
        }
    };
}

template <class T> Kernel fill() {
    return [](void **a) {
        T *out = argument<T *>(a, 0), value = argument<T>(a, 1);
        for (usize i = 0; i < argument<usize>(a, 2); i++) out[i] = value;
    };
}

template <class T> Kernel set() {
    return [](void **a) {
        usize count = argument<usize>(a, 0), rank = argument<usize>(a, 1);
        const usize *info = argument<const usize *>(a, 2);
        T value = argument<T>(a, 3), *out = argument<T *>(a, 4);
        for (usize i = 0; i < count; i++) out[strided(i, rank, info, info + rank)] = value;
    };
}

template <class T> Kernel copy2d() {
    return [](void **a) {
        const T *from = argument<const T *>(a, 0);
        T *to = argument<T *>(a, 1);
        uint32_t rows = argument<uint32_t>(a, 2), columns = argument<uint32_t>(a, 3);
        uint32_t from_stride = argument<uint32_t>(a, 4), to_stride = argument<uint32_t>(a, 5);
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t j = 0; j < columns; j++) to[i * to_stride + j] = from[i * from_stride + j];
    };
}

const std::map<std::string, Unary> UNARY = {
    {"ucopy", [](double x) { return x; }},
    {"uneg", [](double x) { return -x; }},
    {"uexp", [](double x) { return exp(x); }},
    {"ulog", [](double x) { return log(x); }},
    {"uabs", [](double x) { return fabs(x); }},
    {"usqr", [](double x) { return x * x; }},
    {"usqrt", [](double x) { return sqrt(x); }},
    {"urecip", [](double x) { return 1 / x; }},
    {"utanh", [](double x) { return tanh(x); }},
    {"uerf", [](double x) { return erf(x); }},
    {"ugelu_erf", [](double x) { return 0.5 * x * (1 + erf(x * M_SQRT1_2)); }},
    {"urelu", [](double x) { return x > 0 ? x : 0; }},
};
const std::map<std::string, Binary> BINARY = {
    {"badd", [](double x, double y) { return x + y; }},
    {"bsub", [](double x, double y) { return x - y; }},
    {"bmul", [](double x, double y) { return x * y; }},
    {"bdiv", [](double x, double y) { return x / y; }},
    {"bmaximum", [](double x, double y) { return fmax(x, y); }},
    {"bminimum", [](double x, double y) { return fmin(x, y); }},
};
const std::map<std::string, Binary> COMPARE = {
    {"eq", [](double x, double y) { return (double)(x == y); }}, {"ne", [](double x, double y) { return (double)(x != y); }},
    {"lt", [](double x, double y) { return (double)(x < y); }},  {"le", [](double x, double y) { return (double)(x <= y); }},
    {"gt", [](double x, double y) { return (double)(x > y); }},  {"ge", [](double x, double y) { return (double)(x >= y); }},
};

template <class T> Kernel of_type(const std::string &operation) {
    if (UNARY.count(operation)) return map<T, T>(UNARY.at(operation));
    if (BINARY.count(operation)) return zip<T, T>(BINARY.at(operation));
    if (COMPARE.count(operation)) return zip<T, uint8_t>(COMPARE.at(operation));
    if (operation == "upowf") return powers<T>();
    if (operation == "affine") return affine<T>();
    if (operation == "where_u8") return select<T, uint8_t>();
    if (operation == "where_u32") return select<T, uint32_t>();
    if (operation == "fast_sum") return reduce<T>(0);
    if (operation == "fast_sum_small") return reduce<T>(0, true);
    if (operation == "fast_max") return reduce<T>(1);
    if (operation == "fast_min") return reduce<T>(2);
    if (operation == "fill") return fill<T>();
    if (operation == "const_set") return set<T>();
    if (operation == "copy2d") return copy2d<T>();
    Unary same = UNARY.at("ucopy");
    if (operation == "cast_f32") return map<float, T>(same);
    if (operation == "cast_f64") return map<double, T>(same);
    if (operation == "cast_bf16") return map<bf16, T>(same);
    if (operation == "cast_u8") return map<uint8_t, T>(same);
    if (operation == "cast_u32") return map<uint32_t, T>(same);
    if (operation == "cast_i64") return map<int64_t, T>(same);
    return Kernel();
}
}  // namespace

Kernel candle_kernel(const std::string &name) {
    size_t end = name.rfind('_');
    if (end == std::string::npos) return Kernel();
    std::string operation = name.substr(0, end), type = name.substr(end + 1);
    if (type == "f32") return of_type<float>(operation);
    if (type == "f64") return of_type<double>(operation);
    if (type == "bf16") return of_type<bf16>(operation);
    if (type == "u8") return of_type<uint8_t>(operation);
    if (type == "u32") return of_type<uint32_t>(operation);
    if (type == "i64") return of_type<int64_t>(operation);
    return Kernel();
}
