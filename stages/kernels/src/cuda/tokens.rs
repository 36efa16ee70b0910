//! Layers of transformers: layer normalisation, softmax and GELU.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::channels::MaskRows;
use super::launch::{Argument, Grid, TOKENS, int, launch, suffix, wide};
use super::memory::{Output, device, pointer};
use crate::activation::Activation;
use crate::tape::Backward;
use crate::tape::walk::{Node, record, watch};

type Slot = Option<Arc<Node>>;

/// Threads of a block that works on one row.
const THREADS: u32 = 128;

/// Rows and width of a tensor by its last axis.
fn rows(x: &Tensor) -> (usize, usize) {
    let width = x.dims().last().copied().unwrap_or(1);
    (x.elem_count() / width.max(1), width)
}

/// Layer normalisation over the last axis.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let ((rows, width), device) = (rows(x), device(x)?);
    let y = Output::new(x.shape(), x.dtype(), &device)?;
    let [means, inverses] = [Output::new(rows, DType::F32, &device)?, Output::new(rows, DType::F32, &device)?];
    let pointers = [pointer(x)?, pointer(weight)?, pointer(bias)?, y.pointer()?, means.pointer()?, inverses.pointer()?];
    let [a, b, c, d, e, f] = pointers.map(Argument::Pointer);
    let arguments = [a, b, c, d, e, f, int(width)?, Argument::Float(epsilon as f32)];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe {
        launch(&device, TOKENS, &format!("layer_norm_{}", suffix(x.dtype())?), Grid::rows(rows, THREADS), &arguments)?
    };
    let inputs = [watch(x), watch(weight), watch(bias)];
    record(&inputs, y.into_storage(), x.shape(), x.device(), |_| {
        Box::new(NormBackward {
            x: x.detach(),
            weight: weight.detach(),
            means: means.into_tensor(),
            inverses: inverses.into_tensor(),
            slots: inputs.clone(),
        })
    })
}

struct NormBackward {
    x: Tensor,
    weight: Tensor,
    means: Tensor,
    inverses: Tensor,
    /// Of x, weight and bias.
    slots: [Slot; 3],
}

impl Backward<Tensor> for NormBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { x, weight, means, inverses, slots: [x_slot, weight_slot, bias_slot] } = *self;
        let ((rows, width), device, dy) = (rows(&x), device(&x)?, dy.contiguous()?);
        let dx = Output::new(x.shape(), x.dtype(), &device)?;
        let normalised = Output::new(x.shape(), x.dtype(), &device)?;
        let pointers = [
            pointer(&dy)?,
            pointer(&x)?,
            pointer(&weight)?,
            pointer(&means)?,
            pointer(&inverses)?,
            dx.pointer()?,
            normalised.pointer()?,
        ];
        let [a, b, c, d, e, f, g] = pointers.map(Argument::Pointer);
        let name = format!("layer_norm_backward_{}", suffix(x.dtype())?);
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, TOKENS, &name, Grid::rows(rows, THREADS), &[a, b, c, d, e, f, g, int(width)?])? };
        let normalised = normalised.into_tensor();
        let sums = MaskRows {
            y: None,
            activation: Activation::None,
            factors: weight_slot.is_some().then_some(&normalised),
            scale: None,
            gradient: false,
            sum: bias_slot.is_some(),
        };
        let sums = sums.run(&dy)?;
        for (slot, gradient) in [(x_slot, Some(dx.into_tensor())), (weight_slot, sums.product), (bias_slot, sums.sum)] {
            if let (Some(slot), Some(gradient)) = (slot, gradient) {
                slot.add(gradient)?;
            }
        }
        Ok(())
    }
}

/// `softmax(factor · x)` over the last axis.
pub(crate) fn softmax(x: &Tensor, factor: f64) -> Result<Tensor> {
    let output = softmax_forward(x, factor)?;
    let inputs = [watch(x)];
    record(&inputs, output.into_storage(), x.shape(), x.device(), |y| {
        Box::new(SoftmaxBackward { y, factor, slot: inputs[0].clone() })
    })
}

struct SoftmaxBackward {
    y: Tensor,
    factor: f64,
    slot: Slot,
}

impl Backward<Tensor> for SoftmaxBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { y, factor, slot: Some(slot) } = *self else { return Ok(()) };
        slot.add(softmax_backward(&dy.contiguous()?, &y, factor)?.into_tensor())
    }
}

/// The values of a softmax over the last axis.
pub(super) fn softmax_forward(x: &Tensor, factor: f64) -> Result<Output> {
    let ((rows, width), device) = (rows(x), device(x)?);
    let output = Output::new(x.shape(), x.dtype(), &device)?;
    let [from, to] = [pointer(x)?, output.pointer()?].map(Argument::Pointer);
    let arguments = [from, to, int(width)?, Argument::Float(factor as f32)];
    let name = format!("softmax_{}", suffix(x.dtype())?);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &name, Grid::rows(rows, THREADS), &arguments)? };
    Ok(output)
}

/// The gradient of its input, given that of its output `y`.
pub(super) fn softmax_backward(dy: &Tensor, y: &Tensor, factor: f64) -> Result<Output> {
    let ((rows, width), device) = (rows(y), device(y)?);
    let dx = Output::new(y.shape(), y.dtype(), &device)?;
    let [from, by, to] = [pointer(dy)?, pointer(y)?, dx.pointer()?].map(Argument::Pointer);
    let arguments = [from, by, to, int(width)?, Argument::Float(factor as f32)];
    let name = format!("softmax_backward_{}", suffix(y.dtype())?);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &name, Grid::rows(rows, THREADS), &arguments)? };
    Ok(dx)
}

/// `x · Φ(x)`, with the error function.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let device = device(x)?;
    let output = Output::new(x.shape(), x.dtype(), &device)?;
    let count = output.elements();
    let [from, to] = [pointer(x)?, output.pointer()?].map(Argument::Pointer);
    let name = format!("gelu_{}", suffix(x.dtype())?);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &name, Grid::over(count), &[from, to, wide(count)])? };
    let inputs = [watch(x)];
    record(&inputs, output.into_storage(), x.shape(), x.device(), |_| {
        Box::new(GeluBackward { x: x.detach(), slot: inputs[0].clone() })
    })
}

struct GeluBackward {
    x: Tensor,
    slot: Slot,
}

impl Backward<Tensor> for GeluBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { x, slot: Some(slot) } = *self else { return Ok(()) };
        let (device, dy) = (device(&x)?, dy.contiguous()?);
        let dx = Output::new(x.shape(), x.dtype(), &device)?;
        let count = dx.elements();
        let [from, by, to] = [pointer(&dy)?, pointer(&x)?, dx.pointer()?].map(Argument::Pointer);
        let name = format!("gelu_backward_{}", suffix(x.dtype())?);
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, TOKENS, &name, Grid::over(count), &[from, by, to, wide(count)])? };
        slot.add(dx.into_tensor())
    }
}
