//! Chooses the implementation of every operation: the only file that knows which implementations exist.
//!
//! Shapes were checked and inputs made contiguous by [`crate::operations`]. A further implementation needs a variant of
//! [`Implementation`], its condition in [`Implementation::of`] and an arm in each function here; besides its folder and the `mod`
//! line, nothing else changes.
//!
//! On a GPU, `DNC_CUDA_KERNELS=candle` in the environment chooses candle's operations instead of the kernels, to tell a fault of one
//! from a fault of the other. The choice is part of the arithmetic ([`crate::gpu_arithmetic`]), and with it of every key.

use std::sync::LazyLock;

use candle_core::{DType, Device, Result, Tensor};

use crate::activation::Activation;
use crate::adam::AdamWork;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::geometry::{ConvGeometry, PoolWindow, Reduction};
use crate::operands::{ConvOperands, FrozenNorm};
use crate::pixels::{Ordinary, PixelMemory};
use crate::precision::Precision;
use crate::{candle_ops, cpu};

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementation {
    /// The CPU kernels of [`crate::cpu`].
    Cpu,
    /// The CUDA kernels of [`crate::cuda`].
    #[cfg(feature = "cuda")]
    Cuda,
    /// The operations composed of candle's own in [`crate::candle_ops`]: any device, any floating-point type.
    Candle,
}

impl Implementation {
    /// The implementation for an operation over these activations and parameters, by device and element type.
    fn of<'a>(
        activations: impl IntoIterator<Item = &'a Tensor>,
        parameters: impl IntoIterator<Item = &'a Tensor>,
    ) -> Self {
        let (mut on_cpu, mut on_gpu, mut types) = (true, true, Vec::new());
        for tensor in activations {
            on_cpu &= tensor.device().is_cpu() && tensor.dtype() == DType::F32;
            on_gpu &= tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16);
            // The CUDA kernels expect at least one element.
            on_gpu &= tensor.elem_count() > 0;
            types.push(tensor.dtype());
        }
        // Activations may be `bf16` on a GPU, all of them or none.
        on_gpu &= types.windows(2).all(|pair| pair[0] == pair[1]);
        for tensor in parameters {
            on_cpu &= tensor.device().is_cpu() && tensor.dtype() == DType::F32;
            on_gpu &= tensor.device().is_cuda() && tensor.dtype() == DType::F32;
        }
        match (on_cpu, on_gpu && cuda_kernels_are_on()) {
            (true, _) => Self::Cpu,
            #[cfg(feature = "cuda")]
            (_, true) => Self::Cuda,
            _ => Self::Candle,
        }
    }
}

/// Whether a GPU runs the kernels of [`crate::cuda`] rather than candle's operations.
pub(crate) fn cuda_kernels_are_on() -> bool {
    static ON: LazyLock<bool> =
        LazyLock::new(|| cfg!(feature = "cuda") && std::env::var("DNC_CUDA_KERNELS").as_deref() != Ok("candle"));
    *ON
}

/// `act(scale ∘ conv(x, weight) + shift + residual)`, `[batch, rows, columns, out]`.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    match Implementation::of(operands.activations(), operands.parameters()) {
        Implementation::Cpu => cpu::conv::convolution(operands, activation, geometry),
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::convolution::convolution(operands, activation, geometry),
        Implementation::Candle => candle_ops::convolution(operands, activation, geometry),
    }
}

/// `act(norm(conv(x, weight)) + residual)`, `[batch, rows, columns, out]`.
pub(crate) fn convolution_with_norm(
    x: &Tensor,
    weight: &Tensor,
    norm: &FrozenNorm,
    residual: Option<&Tensor>,
    activation: Activation,
    geometry: &ConvGeometry,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    {
        let parameters = [weight].into_iter().chain(norm.tensors().map(|(_, tensor)| tensor));
        if Implementation::of([x].into_iter().chain(residual), parameters) == Implementation::Cuda {
            return cuda::convolution::with_norm(x, weight, norm, residual, activation, geometry);
        }
    }
    let (scale, shift) = norm.scale_and_shift()?;
    convolution(&ConvOperands::new(x, weight, Some(&scale), Some(&shift), residual)?, activation, geometry)
}

/// `act(scale ∘ x + shift + residual)`.
pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    match Implementation::of([x].into_iter().chain(residual), [scale, shift]) {
        Implementation::Cpu => cpu::affine::affine(x, scale, shift, residual, activation),
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::affine::affine(x, Some(scale), Some(shift), residual, activation),
        Implementation::Candle => candle_ops::affine(x, scale, shift, residual, activation),
    }
}

/// Maximum or mean under a sliding window, `[batch, rows, columns, channels]`.
pub(crate) fn pool2d(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    match Implementation::of([x], []) {
        Implementation::Cpu => cpu::pool::pool2d(x, window, reduction),
        #[cfg(feature = "cuda")]
        Implementation::Cuda if cuda::pool::supports(&window) => cuda::pool::pool2d(x, window, reduction),
        #[cfg(feature = "cuda")]
        Implementation::Cuda => candle_ops::pool2d(x, window, reduction),
        Implementation::Candle => candle_ops::pool2d(x, window, reduction),
    }
}

/// Maximum or mean over all pixels, `[batch, channels]`; `window` covers the whole image.
pub(crate) fn global_pool(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    match Implementation::of([x], []) {
        Implementation::Cpu => cpu::pool::pool2d(x, window, reduction)?.flatten_from(1),
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::pool::global_pool(x, reduction),
        Implementation::Candle => candle_ops::global_pool(x, reduction),
    }
}

