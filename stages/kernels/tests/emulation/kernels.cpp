// Our kernels, compiled for the CPU from the same source.
#include "kernels.hpp"

#include "../../src/cuda/kernels/math.cuh"

namespace adam_file {
#include "../../src/cuda/kernels/adam.cu"
}
namespace channels_file {
#include "../../src/cuda/kernels/channels.cu"
}
namespace depthwise_file {
#include "../../src/cuda/kernels/depthwise.cu"
}
namespace pool_file {
#include "../../src/cuda/kernels/pool.cu"
}
namespace tokens_file {
#include "../../src/cuda/kernels/tokens.cu"
}
namespace weights_file {
#include "../../src/cuda/kernels/weights.cu"
}

namespace {
template <class... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<A> *)arguments[I]...);
}
template <class... A> Kernel wrap(void (*kernel)(A...)) {
    return [kernel](void **arguments) { call(kernel, arguments, std::index_sequence_for<A...>()); };
}
}  // namespace

#define TYPES(file, name) {#name "_f32", wrap(file::name##_f32)}, {#name "_bf16", wrap(file::name##_bf16)}
#define PACKED(file, name)                                                                                                      \
    TYPES(file, name), {#name "_f32_packed", wrap(file::name##_f32_packed)}, {#name "_bf16_packed", wrap(file::name##_bf16_packed)}

const std::map<std::string, Kernel> &own_kernels() {
    static const std::map<std::string, Kernel> kernels = {
        {"adam", wrap(adam_file::adam)},
        PACKED(channels_file, affine),
        PACKED(channels_file, mask_rows),
        {"sum_chunks", wrap(channels_file::sum_chunks)},
        PACKED(depthwise_file, depthwise),
        PACKED(depthwise_file, depthwise_input),
        TYPES(depthwise_file, depthwise_weight),
        TYPES(pool_file, max_pool),
        TYPES(pool_file, average_pool),
        TYPES(pool_file, pool_backward),
        TYPES(pool_file, global_pool),
        TYPES(pool_file, global_pool_backward),
        TYPES(tokens_file, layer_norm),
        TYPES(tokens_file, layer_norm_backward),
        TYPES(tokens_file, softmax),
        TYPES(tokens_file, softmax_backward),
        TYPES(tokens_file, gelu),
        TYPES(tokens_file, gelu_backward),
        TYPES(weights_file, fold),
        TYPES(weights_file, unfold),
        {"frozen_norm", wrap(weights_file::frozen_norm)},
        {"frozen_norm_backward", wrap(weights_file::frozen_norm_backward)},
        {"fold_depthwise", wrap(weights_file::fold_depthwise)},
        {"unfold_depthwise", wrap(weights_file::unfold_depthwise)},
    };
    return kernels;
}
