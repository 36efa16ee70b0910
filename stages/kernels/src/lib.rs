//! Fast CPU kernels as candle custom operations, exact neighbours and Lloyd iterations.
//!
//! Activations are contiguous NHWC `f32` tensors, weights are torchvision's OIHW. Every function carries gradients on
//! every device: on a CPU through kernels of our own, elsewhere through candle's operations ([`composed`]).
//! Results are bit-identical for any number of rayon threads on one instruction set.
//!
//! The crate knows neither models, losses nor tables, and builds no thread pool: it uses rayon's current one.

pub mod adam;
pub mod affine;
mod composed;
pub mod conv;
mod distance;
pub mod error;
mod gate;
pub mod geometry;
pub mod kmeans;
pub mod linear;
pub mod memory;
pub mod neighbours;
pub mod normalise;
mod panel;
pub mod pool;
mod prefetch;
mod scratch;
mod screen;
mod share;
mod simd;
mod tape;
mod tile;
mod values;
mod vectorise;
mod window;
mod winograd;

pub use adam::{AdamStep, adam_step};
pub use affine::{Activation, affine};
pub use conv::{conv2d, conv2d_affine};
pub use error::{Error, Result};
pub use geometry::{Conv2d, Padding};
pub use linear::{linear, pairwise_distances};
pub use memory::LargeBlocks;
pub use normalise::l2_normalise;
pub use pool::{avg_pool2d, global_avg_pool, global_max_pool, max_pool2d};
pub use simd::arithmetic;
pub use tape::backward;

use candle_core::Tensor;

/// `[batch, channels, height, width]` to contiguous `[batch, height, width, channels]`.
///
/// # Errors
/// If `x` has not four dimensions.
pub fn nchw_to_nhwc(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}