/// `x · weightᵀ + bias`, and `residual +` that if there is one, `[…, out]`.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a GPU has several precisions"))]
pub(crate) fn linear(
    precision: Precision,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    // The kernels expect at least one element.
    let is_empty = [x, weight].iter().any(|tensor| tensor.elem_count() == 0);
    let implementation = Implementation::of([x].into_iter().chain(residual), [weight].into_iter().chain(bias));
    let (out, width) = weight.dims2()?;
    let rows = if x.rank() == 2 { x.clone() } else { x.reshape(((), width))? };
    let y = match implementation {
        #[cfg(feature = "cuda")]
        Implementation::Cuda if !is_empty => return cuda::convolution::linear(precision, x, weight, bias, residual),
        Implementation::Cpu if !is_empty => cpu::conv::linear(&rows, weight, bias)?,
        _ => candle_ops::linear(&rows, weight, bias)?,
    };
    let mut dims = x.dims()[..x.rank() - 1].to_vec();
    dims.push(out);
    let y = if x.rank() == 2 { y } else { y.reshape(dims)? };
    match residual {
        Some(residual) => residual + y,
        None => Ok(y),
    }
}

/// Euclidean distances between the rows of `x` and those of `y`, `[m, n]`.
pub(crate) fn pairwise_distances(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    candle_ops::distances(x, y, linear(Precision::F32, x, y, None, None)?)
}

/// Each row divided by its Euclidean norm, `[m, d]`.
pub(crate) fn l2_normalise(x: &Tensor) -> Result<Tensor> {
    candle_ops::l2_normalise(x)
}

/// Layer normalisation over the last axis.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    match Implementation::of([x], [weight, bias]) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::tokens::layer_norm(x, weight, bias, epsilon),
        Implementation::Cpu | Implementation::Candle => candle_ops::layer_norm(x, weight, bias, epsilon),
    }
}

/// `softmax(factor · x)` over the last axis.
pub(crate) fn softmax(x: &Tensor, factor: f64) -> Result<Tensor> {
    match Implementation::of([x], []) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::tokens::softmax(x, factor),
        Implementation::Cpu | Implementation::Candle => candle_ops::softmax(x, factor),
    }
}

/// A class token before the patches, and a position added to each token: `[batch, 1 + patches, width]`.
pub(crate) fn embed_tokens(patches: &Tensor, class: &Tensor, positions: &Tensor) -> Result<Tensor> {
    match Implementation::of([patches], [class, positions]) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::sequence::embed_tokens(patches, class, positions),
        Implementation::Cpu | Implementation::Candle => candle_ops::embed_tokens(patches, class, positions),
    }
}

/// `x Φ(x)` for each element.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    match Implementation::of([x], []) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::tokens::gelu(x),
        Implementation::Cpu | Implementation::Candle => x.gelu_erf(),
    }
}

/// `x + scale ∘ y`, with a scale per channel or without one.
pub(crate) fn residual_sum(x: &Tensor, y: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    match Implementation::of([x, y], scale) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::affine::affine(y, scale, None, Some(x), Activation::None),
        Implementation::Cpu | Implementation::Candle => match scale {
            Some(scale) => x + y.broadcast_mul(&scale.to_dtype(y.dtype())?)?,
            None => x + y,
        },
    }
}

/// Attention of `heads` heads over `[batch, tokens, 3 · width]`: queries, keys and values.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a GPU has several precisions"))]
pub(crate) fn attention(qkv: &Tensor, heads: usize, precision: Precision) -> Result<Tensor> {
    match Implementation::of([qkv], []) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => cuda::attention::attention(qkv, heads, precision),
        Implementation::Cpu | Implementation::Candle => candle_ops::attention(qkv, heads),
    }
}

/// Memory of `size` bytes from which pixels are uploaded to `device`.
pub(crate) fn pixel_memory(size: usize, device: &Device) -> Result<Box<dyn PixelMemory>> {
    #[cfg(feature = "cuda")]
    if let (Device::Cuda(gpu), true) = (device, cuda_kernels_are_on()) {
        return Ok(Box::new(cuda::pixels::Pinned::new(size, gpu)?));
    }
    Ok(Box::new(Ordinary::new(size, device)))
}

/// Takes the steps of many parameters at once, if there is a kernel for that on their device; returns whether there is.
///
/// # Errors
/// If candle fails.
pub fn fused_adam(work: &[AdamWork]) -> crate::error::Result<bool> {
    match Implementation::of([], work.iter().flat_map(|work| [work.parameter, work.moments])) {
        #[cfg(feature = "cuda")]
        Implementation::Cuda => {
            cuda::adam::adam_steps(work)?;
            Ok(true)
        }
        Implementation::Cpu | Implementation::Candle => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_run_f32_on_the_cpu_and_candle_everything_else() -> Result<()> {
        let of = |dtypes: &[DType]| -> Result<Implementation> {
            let tensors: Vec<Tensor> =
                dtypes.iter().map(|dtype| Tensor::zeros(1, *dtype, &Device::Cpu)).collect::<Result<_>>()?;
            Ok(Implementation::of(&tensors, []))
        };
        assert_eq!(of(&[DType::F32, DType::F32])?, Implementation::Cpu);
        assert_eq!(of(&[DType::F32, DType::F64])?, Implementation::Candle);
        assert_eq!(of(&[DType::BF16])?, Implementation::Candle);
        Ok(())
    }
}
