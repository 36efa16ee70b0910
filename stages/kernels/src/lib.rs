//! Differentiable tensor operations with fast CPU kernels, exact nearest neighbours and k-means.
//!
//! Activations are NHWC `f32` tensors, weights have torchvision's OIHW layout. Every operation has gradients on every device: `f32`
//! on the CPU runs the kernels in `cpu`, `f32` and `bf16` on an NVIDIA GPU those in `cuda`, everything else runs `candle_ops`, the
//! same operations composed of candle's own. `dispatch` makes that choice. Inputs may be strided; operations copy them to
//! contiguous memory first. Results are bit-identical for any number of rayon threads on one instruction set.
//!
//! The crate knows neither models, losses nor tables, and builds no thread pool: it uses rayon's current one.
//!
//! Reading order: `operations` (the public functions), `dispatch`, `candle_ops` (the reference), `cpu` and `cuda` (the kernels),
//! `tape` (autograd); then [`neighbours`] and [`kmeans`] over `prefilter`.

mod activation;
pub mod adam;
mod allocator;
mod candle_ops;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod dispatch;
mod distance;
mod error;
mod geometry;
mod gpu;
mod kept_weights;
pub mod kmeans;
mod lock;
pub mod neighbours;
mod operands;
mod operations;
mod pixels;
mod precision;
mod prefetch;
mod prefilter;
mod simd;
mod tape;
mod vectorise;

pub use activation::Activation;
pub use adam::{AdamStep, AdamWork, adam_step};
pub use allocator::CachingAllocator;
pub use dispatch::fused_adam;
pub use error::{Error, Result};
pub use geometry::{Conv2d, Padding};
pub use gpu::{gpu_arithmetic, gpu_count, is_out_of_memory, open_gpu, take_gpu_peak};
pub use kept_weights::KeptWeights;
pub use operands::FrozenNorm;
pub use operations::{
    PixelBuffer, affine, attention, avg_pool2d, conv2d, conv2d_affine, conv2d_norm, embed_tokens, gelu,
    global_avg_pool, global_max_pool, l2_normalise, layer_norm, linear, linear_in, linear_sum, max_pool2d,
    nchw_to_nhwc, pairwise_distances, residual_sum, softmax,
};
pub use pixels::PixelNorm;
pub use precision::Precision;
pub use prefilter::prefilter_name;
pub use simd::{arithmetic, instruction_sets};
pub use tape::backward;
