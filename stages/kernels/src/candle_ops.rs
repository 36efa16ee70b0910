//! Every operation composed of candle's own: runs on devices and element types that have no kernels of their own, and is
//! the reference that kernels are tested against.
//!
//! Shapes are those of the public functions, which check them and make the tensors contiguous.

use candle_core::{D, DType, Result, Tensor};

use crate::activation::{Activation, RELU6_CEILING};
use crate::geometry::{ConvGeometry, Padding, PoolWindow, Reduction};
use crate::operands::ConvOperands;

/// Smallest squared distance whose root is taken: the root has no finite gradient at zero.
const SQUARED_DISTANCE_FLOOR: f64 = 1e-12;

/// Smallest norm that a row is divided by, PyTorch's default in `normalize`.
const NORM_FLOOR: f64 = 1e-12;

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

/// `act(scale ∘ conv(x, weight) + shift + residual)` through candle's NCHW convolution.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    let ConvOperands { x, weight, scale, shift, residual } = operands;
    let dtype = x.dtype();
    let y = match scale {
        // Where the activations have another type, the weight is rounded to it after it was multiplied by the scale.
        Some(scale) if weight.dtype() != dtype => {
            let scaled = weight.broadcast_mul(&scale.reshape((scale.elem_count(), 1, 1, 1))?)?;
            conv2d(x, &scaled.to_dtype(dtype)?, geometry)?
        }
        Some(scale) => conv2d(x, weight, geometry)?.broadcast_mul(&scale.to_dtype(dtype)?)?,
        None => conv2d(x, &weight.to_dtype(dtype)?, geometry)?,
    };
    let y = match shift {
        Some(shift) => y.broadcast_add(&shift.to_dtype(dtype)?)?,
        None => y,
    };
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    activate(&y, activation)
}

/// Rows and columns that no window reaches are cut off first: candle's backward pass derives the output padding of the
/// transposed convolution from the height alone, and would fail on an image whose width leaves another remainder.
fn conv2d(x: &Tensor, weight: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
    let ConvGeometry { out: [_, rows, columns, _], kernel, options, .. } = *geometry;
    let reach = |out: usize, kernel: usize| (out - 1) * options.stride + kernel;
    pad(x, options.padding, 0.0)?
        .narrow(1, 0, reach(rows, kernel.0))?
        .narrow(2, 0, reach(columns, kernel.1))?
        .permute((0, 3, 1, 2))?
        .contiguous()?
        .conv2d(weight, 0, options.stride, 1, options.groups)?
        .permute((0, 2, 3, 1))?
        .contiguous() // [batch, rows, columns, out]
}

/// `act(scale ∘ x + shift + residual)`.
pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let y = x.broadcast_mul(&scale.to_dtype(x.dtype())?)?.broadcast_add(&shift.to_dtype(x.dtype())?)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    activate(&y, activation)
}

fn activate(y: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::None => Ok(y.clone()),
        Activation::Relu => relu(y),
        Activation::Relu6 => {
            let ceiling = (y.zeros_like()? + f64::from(RELU6_CEILING))?;
            y.ge(&ceiling)?.where_cond(&ceiling, &relu(y)?)
        }
    }
}

/// `max(y, 0)` as a selection, so that the gradient at zero is zero as in the kernels and in PyTorch. Candle's `relu` has
/// gradient 1 there, and its `clamp` 1/2 at both bounds.
fn relu(y: &Tensor) -> Result<Tensor> {
    let zeros = y.zeros_like()?.detach();
    y.le(&zeros)?.where_cond(&zeros, y)
}

/// Maximum or mean under a sliding window.
///
/// Deviation: equal maxima share the gradient, where the kernels and PyTorch give all of it to the first.
pub(crate) fn pool2d(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    match reduction {
        Reduction::Max => {
            // Candle's own max-pool has no gradient when windows overlap.
            let (first, others) = shifted_views(x, window, f64::NEG_INFINITY)?;
            others.iter().try_fold(first, |best, view| best.maximum(view))
        }
        Reduction::Average => {
            let (first, others) = shifted_views(x, window, 0.0)?;
            let sum = others.iter().try_fold(first, |sum, view| sum + view)?;
            sum / (window.kernel.0 * window.kernel.1) as f64
        }
    }
}

