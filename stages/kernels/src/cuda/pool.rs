//! Pooling under a window and over the whole image.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, POOL, Window, int, launch, packing, small};
use super::memory::{Output, device, pointer, pointer_or_null};
use crate::geometry::{PoolWindow, Reduction};
use crate::tape::Backward;
use crate::tape::walk::{Slot, record, watch};

/// Largest window whose taps the kernel can number.
const MOST_TAPS: usize = 255;

/// Whether the kernels can pool under this window.
pub(crate) fn supports(window: &PoolWindow) -> bool {
    window.kernel.0 * window.kernel.1 <= MOST_TAPS
}

/// Maximum or mean under a sliding window, `[batch, rows, columns, channels]`.
pub(crate) fn pool2d(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    let [batch, height, width, channels] = window.dims;
    let (rows, columns) = window.out;
    let sizes = Window::new([height, width, channels], [rows, columns], window.kernel, window.stride, window.padding)?;
    let device = device(x)?;
    let shape = [batch, rows, columns, channels];
    let output = Output::new(&shape, x.dtype(), &device)?;
    let pointers = [pointer(x)?, output.pointer()?];
    let (pack, name) = packing(x.dtype(), channels, &pointers)?;
    // The kernels number packs by C's `int`.
    small(x.elem_count() / pack)?;
    let count = output.elements() / pack;
    let [from, to] = pointers.map(Argument::Pointer);
    let taps = match reduction {
        Reduction::Max => {
            let taps = Output::new(&shape, DType::U8, &device)?;
            let arguments = [from, to, Argument::Pointer(taps.pointer()?), Argument::Window(sizes), int(count)?];
            // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
            unsafe { launch(&device, POOL, &format!("max_pool_{name}"), Grid::over(count), &arguments)? };
            Some(taps.into_tensor())
        }
        Reduction::Average => {
            let arguments = [from, to, Argument::Window(sizes), int(count)?];
            // SAFETY: as above.
            unsafe { launch(&device, POOL, &format!("average_pool_{name}"), Grid::over(count), &arguments)? };
            None
        }
    };
    let inputs = [watch(x)];
    let dims = window.dims;
    record(&inputs, output.into_storage(), &shape[..], x.device(), |_| {
        Box::new(PoolBackward { dims, sizes, taps, slot: inputs[0].clone() })
    })
}

struct PoolBackward {
    dims: [usize; 4],
    sizes: Window,
    /// The position of each maximum in its window.
    taps: Option<Tensor>,
    slot: Slot,
}

impl Backward<Tensor> for PoolBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        let device = device(&dy)?;
        let dy = dy.contiguous()?;
        let output = Output::new(&self.dims, dy.dtype(), &device)?;
        let pointers = [pointer(&dy)?, output.pointer()?, pointer_or_null(self.taps.as_ref())?];
        let (pack, name) = packing(dy.dtype(), self.dims[3], &pointers)?;
        small(dy.elem_count() / pack)?;
        let count = output.elements() / pack;
        let [from, to, taps] = pointers.map(Argument::Pointer);
        let arguments = [from, taps, to, Argument::Window(self.sizes), int(count)?];
        let name = format!("pool_backward_{name}");
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, POOL, &name, Grid::over(count), &arguments)? };
        slot.add(output.into_tensor())
    }
}

/// Maximum or mean over all pixels, `[batch, channels]`.
pub(crate) fn global_pool(x: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let (area, device) = (height * width, device(x)?);
    let output = Output::new((batch, channels), x.dtype(), &device)?;
    let pixels = match reduction {
        Reduction::Max => Some(Output::new((batch, channels), DType::U32, &device)?.into_tensor()),
        Reduction::Average => None,
    };
    let pointers = [pointer(x)?, output.pointer()?, pointer_or_null(pixels.as_ref())?];
    let (pack, name) = packing(x.dtype(), channels, &pointers)?;
    let [from, to, places] = pointers.map(Argument::Pointer);
    let grid = Grid { blocks: [channels.div_ceil(32 * pack), batch, 1], threads: [32, 8] };
    let name = format!("global_pool_{name}");
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, POOL, &name, grid, &[from, to, places, int(area)?, int(channels)?])? };
    let inputs = [watch(x)];
    record(&inputs, output.into_storage(), (batch, channels), x.device(), |_| {
        Box::new(GlobalBackward { dims: [batch, height, width, channels], pixels, slot: inputs[0].clone() })
    })
}

struct GlobalBackward {
    dims: [usize; 4],
    /// The pixel of each maximum.
    pixels: Option<Tensor>,
    slot: Slot,
}

impl Backward<Tensor> for GlobalBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        let [_, height, width, channels] = self.dims;
        let device = device(&dy)?;
        let dy = dy.contiguous()?;
        let output = Output::new(&self.dims, dy.dtype(), &device)?;
        let pointers = [pointer(&dy)?, pointer_or_null(self.pixels.as_ref())?, output.pointer()?];
        let (pack, name) = packing(dy.dtype(), channels, &pointers)?;
        let count = output.elements() / pack;
        let [from, pixels, to] = pointers.map(Argument::Pointer);
        let arguments = [from, pixels, to, int(height * width)?, int(channels)?, int(count)?];
        let name = format!("global_pool_backward_{name}");
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device, POOL, &name, Grid::over(count), &arguments)? };
        slot.add(output.into_tensor())
    }
}
