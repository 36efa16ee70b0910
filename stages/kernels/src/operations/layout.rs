//! Conversion between memory layouts.

use candle_core::Tensor;

use crate::error::Result;

/// `[batch, channels, height, width]` to contiguous `[batch, height, width, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions.
pub fn nchw_to_nhwc(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}
