//! Convolution over NHWC activations with torchvision's OIHW weights.
//!
//! Formula: `y[n,i,j,o] = Σ_{a,b,c} x[n, i·s + a − top, j·s + b − left, c] · w[o,c,a,b]`.
//! Shapes: x `[batch, height, width, channels]`, w `[out, channels / groups, kernel_height, kernel_width]`,
//! y `[batch, out_height, out_width, out]`.

pub(crate) mod depthwise;
mod direct;
mod operation;
mod passes;
mod shape;
mod weight_gradient;
mod weights;

use candle_core::Tensor;

use crate::affine::{self, Activation};
use crate::composed;
use crate::error::{Result, misfit};
use crate::geometry::{Conv2d, positions};
use crate::values::are_ours;
use operation::Arguments;
use shape::Shape;

/// Convolution with an optional bias per output channel; gradients for `x`, `weight` and `bias`.
///
/// # Errors
/// If the shapes do not fit each other or the window does not fit the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2d) -> Result<Tensor> {
    let dims = output_dims("conv2d", x, weight, options)?;
    if let Some(bias) = bias
        && bias.dims() != [dims[3]]
    {
        return Err(misfit("conv2d", format!("`bias` is {:?}, expected [{}]", bias.dims(), dims[3])));
    }
    if !are_ours([x, weight].into_iter().chain(bias)) {
        return Ok(composed::conv2d(x, weight, bias, options, (dims[1], dims[2]))?);
    }
    let arguments = Arguments { x, weight, scale: None, shift: bias, residual: None };
    Ok(operation::run(arguments, Activation::None, Shape::new(x, weight, dims, options), &dims)?)
}

/// `act(scale ∘ conv(x, weight) + shift + residual)`: a convolution with frozen batch-norm, the residual sum and the
/// activation in one pass; gradients for whichever of the five tensors are tracked.
///
/// # Errors
/// If the shapes do not fit each other or the window does not fit the padded image.
pub fn conv2d_affine(
    x: &Tensor,
    weight: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
    options: &Conv2d,
) -> Result<Tensor> {
    let dims = output_dims("conv2d_affine", x, weight, options)?;
    affine::check("conv2d_affine", &dims, scale, shift, residual)?;
    if are_ours([x, weight, scale, shift].into_iter().chain(residual)) {
        let arguments = Arguments { x, weight, scale: Some(scale), shift: Some(shift), residual };
        return Ok(operation::run(arguments, activation, Shape::new(x, weight, dims, options), &dims)?);
    }
    let y = composed::conv2d(x, weight, None, options, (dims[1], dims[2]))?;
    Ok(composed::affine(&y, scale, shift, residual, activation)?)
}

/// `x · weightᵀ + bias` for checked shapes `[m, k]`, `[out, k]` and `[out]`: a convolution of images of one pixel.
pub(crate) fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> candle_core::Result<Tensor> {
    let (batch, channels) = x.dims2()?;
    let out = weight.dim(0)?;
    let options = Conv2d::default();
    let shape = Shape { batch, height: 1, width: 1, channels, out: [batch, 1, 1, out], kernel: (1, 1), options };
    let arguments = Arguments { x, weight, scale: None, shift: bias, residual: None };
    operation::run(arguments, Activation::None, shape, &[batch, out])
}

/// Checks input and weight, and gives the output's shape.
fn output_dims(operation: &'static str, x: &Tensor, weight: &Tensor, options: &Conv2d) -> Result<[usize; 4]> {
    let (batch, height, width, channels) = x.dims4()?;
    let (out, per_group, kernel_height, kernel_width) = weight.dims4()?;
    let groups = options.groups;
    if x.elem_count() == 0 || weight.elem_count() == 0 {
        return Err(misfit(
            operation,
            format!("nothing is in an input {:?} or a weight {:?}", x.dims(), weight.dims()),
        ));
    }
    if groups == 0 || per_group * groups != channels || out % groups != 0 {
        return Err(misfit(
            operation,
            format!("{groups} groups of a weight {:?} do not fit an input {:?}", weight.dims(), x.dims()),
        ));
    }
    let Conv2d { stride, padding, .. } = *options;
    let rows = positions(operation, height, padding.top, padding.bottom, kernel_height, stride)?;
    let columns = positions(operation, width, padding.left, padding.right, kernel_width, stride)?;
    Ok([batch, rows, columns, out])
}
