//! Chooses the implementation of every operation: the only file that knows which implementations exist.
//!
//! Shapes were checked and inputs made contiguous by [`crate::operations`]. A further implementation (CUDA kernels, for
//! instance) needs a variant of [`Implementation`], its condition in [`Implementation::of`] and an arm in each function
//! here; besides its folder and the `mod` line, nothing else changes.

use candle_core::{DType, Result, Tensor};

use crate::activation::Activation;
use crate::geometry::{ConvGeometry, PoolWindow, Reduction};
use crate::operands::ConvOperands;
use crate::{candle_ops, cpu};

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementation {
    /// The CPU kernels of [`crate::cpu`].
    Cpu,
    /// The operations composed of candle's own in [`crate::candle_ops`]: any device, any floating-point type.
    Candle,
}

impl Implementation {
    /// The implementation for these tensors, by device and element type.
    fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let runs_on_cpu = |tensor: &Tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32;
        if tensors.into_iter().all(runs_on_cpu) { Self::Cpu } else { Self::Candle }
    }
}

/// `act(scale ∘ conv(x, weight) + shift + residual)`, `[batch, rows, columns, out]`.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    match Implementation::of(operands.tensors()) {
        Implementation::Cpu => cpu::conv::convolution(operands, activation, geometry),
        Implementation::Candle => candle_ops::convolution(operands, activation, geometry),
    }
}

/// `act(scale ∘ x + shift + residual)`.
pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    match Implementation::of([x, scale, shift].into_iter().chain(residual)) {
        Implementation::Cpu => cpu::affine::affine(x, scale, shift, residual, activation),
        Implementation::Candle => candle_ops::affine(x, scale, shift, residual, activation),
    }
}

/// Maximum or mean under a sliding window, `[batch, rows, columns, channels]`.
pub(crate) fn pool2d(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    match Implementation::of([x]) {
        Implementation::Cpu => cpu::pool::pool2d(x, window, reduction),
        Implementation::Candle => candle_ops::pool2d(x, window, reduction),
    }
}

/// Maximum or mean over all pixels, `[batch, channels]`; `window` covers the whole image.
pub(crate) fn global_pool(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    match Implementation::of([x]) {
        Implementation::Cpu => cpu::pool::pool2d(x, window, reduction)?.flatten_from(1),
        Implementation::Candle => candle_ops::global_pool(x, reduction),
    }
}

/// `x · weightᵀ + bias`, `[m, out]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    // The kernels expect at least one element.
    let is_empty = [x, weight].iter().any(|tensor| tensor.elem_count() == 0);
    match Implementation::of([x, weight].into_iter().chain(bias)) {
        Implementation::Cpu if !is_empty => cpu::conv::linear(x, weight, bias),
        Implementation::Cpu | Implementation::Candle => candle_ops::linear(x, weight, bias),
    }
}

/// Euclidean distances between the rows of `x` and those of `y`, `[m, n]`.
pub(crate) fn pairwise_distances(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match Implementation::of([x, y]) {
        Implementation::Cpu | Implementation::Candle => candle_ops::distances(x, y, linear(x, y, None)?),
    }
}

/// Each row divided by its Euclidean norm, `[m, d]`.
pub(crate) fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    match Implementation::of([x]) {
        Implementation::Cpu | Implementation::Candle => candle_ops::l2_normalise(x),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn kernels_run_f32_on_the_cpu_and_candle_everything_else() -> Result<()> {
        let of = |dtypes: &[DType]| -> Result<Implementation> {
            let tensors: Vec<Tensor> =
                dtypes.iter().map(|dtype| Tensor::zeros(1, *dtype, &Device::Cpu)).collect::<Result<_>>()?;
            Ok(Implementation::of(&tensors))
        };
        assert_eq!(of(&[DType::F32, DType::F32])?, Implementation::Cpu);
        assert_eq!(of(&[DType::F32, DType::F64])?, Implementation::Candle);
        assert_eq!(of(&[DType::BF16])?, Implementation::Candle);
        Ok(())
    }
}
