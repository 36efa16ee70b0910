//! Frozen batch-norm: scale and shift per channel, residual sum and activation in one pass.
//!
//! Formula: `y = act(scale ∘ x + shift + residual)`.
//! Shapes: x and residual `[…, channels]`, scale and shift `[channels]`.

use candle_core::Tensor;

use crate::composed;
use crate::error::{Result, misfit};

/// What is applied to a sum before it leaves a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`, as in the EfficientNet-Lite family.
    Relu6,
}

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
    check("affine", x.dims(), scale, shift, residual)?;
    Ok(composed::affine(x, scale, shift, residual, activation)?)
}

/// Checks scale, shift and residual against the shape of what they are applied to.
pub(crate) fn check(
    operation: &'static str,
    dims: &[usize],
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
) -> Result<()> {
    let Some(&channels) = dims.last() else {
        return Err(misfit(operation, "a scalar has no channels"));
    };
    for (name, tensor) in [("scale", scale), ("shift", shift)] {
        if tensor.dims() != [channels] {
            return Err(misfit(operation, format!("`{name}` is {:?}, expected [{channels}]", tensor.dims())));
        }
    }
    match residual {
        Some(residual) if residual.dims() != dims => {
            Err(misfit(operation, format!("`residual` is {:?}, expected {dims:?}", residual.dims())))
        }
        _ => Ok(()),
    }
}
