//! The public operations: each checks the shapes of its arguments, makes them contiguous and hands them to
//! [`crate::dispatch`].
//!
//! Reading order: `affine`, `convolution`, `pooling`, `linear`, `normalise`, `tokens`, `layout`, `pixels`.

mod affine;
mod convolution;
mod layout;
mod linear;
mod normalise;
mod pixels;
mod pooling;
mod tokens;

pub use affine::affine;
pub use convolution::{conv2d, conv2d_affine, conv2d_norm};
pub use layout::nchw_to_nhwc;
pub use linear::{linear, linear_in, linear_sum, pairwise_distances};
pub use normalise::l2_normalise;
pub use pixels::PixelBuffer;
pub use pooling::{avg_pool2d, global_avg_pool, global_max_pool, max_pool2d};
pub use tokens::{attention, embed_tokens, gelu, layer_norm, residual_sum, softmax};
