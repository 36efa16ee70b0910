//! Every operation composed of candle's own: what runs on CUDA, and what each CPU kernel is checked against.
//!
//! Shapes are those of the public functions; arguments were checked there.

use candle_core::{Result, Tensor};

use crate::affine::Activation;
use crate::geometry::{Conv2d, Padding};
use crate::tile::RELU6_CEILING;

/// Pads rows and columns of an NHWC tensor with `value`.
fn pad(x: &Tensor, padding: Padding, value: f64) -> Result<Tensor> {
    let along = |x: Tensor, axis: usize, before: usize, after: usize| -> Result<Tensor> {
        let filled = |size: usize| -> Result<Tensor> {
            let mut dims = x.dims().to_vec();
            dims[axis] = size;
            Tensor::full(value as f32, dims, x.device())?.to_dtype(x.dtype())
        };
        let mut parts = Vec::with_capacity(3);
        if before > 0 {
            parts.push(filled(before)?);
        }
        parts.push(x.clone());
        if after > 0 {
            parts.push(filled(after)?);
        }
        if parts.len() == 1 {
            return Ok(x);
        }
        Tensor::cat(&parts, axis)
    };
    let x = along(x.clone(), 1, padding.top, padding.bottom)?;
    along(x, 2, padding.left, padding.right)
}

/// `conv2d` through candle's NCHW convolution.
///
/// Rows and columns that no window reaches are cut off first: candle's backward pass derives the output padding of
/// the transposed convolution from the height alone, and would fail on an image whose width leaves another rest.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2d,
    (out_height, out_width): (usize, usize),
) -> Result<Tensor> {
    let (_, _, kernel_height, kernel_width) = weight.dims4()?;
    let reach = |out: usize, kernel: usize| (out - 1) * options.stride + kernel;
    let padded = pad(x, options.padding, 0.0)?.narrow(1, 0, reach(out_height, kernel_height))?.narrow(
        2,
        0,
        reach(out_width, kernel_width),
    )?;
    let y = padded
        .permute((0, 3, 1, 2))?
        .contiguous()?
        .conv2d(weight, 0, options.stride, 1, options.groups)?
        .permute((0, 2, 3, 1))?
        .contiguous()?; // [batch, out_height, out_width, out]
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let y = x.broadcast_mul(scale)?.broadcast_add(shift)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    match activation {
        Activation::None => Ok(y),
        Activation::Relu => at_least_zero(&y),
        Activation::Relu6 => {
            let ceiling = (y.zeros_like()? + f64::from(RELU6_CEILING))?;
            y.ge(&ceiling)?.where_cond(&ceiling, &at_least_zero(&y)?)
        }
    }
}

/// `max(y, 0)` by a choice whose derivative at zero is zero, as the kernels' and PyTorch's; candle's own has one there, and its clamp
/// a half at both bounds.
fn at_least_zero(y: &Tensor) -> Result<Tensor> {
    let zeros = y.zeros_like()?.detach();
    y.le(&zeros)?.where_cond(&zeros, y)
}

/// All `kernel`² shifted, strided views of a padded image: window position `(i, j)` of view `(a, b)` is pixel
/// `(i · stride + a, j · stride + b)`.
fn shifted(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: Padding,
    (out_height, out_width): (usize, usize),
    value: f64,
) -> Result<Vec<Tensor>> {
    let (batch, height, width, channels) = x.dims4()?;
    let need = |out: usize| out * stride + kernel - 1;
    let bottom = need(out_height).saturating_sub(height + padding.top);
    let right = need(out_width).saturating_sub(width + padding.left);
    let padded = pad(x, Padding { bottom, right, ..padding }, value)?;
    let mut views = Vec::with_capacity(kernel * kernel);
    for a in 0..kernel {
        for b in 0..kernel {
            let view = padded
                .narrow(1, a, out_height * stride)?
                .narrow(2, b, out_width * stride)?
                .contiguous()?
                .reshape((batch, out_height, stride, out_width, stride * channels))?
                .narrow(2, 0, 1)?
                .narrow(4, 0, channels)?
                .reshape((batch, out_height, out_width, channels))?;
            views.push(view);
        }
    }
    Ok(views)
}

/// Maximum of shifted views: candle's own max-pool has no gradient when windows overlap.
///
/// Deviation: of equal maxima each gets a share of the gradient, where PyTorch gives it all to the first.
pub(crate) fn max_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: Padding,
    out: (usize, usize),
) -> Result<Tensor> {
    let views = shifted(x, kernel, stride, padding, out, f64::NEG_INFINITY)?;
    let mut views = views.into_iter();
    let first = views.next().expect("a window has at least one position");
    views.try_fold(first, |best, view| best.maximum(&view))
}

pub(crate) fn avg_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: Padding,
    out: (usize, usize),
) -> Result<Tensor> {
    let views = shifted(x, kernel, stride, padding, out, 0.0)?;
    let mut views = views.into_iter();
    let first = views.next().expect("a window has at least one position");
    let sum = views.try_fold(first, |sum, view| sum + view)?;
    sum / (kernel * kernel) as f64
}
