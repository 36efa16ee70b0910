//! Weights of convolutions: torchvision's layout and `f32` outside; the kernels' layout and type, with the scale multiplied in, inside.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, WEIGHTS, int, launch, suffix, wide};
use super::memory::{NULL, Output, device, pointer, pointer_or_null};
use crate::operands::FrozenNorm;

/// Layout of a folded weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[out, tap, depth]`, as cuDNN's NHWC kernels take it.
    Taps,
    /// `[tap, channel]` in `f32`, for depthwise convolutions.
    Depthwise,
}

/// `scale ∘ weight` in this layout and, unless it is depthwise, this type. The weight is `[out, depth, height, width]`.
pub(super) fn fold(weight: &Tensor, scale: Option<&Tensor>, layout: Layout, dtype: DType) -> Result<Tensor> {
    let (out, depth, taps) = sizes(weight)?;
    let device = device(weight)?;
    let dtype = if layout == Layout::Depthwise { DType::F32 } else { dtype };
    let folded = Output::new(weight.shape(), dtype, &device)?;
    let [weight, scale, result] = [pointer(weight)?, pointer_or_null(scale)?, folded.pointer()?].map(Argument::Pointer);
    let count = folded.elements();
    // SAFETY: the arguments are those of the kernels, and both weights have `count` elements, the scale one per output.
    unsafe {
        match layout {
            Layout::Taps => {
                let arguments = [weight, scale, result, int(depth)?, int(taps)?, wide(count)];
                launch(&device, WEIGHTS, &format!("fold_{}", suffix(dtype)?), Grid::over(count), &arguments)?;
            }
            Layout::Depthwise => {
                let arguments = [weight, scale, result, int(out)?, int(taps)?];
                launch(&device, WEIGHTS, "fold_depthwise", Grid::over(count), &arguments)?;
            }
        }
    }
    Ok(folded.into_tensor())
}

/// The gradients of the weight and, if there is one, the scale, given that of the folded weight.
pub(super) fn unfold(
    gradient: &Tensor,
    weight: &Tensor,
    scale: Option<&Tensor>,
    layout: Layout,
) -> Result<(Tensor, Option<Tensor>)> {
    let (out, depth, taps) = sizes(weight)?;
    let device = device(weight)?;
    let of_weight = Output::new(weight.shape(), DType::F32, &device)?;
    let of_scale = scale.map(|scale| Output::new(scale.shape(), DType::F32, &device)).transpose()?;
    let of_scale_pointer = of_scale.as_ref().map_or(Ok(NULL), Output::pointer)?;
    let [gradient_pointer, weight, scale, d_weight, d_scale] =
        [pointer(gradient)?, pointer(weight)?, pointer_or_null(scale)?, of_weight.pointer()?, of_scale_pointer]
            .map(Argument::Pointer);
    // SAFETY: the arguments are those of the kernels; gradient and weights have the same number of elements.
    unsafe {
        match layout {
            Layout::Taps => {
                let arguments = [gradient_pointer, weight, scale, d_weight, d_scale, int(depth)?, int(taps)?];
                let name = format!("unfold_{}", suffix(gradient.dtype())?);
                launch(&device, WEIGHTS, &name, Grid::rows(out, 256), &arguments)?;
            }
            Layout::Depthwise => {
                let arguments = [gradient_pointer, weight, scale, d_weight, d_scale, int(out)?, int(taps)?];
                launch(&device, WEIGHTS, "unfold_depthwise", Grid::over(out), &arguments)?;
            }
        }
    }
    Ok((of_weight.into_tensor(), of_scale.map(Output::into_tensor)))
}

/// The statistics and the bias that a frozen batch normalisation is made from, without history.
pub(super) struct Statistics {
    mean: Tensor,
    variance: Tensor,
    conv_bias: Option<Tensor>,
    epsilon: f32,
}

/// Scale and shift of a frozen batch normalisation, and what their gradients need.
pub(super) fn norm(norm: &FrozenNorm) -> Result<(Tensor, Tensor, Statistics)> {
    let device = device(norm.weight)?;
    let channels = norm.weight.elem_count();
    let [scale, shift] = [Output::new(channels, DType::F32, &device)?, Output::new(channels, DType::F32, &device)?];
    let statistics = Statistics {
        mean: norm.mean.detach().contiguous()?,
        variance: norm.variance.detach().contiguous()?,
        conv_bias: norm.conv_bias.map(|bias| bias.detach().contiguous()).transpose()?,
        epsilon: norm.epsilon as f32,
    };
    let pointers = [
        pointer(norm.weight)?,
        pointer(norm.bias)?,
        pointer(&statistics.mean)?,
        pointer(&statistics.variance)?,
        pointer_or_null(statistics.conv_bias.as_ref())?,
        scale.pointer()?,
        shift.pointer()?,
    ];
    let [a, b, c, d, e, f, g] = pointers.map(Argument::Pointer);
    let arguments = [a, b, c, d, e, f, g, Argument::Float(statistics.epsilon), int(channels)?];
    // SAFETY: the arguments are those of the kernel, and every tensor has one element per channel.
    unsafe { launch(&device, WEIGHTS, "frozen_norm", Grid::over(channels), &arguments)? };
    Ok((scale.into_tensor(), shift.into_tensor(), statistics))
}

impl Statistics {
    /// The gradients of γ and, if there is one, of the convolution's bias, given those of scale and shift.
    pub(super) fn gradients(
        &self,
        scale: &Tensor,
        d_scale: &Tensor,
        d_shift: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (device, channels) = (device(scale)?, scale.elem_count());
        let of_weight = Output::new(channels, DType::F32, &device)?;
        let of_bias = self.conv_bias.as_ref().map(|_| Output::new(channels, DType::F32, &device)).transpose()?;
        let pointers = [
            pointer(d_scale)?,
            pointer(d_shift)?,
            pointer(&self.mean)?,
            pointer(&self.variance)?,
            pointer_or_null(self.conv_bias.as_ref())?,
            pointer(scale)?,
            of_weight.pointer()?,
            of_bias.as_ref().map_or(Ok(NULL), Output::pointer)?,
        ];
        let [a, b, c, d, e, f, g, h] = pointers.map(Argument::Pointer);
        let arguments = [a, b, c, d, e, f, g, h, Argument::Float(self.epsilon), int(channels)?];
        // SAFETY: as above.
        unsafe { launch(&device, WEIGHTS, "frozen_norm_backward", Grid::over(channels), &arguments)? };
        Ok((of_weight.into_tensor(), of_bias.map(Output::into_tensor)))
    }
}

/// Outputs, depth and taps of a weight `[out, depth, height, width]`, or `[out, depth]` of a linear layer.
fn sizes(weight: &Tensor) -> Result<(usize, usize, usize)> {
    let dims = weight.dims();
    Ok((dims[0], dims[1], dims[2..].iter().product()))
}
