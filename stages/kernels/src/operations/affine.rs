//! Frozen batch normalisation: scale and shift per channel, residual sum and activation in one pass.
//!
//! Formula: `y = act(scale ∘ x + shift + residual)`.
//! Shapes: x and residual `[…, channels]`, scale and shift `[channels]`.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::dispatch;
use crate::error::{Result, shape_error};

/// `act(scale ∘ x + shift + residual)`, with gradients for all four tensors.
///
/// # Errors
/// If `scale` or `shift` is not `[channels]`, or `residual` has another shape than `x`.
pub fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    check_affine("affine", x.dims(), scale, shift, residual)?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x, scale, shift) = (x.contiguous()?, scale.contiguous()?, shift.contiguous()?);
    Ok(dispatch::affine(&x, &scale, &shift, residual.as_ref(), activation)?)
}

/// Checks scale, shift and residual against the shape of the tensor that they are applied to.
pub(super) fn check_affine(
    operation: &'static str,
    dims: &[usize],
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
) -> Result<()> {
    let Some(&channels) = dims.last() else {
        return Err(shape_error(operation, "a scalar has no channels"));
    };
    for (name, tensor) in [("scale", scale), ("shift", shift)] {
        if tensor.dims() != [channels] {
            return Err(shape_error(operation, format!("`{name}` is {:?}, expected [{channels}]", tensor.dims())));
        }
    }
    match residual {
        Some(residual) if residual.dims() != dims => {
            Err(shape_error(operation, format!("`residual` is {:?}, expected {dims:?}", residual.dims())))
        }
        _ => Ok(()),
    }
}
