// cuDNN's graph interface: descriptors with attributes by name, and what runs a graph.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arrays.hpp"

// The numbers of cudnn_graph.h.
enum Status {
    SUCCESS = 0,
    BAD_PARAM = 2000,
    NULL_POINTER = 2002,
    MISALIGNED_POINTER = 2003,
    NOT_FINALIZED = 2004,
    SHAPE_MISMATCH = 2008,
    ATTRIBUTE_TYPE = 2010,
    DESCRIPTOR_TYPE = 2012,
    NOT_SUPPORTED = 3000,
    EXECUTION_FAILED = 5000
};
enum Kind {
    POINTWISE = 0,
    CONVOLUTION = 1,
    ENGINE = 2,
    CONFIGURATION = 3,
    HEURISTIC = 4,
    PLAN = 5,
    FORWARD = 10,
    BACKWARD_FILTER = 11,
    BACKWARD_DATA = 12,
    OPERATION_POINTWISE = 13,
    GRAPH = 15,
    VARIANT_PACK = 16,
    TENSOR = 17,
    DEVICE = 38
};
enum AttributeType {
    HANDLE = 0,
    DATA_TYPE = 1,
    BOOLEAN = 2,
    INT64 = 3,
    FLOAT = 4,
    DOUBLE = 5,
    VOID_PTR = 6,
    CONVOLUTION_MODE = 7,
    HEURISTIC_MODE = 8,
    NUMERICAL_NOTE = 11,
    POINTWISE_MODE = 14,
    DESCRIPTOR = 15,
    BEHAVIOR_NOTE = 19,
    INT32 = 23,
    CHAR = 24
};
enum Mode { ADD = 0, MUL = 1, SUB = 9, IDENTITY = 21, RELU_FWD = 100, RELU_BWD = 200 };

struct Content;
typedef std::shared_ptr<Content> Shared;

struct Attribute {
    int type;
    int64_t count;
    std::vector<unsigned char> bytes;
    std::vector<Shared> others;
};

struct Content {
    int kind;
    bool is_final = false;
    std::map<int, Attribute> attributes;

    const Attribute *find(int name) const {
        auto found = attributes.find(name);
        return found == attributes.end() ? nullptr : &found->second;
    }
    bool has(int name) const { return find(name); }
    const Content *other(int name) const { return has(name) ? find(name)->others.at(0).get() : nullptr; }
    template <class Value> std::vector<Value> values(int name) const {
        const Attribute *attribute = find(name);
        std::vector<Value> out(attribute ? attribute->bytes.size() / sizeof(Value) : 0);
        if (!out.empty()) memcpy(out.data(), attribute->bytes.data(), out.size() * sizeof(Value));
        return out;
    }
    int number(int name) const { return values<int>(name).at(0); }
    // A scalar that may be given as `f32` or `f64`.
    double real(int name, double otherwise) const {
        const Attribute *attribute = find(name);
        if (!attribute) return otherwise;
        return attribute->type == DOUBLE ? values<double>(name).at(0) : values<float>(name).at(0);
    }
};

// A tensor descriptor's contents: dimensions and strides of N, C, H, W.
struct Tensor {
    int64_t id, alignment;
    std::vector<int64_t> dims, strides;
    Type type;
    bool is_virtual;

    explicit Tensor(const Content &content);
    bool same_dims(const Tensor &other) const { return dims == other.dims; }
};

// An engine as the heuristics describe it.
struct Engine {
    int64_t index;
    std::vector<int> notes, behavior;
    int64_t workspace;
};
enum { TENSOR_CORE = 0, REDUCED_PRECISION_REDUCTION = 2, NONDETERMINISTIC = 4, STRICT_NAN_PROP = 9 };

// Says on the error stream why a call is refused.
int refuse(int status, const std::string &why);

// What an operation demands of its tensors.
int check_operation(const Content &operation);

// The engines for a graph in the order of the heuristics.
std::vector<Engine> engines(const Content &graph, bool is_fallback);

// Runs the operations of a graph one after another.
int run_graph(const Content &graph, const std::map<int64_t, void *> &pointers, bool rounds_to_tf32);
