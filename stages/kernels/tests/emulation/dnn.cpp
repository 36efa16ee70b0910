// The functions of cuDNN that cudarc and this crate call: descriptors are kept as they are given, with the checks that the real library
// makes, so that a wrong call fails here too.
#include "dnn.hpp"

#include <stdio.h>

#include <algorithm>
#include <set>

int refuse(int status, const std::string &why) {
    fprintf(stderr, "emulated cuDNN: %d: %s\n", status, why.c_str());
    return status;
}

namespace {
// What `cudnnBackendDescriptor_t` points at.
struct Holder {
    Shared content;
};

size_t size_of(int type) {
    switch (type) {
    case BOOLEAN:
    case CHAR: return 1;
    case HANDLE:
    case INT64:
    case DOUBLE:
    case VOID_PTR:
    case DESCRIPTOR: return 8;
    default: return 4;
    }
}

// The attributes that a kind takes with their types; those that it must have come first.
struct Rule {
    std::map<int, std::set<int>> needed, possible;
};
const std::map<int, Rule> &rules() {
    static const std::set<int> real = {FLOAT, DOUBLE}, other = {DESCRIPTOR}, whole = {INT64}, data = {DATA_TYPE};
    static const std::map<int, Rule> all = {
        {POINTWISE, {{{0, {POINTWISE_MODE}}, {1, data}}, {{3, real}, {4, real}, {5, real}}}},
        {CONVOLUTION, {{{100, data}, {101, {CONVOLUTION_MODE}}, {102, whole}, {103, whole}, {104, whole}, {105, whole}, {106, whole}}, {}}},
        {ENGINE, {{{1300, other}, {1301, whole}}, {{1306, {INT32}}, {1307, other}}}},
        {CONFIGURATION, {{{300, other}}, {{302, other}}}},
        {HEURISTIC, {{{200, {HEURISTIC_MODE}}, {201, other}}, {{203, {INT32}}, {204, other}}}},
        {PLAN, {{{401, other}}, {{400, {HANDLE}}, {407, other}}}},
        {FORWARD, {{{702, other}, {703, other}, {704, other}, {705, other}}, {{700, real}, {701, real}}}},
        {BACKWARD_DATA, {{{708, other}, {709, other}, {710, other}, {711, other}}, {{706, real}, {707, real}}}},
        {BACKWARD_FILTER, {{{714, other}, {715, other}, {716, other}, {717, other}}, {{712, real}, {713, real}}}},
        {OPERATION_POINTWISE,
         {{{750, other}}, {{751, other}, {752, other}, {753, other}, {754, real}, {755, real}, {756, other}, {757, other}}}},
        {GRAPH, {{{801, other}}, {{800, {HANDLE}}}}},
        {TENSOR, {{{900, whole}, {901, data}, {902, whole}, {903, whole}, {906, whole}}, {{907, {BOOLEAN}}, {908, {BOOLEAN}}}}},
        {VARIANT_PACK, {{{1000, whole}, {1001, {VOID_PTR}}}, {{1003, {VOID_PTR}}}}},
        {DEVICE, {{}, {{2700, {INT32}}, {2701, {HANDLE}}, {2702, {CHAR}}}}},
    };
    return all;
}

template <class Value> void give(Content &content, int name, int type, const std::vector<Value> &values) {
    Attribute attribute{type, (int64_t)values.size(), std::vector<unsigned char>(values.size() * sizeof(Value)), {}};
    if (!values.empty()) memcpy(attribute.bytes.data(), values.data(), attribute.bytes.size());
    content.attributes[name] = attribute;
}

// An engine's descriptor, finalised.
Shared engine_of(const Engine &engine, const Shared &graph) {
    Shared made(new Content{ENGINE, true, {}});
    made->attributes[1300] = {DESCRIPTOR, 1, {}, {graph}};
    give(*made, 1301, INT64, std::vector<int64_t>{engine.index});
    give(*made, 1303, NUMERICAL_NOTE, engine.notes);
    give(*made, 1305, BEHAVIOR_NOTE, engine.behavior);
    return made;
}
// The configurations that a heuristic gives.
std::vector<Shared> configurations(const Content &heuristic) {
    Shared graph = heuristic.find(201)->others.at(0);
    std::vector<Shared> all;
    for (const Engine &engine : engines(*graph, heuristic.number(200) == 2)) {
        Shared made(new Content{CONFIGURATION, true, {}});
        made->attributes[300] = {DESCRIPTOR, 1, {}, {engine_of(engine, graph)}};
        give(*made, 303, INT64, std::vector<int64_t>{engine.workspace});
        all.push_back(made);
    }
    return all;
}

// The engine of this number for the graph, which a program may ask for without heuristics.
const Engine *chosen(const Content &engine, std::vector<Engine> &all) {
    for (bool is_fallback : {false, true})
        for (const Engine &found : engines(*engine.other(1300), is_fallback)) all.push_back(found);
    for (const Engine &found : all)
        if (found.index == engine.values<int64_t>(1301).at(0)) return &found;
    return nullptr;
}

int finalise(Content &content) {
    auto rule = rules().at(content.kind);
    for (auto &[name, types] : rule.needed)
        if (!content.has(name))
            return refuse(BAD_PARAM, "kind " + std::to_string(content.kind) + " lacks the attribute " + std::to_string(name));
    switch (content.kind) {
    case TENSOR: {
        auto dims = content.values<int64_t>(902), strides = content.values<int64_t>(903);
        if (dims.size() != 4 || strides.size() != 4) return refuse(NOT_SUPPORTED, "tensors have four dimensions here");
        for (int i = 0; i < 4; i++)
            if (dims[i] < 1 || strides[i] < 1) return refuse(BAD_PARAM, "a tensor with a dimension or a stride below one");
        if (content.number(901) != 0 && content.number(901) != 9) return refuse(NOT_SUPPORTED, "tensors are f32 or bf16 here");
        break;
    }
    case CONVOLUTION:
        for (int name : {102, 103, 104, 105})
            if (content.find(name)->count != 2) return refuse(BAD_PARAM, "a convolution whose attributes are not of two dimensions");
        if (content.values<int64_t>(106).at(0) != 2) return refuse(BAD_PARAM, "a convolution of other than two dimensions");
        if (content.number(100) != 0 || content.number(101) != 1)
            return refuse(NOT_SUPPORTED, "convolutions are cross-correlations in f32 here");
        break;
    case FORWARD:
    case BACKWARD_DATA:
    case BACKWARD_FILTER:
    case OPERATION_POINTWISE:
        if (int refused = check_operation(content)) return refused;
        break;
    case ENGINE: {
        std::vector<Engine> all;
        const Engine *engine = chosen(content, all);
        if (!engine) return NOT_SUPPORTED;
        give(content, 1303, NUMERICAL_NOTE, engine->notes);
        give(content, 1305, BEHAVIOR_NOTE, engine->behavior);
        break;
    }
    case PLAN:
    case CONFIGURATION: {
        const Content &engine = content.kind == PLAN ? *content.other(401)->other(300) : *content.other(300);
        std::vector<Engine> all;
        const Engine *found = chosen(engine, all);
        if (!found) return NOT_SUPPORTED;
        give(content, content.kind == PLAN ? 402 : 303, INT64, std::vector<int64_t>{found->workspace});
        break;
    }
    case VARIANT_PACK:
        if (content.find(1000)->count != content.find(1001)->count)
            return refuse(BAD_PARAM, "a variant pack with more identities than pointers");
        break;
    case DEVICE:
        if (content.attributes.size() != 1) return refuse(BAD_PARAM, "a device property of none or several sources");
        break;
    }
    content.is_final = true;
    return SUCCESS;
}
}  // namespace