/// The shifted, strided views of a padded image, one for each tap of the window: position `(i, j)` of the view of tap
/// `(a, b)` is pixel `(i · stride + a, j · stride + b)`. The first view, which always exists, is returned separately.
fn shifted_views(x: &Tensor, window: PoolWindow, fill: f64) -> Result<(Tensor, Vec<Tensor>)> {
    let PoolWindow { dims: [batch, height, width, channels], kernel, stride, padding, out } = window;
    let needed = |out: usize, kernel: usize| out * stride + kernel - 1;
    let bottom = needed(out.0, kernel.0).saturating_sub(height + padding.top);
    let right = needed(out.1, kernel.1).saturating_sub(width + padding.left);
    let padded = pad(x, Padding { bottom, right, ..padding }, fill)?;
    let view = |a: usize, b: usize| -> Result<Tensor> {
        padded
            .narrow(1, a, out.0 * stride)?
            .narrow(2, b, out.1 * stride)?
            .contiguous()?
            .reshape((batch, out.0, stride, out.1, stride * channels))?
            .narrow(2, 0, 1)?
            .narrow(4, 0, channels)?
            .reshape((batch, out.0, out.1, channels))
    };
    let taps = (0..kernel.0).flat_map(|a| (0..kernel.1).map(move |b| (a, b)));
    let others = taps.skip(1).map(|(a, b)| view(a, b)).collect::<Result<_>>()?;
    Ok((view(0, 0)?, others))
}

/// Maximum or mean over all pixels.
pub(crate) fn global_pool(x: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let pixels = x.flatten(1, 2)?; // [batch, pixels, channels]
    match reduction {
        Reduction::Max => pixels.max(1),
        Reduction::Average => pixels.mean(1),
    }
}

/// `x · weightᵀ + bias`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.to_dtype(x.dtype())?.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.to_dtype(x.dtype())?),
        None => Ok(y),
    }
}

/// Euclidean distances of all pairs of rows, given their inner `products` `[m, n]`.
pub(crate) fn distances(x: &Tensor, y: &Tensor, products: Tensor) -> Result<Tensor> {
    let x_norms = x.sqr()?.sum(1)?.reshape((x.dim(0)?, 1))?;
    let y_norms = y.sqr()?.sum(1)?.reshape((1, y.dim(0)?))?;
    let squared = x_norms.broadcast_add(&y_norms)?.sub(&(products * 2.0)?)?;
    at_least(&squared, SQUARED_DISTANCE_FLOOR)?.sqrt()
}

/// Each row divided by its norm. A row whose squared norm overflows becomes NaN: divided by an infinite norm it would be zero, which
/// looks like a valid result.
pub(crate) fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    let squared = x.sqr()?.sum(1)?.reshape((x.dim(0)?, 1))?;
    // Zero, or NaN where the sum is infinite.
    let overflow = (squared.detach() - squared.detach())?;
    let squared = (squared + overflow)?;
    // The bound is applied before the root, which has no finite gradient at zero.
    x.broadcast_div(&at_least(&squared, NORM_FLOOR * NORM_FLOOR)?.sqrt()?)
}

/// Layer normalisation over the last axis, computed in `f32`.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(wide(dtype))?;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)?.to_dtype(dtype)
}

/// A class token before the patches, and a position added to each token.
pub(crate) fn embed_tokens(patches: &Tensor, class: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (batch, _, width) = patches.dims3()?;
    let dtype = patches.dtype();
    let class = class.to_dtype(dtype)?.broadcast_as((batch, 1, width))?;
    let tokens = Tensor::cat(&[&class, patches], 1)?;
    tokens.broadcast_add(&positions.to_dtype(dtype)?)
}

/// `softmax(factor · x)` over the last axis, computed in `f32`.
pub(crate) fn softmax(x: &Tensor, factor: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = (x.to_dtype(wide(dtype))? * factor)?;
    // Subtracting the maximum only prevents overflow: it cancels out and needs no gradient.
    let exponentials = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?.to_dtype(dtype)
}

/// Attention of `heads` heads over `[batch, tokens, 3 · width]`: queries, keys and values.
pub(crate) fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let (width, head) = (width / 3, width / 3 / heads);
    let qkv = qkv.reshape((batch, tokens, 3, heads, head))?;
    let part = |index| -> Result<Tensor> {
        qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous() // [batch, heads, tokens, head]
    };
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let shares = softmax(&q.matmul(&k.t()?)?, (head as f64).powf(-0.5))?; // [batch, heads, tokens, tokens]
    shares.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, width))
}

/// The type that sums over activations of a type are computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `max(x, floor)` as a selection, so that the gradient at and below the bound is zero. NaN stays NaN.
fn at_least(x: &Tensor, floor: f64) -> Result<Tensor> {
    let floor = (x.zeros_like()? + floor)?;
    x.le(&floor)?.where_cond(&floor, x)
}
