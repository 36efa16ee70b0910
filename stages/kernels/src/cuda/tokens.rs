//! Layers of transformers: layer normalisation, softmax and GELU.

use candle_core::{DType, Result, Tensor};

use super::channels::Partial;
use super::launch::{Argument, Grid, TOKENS, int, launch, packing};
use super::memory::{Output, device, output_or_null, pointer};
use crate::tape::Backward;
use crate::tape::walk::{Slot, add, record, watch};

/// Rows of a block, one for each of its warps.
const ROWS: usize = 8;

/// Threads of a block.
const THREADS: [u32; 2] = [32, ROWS as u32];

/// Blocks that take all rows.
fn grid(rows: usize) -> Grid {
    Grid { blocks: [rows.div_ceil(ROWS), 1, 1], threads: THREADS }
}

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
    let (_, name) = packing(x.dtype(), width, &pointers[..4])?;
    let [a, b, c, d, e, f] = pointers.map(Argument::Pointer);
    let arguments = [a, b, c, d, e, f, int(rows)?, int(width)?, Argument::Float(epsilon as f32)];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &format!("layer_norm_{name}"), grid(rows), &arguments)? };
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
        let has_parameters = weight_slot.is_some() || bias_slot.is_some();
        let rows_per_chunk = rows_per_chunk(rows);
        let chunks = rows.div_ceil(rows_per_chunk);
        let partial = has_parameters.then(|| Output::new((chunks, 2, width), DType::F32, &device)).transpose()?;
        let pointers = [
            pointer(&dy)?,
            pointer(&x)?,
            pointer(&weight)?,
            pointer(&means)?,
            pointer(&inverses)?,
            dx.pointer()?,
            output_or_null(partial.as_ref())?,
        ];
        let [a, b, c, d, e, f, g] = pointers.map(Argument::Pointer);
        let (pack, name) = packing(x.dtype(), width, &[pointers[0], pointers[1], pointers[2], pointers[5]])?;
        let arguments = [a, b, c, d, e, f, g, int(rows)?, int(rows_per_chunk)?, int(width)?];
        let columns = if pack > 1 { PACKED_COLUMNS } else { COLUMNS };
        let grid = Grid { blocks: [width.div_ceil(columns), chunks, 1], threads: THREADS };
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors; the partial sums have two rows per chunk.
        unsafe { launch(&device, TOKENS, &format!("layer_norm_backward_{name}"), grid, &arguments)? };
        add(x_slot, Some(dx.into_tensor()))?;
        let Some(partial) = partial else { return Ok(()) };
        let sums = Partial { values: partial.into_tensor(), chunks }.total(&[2, width])?;
        add(weight_slot, Some(sums.get(0)?))?;
        add(bias_slot, Some(sums.get(1)?))
    }
}

/// Columns of which a block of the backward pass writes the gradients, in packs and without, as in `tokens.cu`.
const PACKED_COLUMNS: usize = 512;
const COLUMNS: usize = 128;

/// Rows that a block of the backward pass takes: fixed by their number alone, small enough to occupy a GPU.
fn rows_per_chunk(rows: usize) -> usize {
    /// Blocks that keep a large GPU busy.
    const BLOCKS: usize = 512;
    rows.div_ceil(BLOCKS).next_multiple_of(ROWS).max(4 * ROWS)
}

/// `softmax(factor · x)` over the last axis.
pub(crate) fn softmax(x: &Tensor, factor: f64) -> Result<Tensor> {
    let output = softmax_forward(x, rows(x).1, factor)?;
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
        slot.add(softmax_backward(&dy.contiguous()?, &y, rows(&y).1, factor)?.into_tensor())
    }
}

/// The values of a softmax over the first `width` places of the last axis; the others become zero.
pub(super) fn softmax_forward(x: &Tensor, width: usize, factor: f64) -> Result<Output> {
    let ((rows, stride), device) = (rows(x), device(x)?);
    let output = Output::new(x.shape(), x.dtype(), &device)?;
    let pointers = [pointer(x)?, output.pointer()?];
    let (_, name) = packing(x.dtype(), stride, &pointers)?;
    let [from, to] = pointers.map(Argument::Pointer);
    let arguments = [from, to, int(rows)?, int(width)?, int(stride)?, Argument::Float(factor as f32)];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &format!("softmax_{name}"), grid(rows), &arguments)? };
    Ok(output)
}

/// The gradient of its input, given that of its output `y`.
pub(super) fn softmax_backward(dy: &Tensor, y: &Tensor, width: usize, factor: f64) -> Result<Output> {
    let ((rows, stride), device) = (rows(y), device(y)?);
    let dx = Output::new(y.shape(), y.dtype(), &device)?;
    let pointers = [pointer(dy)?, pointer(y)?, dx.pointer()?];
    let (_, name) = packing(y.dtype(), stride, &pointers)?;
    let [from, by, to] = pointers.map(Argument::Pointer);
    let arguments = [from, by, to, int(rows)?, int(width)?, int(stride)?, Argument::Float(factor as f32)];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &format!("softmax_backward_{name}"), grid(rows), &arguments)? };
    Ok(dx)
}

/// `x · Φ(x)`, with the error function.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let device = device(x)?;
    let output = Output::new(x.shape(), x.dtype(), &device)?;
    let pointers = [pointer(x)?, output.pointer()?];
    let (pack, name) = packing(x.dtype(), output.elements(), &pointers)?;
    let count = output.elements() / pack;
    let [from, to] = pointers.map(Argument::Pointer);
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, TOKENS, &format!("gelu_{name}"), Grid::over(count), &[from, to, int(count)?])? };
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
        let pointers = [pointer(&dy)?, pointer(&x)?, dx.pointer()?];
        let (pack, name) = packing(x.dtype(), dx.elements(), &pointers)?;
        let count = dx.elements() / pack;
        let [from, by, to] = pointers.map(Argument::Pointer);
        let (name, arguments) = (format!("gelu_backward_{name}"), [from, by, to, int(count)?]);
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, TOKENS, &name, Grid::over(count), &arguments)? };
        slot.add(dx.into_tensor())
    }
}