extern "C" {
size_t cudnnGetVersion() { return 91900; }
size_t cudnnGetCudartVersion() { return 13000; }
const char *cudnnGetErrorString(int status) { return status ? "an error of the emulated cuDNN" : "success"; }
void cudnnGetLastErrorString(char *message, size_t size) {
    if (size) message[0] = 0;
}
int cudnnCreate(void **handle) { return *handle = (void *)7, 0; }
int cudnnDestroy(void *) { return 0; }
int cudnnSetStream(void *, void *) { return 0; }

int cudnnBackendCreateDescriptor(int kind, Holder **made) {
    if (!rules().count(kind)) return refuse(NOT_SUPPORTED, "no descriptors of kind " + std::to_string(kind));
    *made = new Holder{Shared(new Content{kind, false, {}})};
    return SUCCESS;
}
int cudnnBackendDestroyDescriptor(Holder *holder) { return delete holder, SUCCESS; }

int cudnnBackendSetAttribute(Holder *holder, int name, int type, int64_t count, const void *values) {
    if (!holder || (!values && count > 0)) return refuse(NULL_POINTER, "an attribute without values");
    Content &content = *holder->content;
    std::string what = "attribute " + std::to_string(name) + " of kind " + std::to_string(content.kind);
    if (content.is_final) return refuse(BAD_PARAM, what + " is set after it was finalised");
    const Rule &rule = rules().at(content.kind);
    auto found = rule.needed.find(name);
    if (found == rule.needed.end()) found = rule.possible.find(name);
    if (found == rule.possible.end()) return refuse(BAD_PARAM, what + " does not exist");
    if (!found->second.count(type)) return refuse(ATTRIBUTE_TYPE, what + " is not of type " + std::to_string(type));
    if (count < 1 && name != 302) return refuse(BAD_PARAM, what + " has no values");
    Attribute attribute{type, count, {}, {}};
    if (type == DESCRIPTOR) {
        for (int64_t i = 0; i < count; i++) {
            Holder *other = ((Holder *const *)values)[i];
            if (!other) return refuse(NULL_POINTER, what + " is null");
            if (!other->content->is_final) return refuse(NOT_FINALIZED, what + " refers to a descriptor that is not finalised");
            attribute.others.push_back(other->content);
        }
    } else {
        auto *bytes = (const unsigned char *)values;
        attribute.bytes.assign(bytes, bytes + count * size_of(type));
    }
    content.attributes[name] = attribute;
    return SUCCESS;
}

int cudnnBackendFinalize(Holder *holder) { return holder ? finalise(*holder->content) : refuse(NULL_POINTER, "a null descriptor"); }

int cudnnBackendGetAttribute(Holder *holder, int name, int type, int64_t asked, int64_t *given, void *out) {
    if (!holder) return refuse(NULL_POINTER, "a null descriptor");
    Content &content = *holder->content;
    std::string what = "attribute " + std::to_string(name) + " of kind " + std::to_string(content.kind);
    if (!content.is_final) return refuse(NOT_FINALIZED, what + " of a descriptor that is not finalised");
    if (asked > 0 && !out) return refuse(NULL_POINTER, what + " is asked for without a place");
    std::vector<Shared> results;
    const Attribute *attribute = content.find(name);
    if (content.kind == HEURISTIC && name == 202) results = configurations(content);
    else if (!attribute) return refuse(BAD_PARAM, what + " does not exist");
    else results = attribute->others;
    if ((attribute ? attribute->type : (int)DESCRIPTOR) != type)
        return refuse(ATTRIBUTE_TYPE, what + " is not of type " + std::to_string(type));
    if (type == DESCRIPTOR) {
        // The number that is told beforehand is what there may be at most.
        int64_t most = (int64_t)results.size() + (name == 202 && asked == 0);
        if (given) *given = asked == 0 ? most : std::min(asked, most);
        for (int64_t i = 0; i < std::min(asked, most); i++) {
            Holder *place = ((Holder **)out)[i];
            if (!place) return refuse(NULL_POINTER, what + " is asked for with a null descriptor");
            if (place->content->kind != results[i]->kind)
                return refuse(DESCRIPTOR_TYPE, what + " is asked for with another kind of descriptor");
            place->content = results[i];
        }
        return SUCCESS;
    }
    if (given) *given = asked == 0 ? attribute->count : std::min(asked, attribute->count);
    size_t bytes = std::min(asked, attribute->count) * size_of(type);
    if (bytes) memcpy(out, attribute->bytes.data(), bytes);
    return SUCCESS;
}

int cudnnBackendExecute(void *handle, Holder *plan_holder, Holder *pack_holder) {
    if (!handle || !plan_holder || !pack_holder) return refuse(NULL_POINTER, "a plan is run without a handle or a pack");
    const Content &plan = *plan_holder->content, &pack = *pack_holder->content;
    if (plan.kind != PLAN || pack.kind != VARIANT_PACK) return refuse(DESCRIPTOR_TYPE, "not a plan and a pack");
    if (!plan.is_final || !pack.is_final) return refuse(NOT_FINALIZED, "a plan or a pack is not finalised");
    const Content &engine = *plan.other(401)->other(300), &graph = *engine.other(1300);
    std::set<int> notes;
    for (int note : engine.values<int>(1303)) notes.insert(note);
    if (notes.count(NONDETERMINISTIC)) return refuse(EXECUTION_FAILED, "a nondeterministic engine was chosen");
    int64_t bytes = plan.values<int64_t>(402).at(0);
    void *workspace = pack.has(1003) ? pack.values<void *>(1003).at(0) : nullptr;
    if (bytes > 0 && !workspace) return refuse(NULL_POINTER, "a plan is run without its workspace");
    if (bytes > 0) memset(workspace, 0xff, bytes);
    std::map<int64_t, void *> pointers;
    auto ids = pack.values<int64_t>(1000);
    auto addresses = pack.values<void *>(1001);
    for (size_t i = 0; i < ids.size(); i++) pointers[ids[i]] = addresses[i];
    return run_graph(graph, pointers, notes.count(TENSOR_CORE));
}
}
