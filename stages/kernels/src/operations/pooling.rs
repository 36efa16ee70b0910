//! Pooling over NHWC activations: maximum and average under a window, and over the whole image.
//!
//! Formula: `y[n,i,j,c] = max_{a,b} x[n, i·s + a − top, j·s + b − left, c]`, or the sum over the window divided by its size.
//! Shapes: x `[batch, height, width, channels]`, y `[batch, rows, columns, channels]`.

use candle_core::Tensor;

use crate::dispatch;
use crate::error::Result;
use crate::geometry::{Padding, PoolWindow, Reduction};

/// Maximum under a `kernel` × `kernel` window; windows may overlap, and padding is −∞.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let window = PoolWindow::sliding("max_pool2d", x.dims4()?, kernel, stride, padding.into())?;
    Ok(dispatch::pool2d(&x.contiguous()?, window, Reduction::Max)?)
}

/// Mean under a `kernel` × `kernel` window; padding counts as zeros, as in PyTorch's default.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let window = PoolWindow::sliding("avg_pool2d", x.dims4()?, kernel, stride, padding.into())?;
    Ok(dispatch::pool2d(&x.contiguous()?, window, Reduction::Average)?)
}

/// Mean over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions, or has no pixels.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let window = PoolWindow::global("global_avg_pool", x.dims4()?)?;
    Ok(dispatch::global_pool(&x.contiguous()?, window, Reduction::Average)?)
}

/// Maximum over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions, or has no pixels.
pub fn global_max_pool(x: &Tensor) -> Result<Tensor> {
    let window = PoolWindow::global("global_max_pool", x.dims4()?)?;
    Ok(dispatch::global_pool(&x.contiguous()?, window, Reduction::Max)?)
}
