//! Depthwise convolutions by kernels of this crate. Folded weights are `[taps, channels]` in `f32`.

use candle_core::{DType, Result, Tensor};

use super::channels::{Epilogue, Partial, number};
use super::launch::{Argument, DEPTHWISE, Grid, Window, int, launch, packing, small, suffix};
use super::memory::{Output, device, pointer, pointer_or_null};
use crate::geometry::ConvGeometry;

/// Threads of a block, as in `depthwise.cu`.
const THREADS: usize = 128;

/// Columns that a thread computes at stride 2 in the forward pass, and that a unit of the weight's gradient has.
const STRIDED_GROUP: usize = 2;
const STRIDED_UNIT: usize = 4;

/// `act(conv(x, folded) + shift + residual)`, `[batch, rows, columns, channels]`; the epilogue has no scale.
pub(super) fn forward(geometry: &ConvGeometry, x: &Tensor, folded: &Tensor, epilogue: Epilogue) -> Result<Output> {
    let device = device(x)?;
    let output = Output::new(&geometry.out, x.dtype(), &device)?;
    let pointers = [
        pointer(x)?,
        pointer(folded)?,
        pointer_or_null(epilogue.shift)?,
        pointer_or_null(epilogue.residual)?,
        output.pointer()?,
    ];
    let Variant { pack, is_any, end } = Variant::of(geometry, x.dtype(), &pointers)?;
    let [batch, rows, columns, channels] = geometry.out;
    let group = if is_any { 1 } else { group(geometry.options.stride, columns, STRIDED_GROUP) };
    let count = batch * rows * columns.div_ceil(group) * (channels / pack);
    let [x, weight, shift, residual, y] = pointers.map(Argument::Pointer);
    let window = Argument::Window(Window::of_convolution(geometry)?);
    let arguments = [x, weight, shift, residual, y, number(epilogue.activation), window, int(group)?, int(count)?];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, DEPTHWISE, &format!("depthwise_{end}"), grid(count), &arguments)? };
    Ok(output)
}

/// The gradient of x, `[batch, height, width, channels]`.
pub(super) fn input_gradient(geometry: &ConvGeometry, folded: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let ConvGeometry { batch, height, width, channels, options, .. } = *geometry;
    let device = device(gradient)?;
    let output = Output::new((batch, height, width, channels), gradient.dtype(), &device)?;
    let pointers = [pointer(gradient)?, pointer(folded)?, output.pointer()?];
    let Variant { pack, is_any, end } = Variant::of(geometry, gradient.dtype(), &pointers)?;
    let (group, pixels) = if is_any {
        (1, height * width)
    } else if options.stride == 1 {
        let group = group(1, width, STRIDED_GROUP);
        (group, height * width.div_ceil(group))
    } else {
        // Squares of two by two pixels, counted from the start of the padding, that reach into the image.
        let squares = |size: usize, padding: usize| (padding + size).div_ceil(2) - padding / 2;
        (2, squares(height, options.padding.top) * squares(width, options.padding.left))
    };
    let count = batch * pixels * (channels / pack);
    let [dy, weight, dx] = pointers.map(Argument::Pointer);
    let arguments = [dy, weight, dx, Argument::Window(Window::of_convolution(geometry)?), int(group)?, int(count)?];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, DEPTHWISE, &format!("depthwise_input_{end}"), grid(count), &arguments)? };
    Ok(output.into_tensor())
}

/// The gradient of the folded weight, `[taps, channels]`.
pub(super) fn weight_gradient(geometry: &ConvGeometry, x: &Tensor, gradient: &Tensor) -> Result<Partial> {
    let ([batch, rows, columns, channels], taps) = (geometry.out, geometry.kernel.0 * geometry.kernel.1);
    let device = device(x)?;
    let pointers = [pointer(x)?, pointer(gradient)?];
    let Variant { is_any, end, .. } = Variant::of(geometry, x.dtype(), &pointers)?;
    // A block takes 32 channels, and all taps if it can.
    let (group, blocks_of_taps, threads) =
        if is_any { (1, taps, [32, 8]) } else { (group(geometry.options.stride, columns, STRIDED_UNIT), 1, [16, 8]) };
    let units = batch * rows * columns.div_ceil(group);
    let tiles = channels.div_ceil(32);
    let units_per_chunk = units_per_chunk(units, tiles * blocks_of_taps);
    let chunks = units.div_ceil(units_per_chunk);
    let partial = Output::new((chunks, taps, channels), DType::F32, &device)?;
    let [x_pointer, dy] = pointers.map(Argument::Pointer);
    let to = Argument::Pointer(partial.pointer()?);
    let sizes = [int(group)?, int(units)?, int(units_per_chunk)?];
    let arguments =
        [x_pointer, dy, to, Argument::Window(Window::of_convolution(geometry)?), sizes[0], sizes[1], sizes[2]];
    let grid = Grid { blocks: [tiles, chunks, blocks_of_taps], threads };
    let end = if is_any { format!("any_{}", suffix(x.dtype())?) } else { end };
    // SAFETY: the arguments are those of the kernel, and the partial sums have one row of taps per chunk.
    unsafe { launch(&device, DEPTHWISE, &format!("depthwise_weight_{end}"), grid, &arguments)? };
    Ok(Partial { values: partial.into_tensor(), chunks })
}

/// Which kernels take a convolution.
struct Variant {
    /// Channels of a thread.
    pack: usize,
    /// Whether the kernels take any window.
    is_any: bool,
    /// The end of their names.
    end: String,
}

impl Variant {
    /// The variant for tensors at these addresses.
    fn of(geometry: &ConvGeometry, dtype: DType, pointers: &[u64]) -> Result<Self> {
        let (pack, end) = packing(dtype, geometry.channels, pointers)?;
        let stride = geometry.options.stride;
        // The kernels number the elements of an image by C's `int`.
        let ConvGeometry { height, width, channels, out, .. } = *geometry;
        small(height * width * channels)?;
        small(out[1] * out[2] * channels)?;
        let is_small = pack > 1 && stride <= 2;
        Ok(match geometry.kernel {
            (3, 3) if is_small => Self { pack, is_any: false, end: format!("3_{end}") },
            // Eight channels would take too many registers.
            (5, 5) if is_small => Self { pack: 4, is_any: false, end: format!("5_{end}") },
            _ => Self { pack, is_any: true, end: format!("any_{end}") },
        })
    }
}

/// Neighbouring columns that a thread computes: at stride 1 as many as leave the fewest threads without work, 3 or 4.
fn group(stride: usize, columns: usize, strided: usize) -> usize {
    match stride {
        1 if columns.is_multiple_of(3) && !columns.is_multiple_of(4) => 3,
        1 => 4,
        _ => strided,
    }
}

/// Units that one block sums, for `tiles` blocks per chunk: fixed by the sizes alone, at least two for each of its eight rows of threads.
fn units_per_chunk(units: usize, tiles: usize) -> usize {
    /// Blocks that keep a large GPU busy.
    const BLOCKS: usize = 1024;
    units.div_ceil((BLOCKS / tiles).max(1)).max(16)
}

fn grid(count: usize) -> Grid {
    Grid { blocks: [count.div_ceil(THREADS), 1, 1], threads: [THREADS as u32, 1] }
}
