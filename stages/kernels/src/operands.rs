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

/// A batch normalisation with stored statistics after a convolution, as parameters: `γ ∘ (conv + bias − mean) / √(variance + ε) + β`,
/// all `[out]`.
#[derive(Debug, Clone, Copy)]
pub struct FrozenNorm<'a> {
    /// γ.
    pub weight: &'a Tensor,
    /// β.
    pub bias: &'a Tensor,
    /// Stored mean.
    pub mean: &'a Tensor,
    /// Stored variance.
    pub variance: &'a Tensor,
    /// Bias of the convolution, if it has one.
    pub conv_bias: Option<&'a Tensor>,
    /// ε.
    pub epsilon: f64,
}

impl FrozenNorm<'_> {
    /// The same normalisation as scale and shift, by candle's operations.
    ///
    /// # Errors
    /// If candle fails, as for tensors of different lengths.
    pub fn scale_and_shift(&self) -> crate::error::Result<(Tensor, Tensor)> {
        let deviation = (self.variance + self.epsilon)?.sqrt()?;
        let scale = (self.weight / deviation)?;
        let offset = match self.conv_bias {
            Some(bias) => (bias - self.mean)?,
            None => self.mean.neg()?,
        };
        let shift = (self.bias + (offset * &scale)?)?;
        Ok((scale, shift))
    }

    /// All tensors, with their names.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let stored = [("weight", self.weight), ("bias", self.bias), ("mean", self.mean), ("variance", self.variance)];
        stored.into_iter().chain(self.conv_bias.map(|bias| ("conv_bias", bias)))
    }
}
