//! Passes over activations with one value per channel, forward and backward.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, CHANNELS, Grid, int, launch, packing, small};
use super::memory::{Output, device, output_or_null, pointer, pointer_or_null};
use crate::activation::Activation;

/// What is applied to `x`: `act(scale ∘ x + shift + residual)`, without what is `None`.
#[derive(Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    pub(super) scale: Option<&'a Tensor>,
    pub(super) shift: Option<&'a Tensor>,
    pub(super) residual: Option<&'a Tensor>,
    pub(super) activation: Activation,
}

impl Epilogue<'_> {
    pub(super) fn is_identity(&self) -> bool {
        let Self { scale, shift, residual, activation } = self;
        scale.is_none() && shift.is_none() && residual.is_none() && *activation == Activation::None
    }

    /// Writes the result to `y`, which may be where `x` is; both have rows of `channels`.
    ///
    /// # Safety
    /// `x` is the address of as many elements as `y` has.
    pub(super) unsafe fn apply(self, like: &Tensor, x: u64, y: &Output, channels: usize) -> Result<()> {
        let device = device(like)?;
        let residual = pointer_or_null(self.residual)?;
        let (pack, name) = packing(y.dtype(), channels, &[x, y.pointer()?, residual])?;
        // The kernel numbers elements by C's `int`.
        small(y.elements())?;
        let count = y.elements() / pack;
        let pointers = [x, pointer_or_null(self.scale)?, pointer_or_null(self.shift)?, residual, y.pointer()?];
        let [x, scale, shift, residual, y] = pointers.map(Argument::Pointer);
        let arguments = [x, scale, shift, residual, y, number(self.activation), int(channels)?, int(count)?];
        // SAFETY: the arguments are those of the kernel; scale and shift have `channels` elements, and x, the residual and y are of
        // the same size and type.
        unsafe { launch(&device, CHANNELS, &format!("affine_{name}"), Grid::over(count), &arguments) }
    }
}

/// The sum of two tensors of one shape and type.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let output = Output::new(a.shape(), a.dtype(), &device(&a)?)?;
    let sum = Epilogue { residual: Some(&b), ..Epilogue::default() };
    // SAFETY: a has the shape of the output.
    unsafe { sum.apply(&a, pointer(&a)?, &output, a.elem_count())? };
    Ok(output.into_tensor())
}

/// The number of an activation in `math.cuh`.
pub(super) fn number(activation: Activation) -> Argument {
    Argument::Int(match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
    })
}

/// What the backward pass of an epilogue needs, and what is asked of it.
#[derive(Clone, Copy, Default)]
pub(super) struct MaskRows<'a> {
    /// The output of the activation; `None` without one.
    pub(super) y: Option<&'a Tensor>,
    pub(super) activation: Activation,
    /// Factors of a second sum.
    pub(super) factors: Option<&'a Tensor>,
    /// A factor per channel of the returned gradient, but not of the sums.
    pub(super) scale: Option<&'a Tensor>,
    /// Whether to return the masked gradient.
    pub(super) gradient: bool,
    /// Whether to sum the masked gradient over all rows.
    pub(super) sum: bool,
}

/// Sums over chunks of rows, `[chunks, width]`.
pub(super) struct Partial {
    pub(super) values: Tensor,
    pub(super) chunks: usize,
}

impl Partial {
    /// The sum over all chunks; `shape` has `width` elements.
    pub(super) fn total(self, shape: &[usize]) -> Result<Tensor> {
        let width: usize = shape.iter().product();
        let device = device(&self.values)?;
        let total = Output::new(shape, DType::F32, &device)?;
        let [from, to] = [pointer(&self.values)?, total.pointer()?].map(Argument::Pointer);
        let grid = Grid { blocks: [width.div_ceil(32), 1, 1], threads: [32, 32] };
        // SAFETY: the arguments are those of the kernel, and the partial sums have `chunks` rows of `width`.
        unsafe { launch(&device, CHANNELS, "sum_chunks", grid, &[from, to, int(width)?, int(self.chunks)?])? };
        Ok(total.into_tensor())
    }
}

/// The results of [`MaskRows::run`]; what was not asked for is `None`.
pub(super) struct Masked {
    pub(super) gradient: Option<Tensor>,
    pub(super) sum: Option<Partial>,
    pub(super) product: Option<Partial>,
}

impl MaskRows<'_> {
    /// Masks `dy`, whose last axis is the channels.
    pub(super) fn run(self, dy: &Tensor) -> Result<Masked> {
        let Self { y, activation, factors, scale, gradient, sum } = self;
        let device = device(dy)?;
        let channels = dy.dims().last().copied().unwrap_or(1);
        let rows = dy.elem_count() / channels;
        let masked = gradient.then(|| Output::new(dy.shape(), dy.dtype(), &device)).transpose()?;
        let masked_pointer = output_or_null(masked.as_ref())?;
        let [dy_pointer, y, x] = [pointer(dy)?, pointer_or_null(y)?, pointer_or_null(factors)?];
        let (pack, name) = packing(dy.dtype(), channels, &[dy_pointer, y, x, masked_pointer])?;
        let tiles = channels.div_ceil(32 * pack);
        let rows_per_chunk = rows_per_chunk(rows, tiles);
        let chunks = rows.div_ceil(rows_per_chunk);
        let partial = |wanted: bool| wanted.then(|| Output::new((chunks, channels), DType::F32, &device)).transpose();
        let (sums, products) = (partial(sum)?, partial(factors.is_some())?);
        let pointers = [
            dy_pointer,
            y,
            x,
            masked_pointer,
            output_or_null(sums.as_ref())?,
            output_or_null(products.as_ref())?,
            pointer_or_null(scale)?,
        ];
        let [a, b, c, d, e, f, g] = pointers.map(Argument::Pointer);
        let sizes = [number(activation), int(channels)?, int(rows)?, int(rows_per_chunk)?];
        let arguments = [a, b, c, d, e, f, g, sizes[0], sizes[1], sizes[2], sizes[3]];
        let grid = Grid { blocks: [tiles, chunks, 1], threads: [32, 8] };
        // SAFETY: the arguments are those of the kernel; dy, y, x and the gradient are of the same size and type, the scale has
        // `channels` elements, and the partial sums have one row per chunk.
        unsafe { launch(&device, CHANNELS, &format!("mask_rows_{name}"), grid, &arguments)? };
        let partial = |sums: Option<Output>| sums.map(|sums| Partial { values: sums.into_tensor(), chunks });
        Ok(Masked { gradient: masked.map(Output::into_tensor), sum: partial(sums), product: partial(products) })
    }
}

/// Rows that one block sums: fixed by the sizes alone, small enough to occupy a GPU, and few chunks to add up afterwards.
fn rows_per_chunk(rows: usize, tiles: usize) -> usize {
    /// Blocks that keep a large GPU busy.
    const BLOCKS: usize = 512;
    /// The maximum of blocks along the second axis of a grid.
    const MOST_CHUNKS: usize = 65_535;
    let chunks = (BLOCKS / tiles.max(1)).clamp(1, MOST_CHUNKS);
    rows.div_ceil(chunks).max(16)
}
