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
namespace finish_file {
#include "../../src/cuda/kernels/finish.cu"
}
namespace fused_attention_file {
#include "../../src/cuda/kernels/fused_attention.cu"
}
namespace heads_file {
#include "../../src/cuda/kernels/heads.cu"
}
namespace kmeans_file {
#include "../../src/cuda/kernels/kmeans.cu"
}
namespace neighbours_file {
#include "../../src/cuda/kernels/neighbours.cu"
}
namespace padding_file {
#include "../../src/cuda/kernels/padding.cu"
}
namespace pixels_file {
#include "../../src/cuda/kernels/pixels.cu"
}
namespace pool_file {
#include "../../src/cuda/kernels/pool.cu"
}
namespace sequence_file {
#include "../../src/cuda/kernels/sequence.cu"
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
#define ONLY_PACKED(file, name)                                                                                                 \
    {#name "_f32_packed", wrap(file::name##_f32_packed)}, {#name "_bf16_packed", wrap(file::name##_bf16_packed)}
#define PACKED(file, name) TYPES(file, name), ONLY_PACKED(file, name)

const std::map<std::string, Kernel> &own_kernels() {
    static const std::map<std::string, Kernel> kernels = {
        {"adam", wrap(adam_file::adam)},
        PACKED(channels_file, affine),
        PACKED(channels_file, mask_rows),
        {"sum_chunks", wrap(channels_file::sum_chunks)},
        ONLY_PACKED(depthwise_file, depthwise_3),
        ONLY_PACKED(depthwise_file, depthwise_5),
        PACKED(depthwise_file, depthwise_any),
        ONLY_PACKED(depthwise_file, depthwise_input_3),
        ONLY_PACKED(depthwise_file, depthwise_input_5),
        PACKED(depthwise_file, depthwise_input_any),
        ONLY_PACKED(depthwise_file, depthwise_weight_3),
        ONLY_PACKED(depthwise_file, depthwise_weight_5),
        TYPES(depthwise_file, depthwise_weight_any),
        {"finish_layers", wrap(finish_file::finish_layers)},
        {"fused_attention_32", wrap(fused_attention_file::fused_attention_32)},
        {"fused_attention_64", wrap(fused_attention_file::fused_attention_64)},
        PACKED(heads_file, heads_apart),
        PACKED(heads_file, heads_together),
        {"nearest_centroids", wrap(kmeans_file::nearest_centroids)},
        {"centroid_distances", wrap(kmeans_file::centroid_distances)},
        {"prepare_rows", wrap(neighbours_file::prepare_rows)},
        {"select_rows_few", wrap(neighbours_file::select_rows_few)},
        {"select_rows_many", wrap(neighbours_file::select_rows_many)},
        {"measure_rows_few", wrap(neighbours_file::measure_rows_few)},
        {"measure_rows_many", wrap(neighbours_file::measure_rows_many)},
        TYPES(padding_file, pad),
        TYPES(padding_file, crop),
        PACKED(padding_file, gather),
        PACKED(padding_file, scatter),
        TYPES(padding_file, columns),
        PACKED(pixels_file, normalise_pixels),
        PACKED(pool_file, max_pool),
        PACKED(pool_file, average_pool),
        PACKED(pool_file, pool_backward),
        PACKED(pool_file, global_pool),
        PACKED(pool_file, global_pool_backward),
        PACKED(sequence_file, embed_tokens),
        PACKED(sequence_file, embed_tokens_backward),
        PACKED(tokens_file, layer_norm),
        PACKED(tokens_file, layer_norm_backward),
        PACKED(tokens_file, softmax),
        PACKED(tokens_file, softmax_backward),
        PACKED(tokens_file, gelu),
        PACKED(tokens_file, gelu_backward),
        TYPES(weights_file, fold),
        {"fold_depthwise", wrap(weights_file::fold_depthwise)},
    };
    return kernels;
}
