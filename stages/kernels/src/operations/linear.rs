//! The fully connected layer and Euclidean distances between two sets of rows.

use candle_core::Tensor;

use crate::dispatch;
use crate::error::{Result, shape_error};
use crate::precision::Precision;

/// `x · weightᵀ + bias`: x `[…, k]` of at least two dimensions, weight `[out, k]`, bias `[out]`, result `[…, out]`.
///
/// # Errors
/// If the shapes do not match.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_in(Precision::F32, x, weight, bias)
}

/// [`linear`] in a precision, which a GPU computes with. The type of the result is that of `x`; `weight` and `bias` may be `f32` under
/// activations of another type.
///
/// # Errors
/// If the shapes do not match.
pub fn linear_in(precision: Precision, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    check_linear(x, weight, bias)?;
    let bias = bias.map(Tensor::contiguous).transpose()?;
    Ok(dispatch::linear(precision, &x.contiguous()?, &weight.contiguous()?, bias.as_ref(), None)?)
}

/// `residual + x · weightᵀ + bias`, as [`linear_in`]; the residual is `[…, out]`.
///
/// # Errors
/// If the shapes do not match.
pub fn linear_sum(
    precision: Precision,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: &Tensor,
) -> Result<Tensor> {
    check_linear(x, weight, bias)?;
    let (dims, inner) = (residual.dims(), x.rank() - 1);
    if dims.len() != x.rank() || dims[..inner] != x.dims()[..inner] || dims[inner] != weight.dim(0)? {
        return Err(shape_error("linear", format!("x is {:?}, `residual` {dims:?}", x.dims())));
    }
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let residual = residual.contiguous()?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    Ok(dispatch::linear(precision, &x, &weight, bias.as_ref(), Some(&residual))?)
}

fn check_linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let inner = x.dims().last().copied().filter(|_| x.rank() > 1);
    let (out, weight_inner) = weight.dims2()?;
    if inner != Some(weight_inner) || bias.is_some_and(|bias| bias.dims() != [out]) {
        return Err(shape_error(
            "linear",
            format!("x is {:?}, `weight` {:?}, `bias` {:?}", x.dims(), weight.dims(), bias.map(Tensor::dims)),
        ));
    }
    Ok(())
}

/// Euclidean distances, not squared: x `[m, d]`, y `[n, d]`, result `[m, n]`.
///
/// Formula: `d_ij = √max(‖x_i‖² + ‖y_j‖² − 2 x_i·y_j, 1e-12)`.
/// The gradient of a pair at the lower bound is zero, so that coinciding rows give no NaN.
///
/// # Errors
/// If the rows of `x` and `y` differ in length.
pub fn pairwise_distances(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (_, dimension) = x.dims2()?;
    let (_, other) = y.dims2()?;
    if dimension != other {
        return Err(shape_error(
            "pairwise_distances",
            format!("rows of `x` have {dimension} values, rows of `y` {other}"),
        ));
    }
    Ok(dispatch::pairwise_distances(&x.contiguous()?, &y.contiguous()?)?)
}
