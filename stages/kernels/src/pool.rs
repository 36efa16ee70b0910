//! Pooling over NHWC activations: maximum and average under a window, and over the whole image.

use candle_core::Tensor;

use crate::composed;
use crate::error::Result;
use crate::geometry::{Padding, positions};

/// Maximum under a `kernel` × `kernel` window, which may overlap its neighbours; the padding is −∞.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let padding = padding.into();
    let out = output_size("max_pool2d", x, kernel, stride, padding)?;
    Ok(composed::max_pool2d(x, kernel, stride, padding, out)?)
}

/// Mean under a `kernel` × `kernel` window; padding counts as zeros, as in PyTorch's default.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let padding = padding.into();
    let out = output_size("avg_pool2d", x, kernel, stride, padding)?;
    Ok(composed::avg_pool2d(x, kernel, stride, padding, out)?)
}

/// Mean over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` has not four dimensions.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    Ok(x.reshape((batch, height * width, channels))?.mean(1)?)
}

/// Maximum over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` has not four dimensions.
pub fn global_max_pool(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    Ok(x.reshape((batch, height * width, channels))?.max(1)?)
}

fn output_size(
    operation: &'static str,
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: Padding,
) -> Result<(usize, usize)> {
    let (_, height, width, _) = x.dims4()?;
    let rows = positions(operation, height, padding.top, padding.bottom, kernel, stride)?;
    let columns = positions(operation, width, padding.left, padding.right, kernel, stride)?;
    Ok((rows, columns))
}
