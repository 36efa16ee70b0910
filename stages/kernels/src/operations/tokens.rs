//! Layers of transformers: layer normalisation, softmax and GELU over the last axis of a tensor of any rank, attention, and the sum with
//! which a block ends.
//!
//! Formulas: `norm(x) = w ∘ (x − mean x) / √(var x + ε) + b`; `softmax(x)_i = exp(f x_i) / Σ_j exp(f x_j)`;
//! `gelu(x) = x Φ(x)`, with the normal distribution function Φ.
//! Sources: Ba et al. 2016, arXiv 1607.06450; Hendrycks and Gimpel 2016, arXiv 1606.08415 (the exact form, not the tanh
//! approximation).

use candle_core::Tensor;

use crate::dispatch;
use crate::error::{Result, shape_error};
use crate::precision::Precision;

/// Layer normalisation over the last axis, computed in `f32` and returned in the type of `x`; `weight` and `bias` are `[width]`.
///
/// # Errors
/// If the shapes do not match.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = x.dims().last().copied();
    if width.is_none_or(|width| weight.dims() != [width] || bias.dims() != [width]) {
        let (x, weight, bias) = (x.dims(), weight.dims(), bias.dims());
        return Err(shape_error("layer_norm", format!("x is {x:?}, `weight` {weight:?}, `bias` {bias:?}")));
    }
    Ok(dispatch::layer_norm(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, epsilon)?)
}

/// `softmax(factor · x)` over the last axis, computed in `f32` and returned in the type of `x`.
///
/// # Errors
/// If `x` is a scalar or has no elements.
pub fn softmax(x: &Tensor, factor: f64) -> Result<Tensor> {
    if x.rank() == 0 || x.elem_count() == 0 {
        return Err(shape_error("softmax", format!("x is {:?}, which has no rows of at least one element", x.dims())));
    }
    Ok(dispatch::softmax(&x.contiguous()?, factor)?)
}

/// `x Φ(x)` for each element.
///
/// # Errors
/// If candle fails.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Ok(dispatch::gelu(&x.contiguous()?)?)
}

/// `softmax(q kᵀ / √d) v` in each of `heads` heads of d channels: `[batch, tokens, 3 · width]`, which is q, k and v, each head by head, to
/// `[batch, tokens, width]`.
///
/// # Errors
/// If the last axis is not three times as long as a multiple of `heads`.
pub fn attention(qkv: &Tensor, heads: usize, precision: Precision) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    if batch * tokens * width * heads == 0 || width % (3 * heads) != 0 {
        let problem =
            format!("`qkv` is {:?} for {heads} heads, expected [batch, tokens, 3 · heads · channels]", qkv.dims());
        return Err(shape_error("attention", problem));
    }
    Ok(dispatch::attention(&qkv.contiguous()?, heads, precision)?)
}

/// The tokens of a transformer: a class token before the patches, and a position added to each. Patches `[batch, patches, width]`, class
/// token `[1, 1, width]`, positions `[1, 1 + patches, width]`, result `[batch, 1 + patches, width]` in the type of the patches.
///
/// # Errors
/// If the shapes do not match.
pub fn embed_tokens(patches: &Tensor, class: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (_, count, width) = patches.dims3()?;
    if class.dims() != [1, 1, width] || positions.dims() != [1, count + 1, width] {
        let (patches, class, positions) = (patches.dims(), class.dims(), positions.dims());
        let problem = format!("patches are {patches:?}, `class` {class:?}, `positions` {positions:?}");
        return Err(shape_error("embed_tokens", problem));
    }
    Ok(dispatch::embed_tokens(&patches.contiguous()?, &class.contiguous()?, &positions.contiguous()?)?)
}

/// `x + scale ∘ y` for tensors of one shape, with a scale for each channel of the last axis or without one.
///
/// # Errors
/// If the shapes do not match.
pub fn residual_sum(x: &Tensor, y: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    let channels = &x.dims()[x.rank().saturating_sub(1)..];
    if x.dims() != y.dims() || scale.is_some_and(|scale| scale.dims() != channels) {
        let (x, y, scale) = (x.dims(), y.dims(), scale.map(Tensor::dims));
        return Err(shape_error("residual_sum", format!("x is {x:?}, y {y:?}, `scale` {scale:?}")));
    }
    let scale = scale.map(Tensor::contiguous).transpose()?;
    Ok(dispatch::residual_sum(&x.contiguous()?, &y.contiguous()?, scale.as_ref())?)
}
