//! Convolution over NHWC activations with torchvision's OIHW weights.
//!
//! Formula: `y[n,i,j,o] = Σ_{a,b,c} x[n, i·s + a − top, j·s + b − left, c] · w[o,c,a,b]`.
//! Shapes: x `[batch, height, width, channels]`, w `[out, channels / groups, kernel_height, kernel_width]`,
//! y `[batch, out_height, out_width, out]`.

use candle_core::Tensor;

use super::affine::check_affine;
use crate::activation::Activation;
use crate::dispatch;
use crate::error::{Result, shape_error};
use crate::geometry::{Conv2d, ConvGeometry};
use crate::operands::{ConvOperands, FrozenNorm};

/// Convolution with an optional bias per output channel; gradients for `x`, `weight` and `bias`.
///
/// # Errors
/// If the shapes do not match or the window does not fit the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2d) -> Result<Tensor> {
    let geometry = ConvGeometry::new("conv2d", x.dims4()?, weight.dims4()?, options)?;
    let channels = geometry.out[3];
    if let Some(bias) = bias
        && bias.dims() != [channels]
    {
        return Err(shape_error("conv2d", format!("`bias` is {:?}, expected [{channels}]", bias.dims())));
    }
    let operands = ConvOperands::new(x, weight, None, bias, None)?;
    Ok(dispatch::convolution(&operands, Activation::None, &geometry)?)
}

/// `act(scale ∘ conv(x, weight) + shift + residual)`: a convolution with frozen batch normalisation, the residual sum and the
/// activation in one pass; gradients for whichever of the five tensors are tracked.
///
/// # Errors
/// If the shapes do not match or the window does not fit the padded image.
pub fn conv2d_affine(
    x: &Tensor,
    weight: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
    options: &Conv2d,
) -> Result<Tensor> {
    let geometry = ConvGeometry::new("conv2d_affine", x.dims4()?, weight.dims4()?, options)?;
    check_affine("conv2d_affine", &geometry.out, scale, shift, residual)?;
    let operands = ConvOperands::new(x, weight, Some(scale), Some(shift), residual)?;
    Ok(dispatch::convolution(&operands, activation, &geometry)?)
}

/// `act(norm(conv(x, weight)) + residual)`: [`conv2d_affine`] with the scale and shift of a frozen batch normalisation; gradients for
/// whichever of its parameters are tracked.
///
/// # Errors
/// If the shapes do not match or the window does not fit the padded image.
pub fn conv2d_norm(
    x: &Tensor,
    weight: &Tensor,
    norm: &FrozenNorm,
    residual: Option<&Tensor>,
    activation: Activation,
    options: &Conv2d,
) -> Result<Tensor> {
    let geometry = ConvGeometry::new("conv2d_norm", x.dims4()?, weight.dims4()?, options)?;
    let channels = geometry.out[3];
    for (name, tensor) in norm.tensors() {
        if tensor.dims() != [channels] {
            return Err(shape_error("conv2d_norm", format!("`{name}` is {:?}, expected [{channels}]", tensor.dims())));
        }
    }
    if let Some(residual) = residual
        && residual.dims() != geometry.out
    {
        let (found, expected) = (residual.dims(), geometry.out);
        return Err(shape_error("conv2d_norm", format!("`residual` is {found:?}, expected {expected:?}")));
    }
    Ok(dispatch::convolution_with_norm(x, weight, norm, residual, activation, &geometry)?)
}
