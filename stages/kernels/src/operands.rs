//! The tensors that a convolution takes, with or without a frozen batch normalisation.

use candle_core::{Result, Tensor};

/// Operands of `act(scale ∘ conv(x, weight) + shift + residual)`, contiguous and of matching shapes.
pub(crate) struct ConvOperands {
    /// `[batch, height, width, channels]`.
    pub x: Tensor,
    /// `[out, channels / groups, kernel_height, kernel_width]`.
    pub weight: Tensor,
    /// `[out]`.
    pub scale: Option<Tensor>,
    /// `[out]`.
    pub shift: Option<Tensor>,
    /// Shaped like the output.
    pub residual: Option<Tensor>,
}

impl ConvOperands {
    /// Copies whatever is strided to contiguous memory; shapes must have been checked.
    pub(crate) fn new(
        x: &Tensor,
        weight: &Tensor,
        scale: Option<&Tensor>,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Self> {
        let contiguous = |tensor: Option<&Tensor>| tensor.map(Tensor::contiguous).transpose();
        Ok(Self {
            x: x.contiguous()?,
            weight: weight.contiguous()?,
            scale: contiguous(scale)?,
            shift: contiguous(shift)?,
            residual: contiguous(residual)?,
        })
    }

    /// The activations that are present.
    pub(crate) fn activations(&self) -> impl Iterator<Item = &Tensor> {
        [&self.x].into_iter().chain(&self.residual)
    }

    /// The parameters that are present.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        [&self.weight].into_iter().chain(&self.scale).chain(&self.shift)
    }
}
