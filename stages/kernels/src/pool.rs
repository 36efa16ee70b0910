//! Pooling over NHWC activations: maximum and average under a window, and over the whole image.
//!
//! Formula: `y[n,i,j,c] = max_{a,b} x[n, i·s + a − top, j·s + b − left, c]`, or the sum over the window divided by its size.
//! Shapes: x `[batch, height, width, channels]`, y `[batch, rows, columns, channels]`.
//!
//! Of equal maxima the first in reading order gets the gradient, as in PyTorch. An average is a depthwise convolution whose weights
//! are all the same, forward and back.

use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::composed;
use crate::conv::depthwise;
use crate::error::Result;
use crate::geometry::{Padding, positions};
use crate::share::{Shared, filled};
use crate::simd::{Level, Simd, Task};
use crate::tape::{self, Backward, Slot, slot_of};
use crate::tile::Epilogue;
use crate::values::{are_ours, with_values};
use crate::window::{Axis, Gather, reads};

/// Maximum under a `kernel` × `kernel` window, which may overlap its neighbours; the padding is −∞.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let padding = padding.into();
    let window = Window::new("max_pool2d", x, kernel, stride, padding)?;
    if are_ours([x]) {
        return Ok(pool(x, window, Kind::Max)?);
    }
    Ok(composed::max_pool2d(x, kernel, stride, padding, window.out)?)
}

/// Mean under a `kernel` × `kernel` window; padding counts as zeros, as in PyTorch's default.
///
/// Shapes: `[batch, height, width, channels]` to `[batch, out_height, out_width, channels]`.
///
/// # Errors
/// If the window does not fit the padded image.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: impl Into<Padding>) -> Result<Tensor> {
    let padding = padding.into();
    let window = Window::new("avg_pool2d", x, kernel, stride, padding)?;
    if are_ours([x]) {
        return Ok(pool(x, window, Kind::Average)?);
    }
    Ok(composed::avg_pool2d(x, kernel, stride, padding, window.out)?)
}

/// Mean over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` has not four dimensions, or no pixels.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let window = Window::whole("global_avg_pool", x)?;
    let y = if are_ours([x]) { pool(x, window, Kind::Average)?.flatten_from(1)? } else { x.flatten(1, 2)?.mean(1)? };
    Ok(y)
}

/// Maximum over all pixels: `[batch, height, width, channels]` to `[batch, channels]`.
///
/// # Errors
/// If `x` has not four dimensions, or no pixels.
pub fn global_max_pool(x: &Tensor) -> Result<Tensor> {
    let window = Window::whole("global_max_pool", x)?;
    let y = if are_ours([x]) { pool(x, window, Kind::Max)?.flatten_from(1)? } else { x.flatten(1, 2)?.max(1)? };
    Ok(y)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max,
    Average,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    dims: [usize; 4],
    kernel: (usize, usize),
    stride: usize,
    padding: Padding,
    out: (usize, usize),
}

impl Window {
    fn new(operation: &'static str, x: &Tensor, kernel: usize, stride: usize, padding: Padding) -> Result<Self> {
        let (batch, height, width, channels) = x.dims4()?;
        let Padding { top, bottom, left, right } = padding;
        Ok(Self {
            dims: [batch, height, width, channels],
            kernel: (kernel, kernel),
            stride,
            padding,
            out: (
                positions(operation, height, top, bottom, kernel, stride)?,
                positions(operation, width, left, right, kernel, stride)?,
            ),
        })
    }

    /// The window that covers the whole image.
    fn whole(operation: &'static str, x: &Tensor) -> Result<Self> {
        let (batch, height, width, channels) = x.dims4()?;
        positions(operation, height.min(width), 0, 0, 1, 1)?;
        Ok(Self {
            dims: [batch, height, width, channels],
            kernel: (height, width),
            stride: 1,
            padding: Padding::default(),
            out: (1, 1),
        })
    }

    fn forward_axes(&self) -> (Axis, Axis) {
        let [_, height, width, _] = self.dims;
        let Padding { top, left, .. } = self.padding;
        (
            Axis::forward(height, self.out.0, self.kernel.0, self.stride, top),
            Axis::forward(width, self.out.1, self.kernel.1, self.stride, left),
        )
    }

    fn backward_axes(&self) -> (Axis, Axis) {
        let [_, height, width, _] = self.dims;
        let Padding { top, left, .. } = self.padding;
        (
            Axis::backward(height, self.out.0, self.kernel.0, self.stride, top),
            Axis::backward(width, self.out.1, self.kernel.1, self.stride, left),
        )
    }

    /// An average's weights.
    fn weights(&self) -> Vec<f32> {
        let taps = self.kernel.0 * self.kernel.1;
        vec![1.0 / taps as f32; taps * self.dims[3]]
    }
}

fn gather<'a>(window: &Window, source: &'a [f32], axes: &'a (Axis, Axis)) -> Gather<'a> {
    Gather {
        source,
        batch: window.dims[0],
        channels: window.dims[3],
        depth: 1,
        columns: window.dims[3],
        vertical: &axes.0,
        horizontal: &axes.1,
    }
}

fn pool(x: &Tensor, window: Window, kind: Kind) -> candle_core::Result<Tensor> {
    let level = Level::detected();
    let x = &x.contiguous()?;
    let [batch, _, _, channels] = window.dims;
    let out = [batch, window.out.0, window.out.1, channels];
    let axes = window.forward_axes();
    let output = with_values!(x = x; {
        let gather = gather(&window, x, &axes);
        // SAFETY: both kernels write every output pixel.
        unsafe {
            filled(out.iter().product(), |out| match kind {
                Kind::Max => maxima(level, gather, out),
                Kind::Average => {
                    depthwise::convolve(level, gather, &window.weights(), Epilogue::NONE, out);
                }
            })
        }
    });
    let inputs = [tape::enter(x)?];
    tape::record(&inputs, output, &out, |y| {
        Box::new(PoolBackward {
            level,
            window,
            maximum: (kind == Kind::Max).then(|| (x.detach(), y)),
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

struct PoolBackward {
    level: Level,
    window: Window,
    /// Input and output, where the gradient depends on them.
    maximum: Option<(Tensor, Tensor)>,
    slots: [Option<Arc<Slot>>; 1],
}

impl Backward for PoolBackward {
    fn backward(self: Box<Self>, gradient: Vec<f32>) -> candle_core::Result<()> {
        let Self { level, window, maximum, slots: [slot] } = *self;
        let Some(slot) = slot else {
            return Ok(());
        };
        let length = window.dims.iter().product();
        match maximum {
            Some((x, y)) => with_values!(x = x, y = y; {
                let axes = window.forward_axes();
                let gather = gather(&window, x, &axes);
                slot.update(|sum| match sum {
                    Some(mut sum) => {
                        scatter_to_maxima(level, gather, y, &gradient, Shared::new(&mut sum), false);
                        sum
                    }
                    // SAFETY: every image's gradient begins as zeros.
                    None => unsafe {
                        filled(length, |sum| scatter_to_maxima(level, gather, y, &gradient, sum, true))
                    },
                });
            }),
            None => slot.update(|sum| {
                let axes = window.backward_axes();
                let gather = gather(&window, &gradient, &axes);
                let weights = window.weights();
                let write = |out: Shared, residual| {
                    // SAFETY: `out` has the input's length, and so has the residual if there is one.
                    unsafe {
                        depthwise::convolve(level, gather, &weights, Epilogue { residual, ..Epilogue::NONE }, out);
                    }
                };
                match sum {
                    Some(mut sum) => {
                        let out = Shared::new(&mut sum);
                        write(out, out.pointer());
                        sum
                    }
                    // SAFETY: the kernel writes every input pixel.
                    None => unsafe { filled(length, |out| write(out, std::ptr::null())) },
                }
            }),
        }
        Ok(())
    }
}

/// The maximum under each window.
fn maxima(level: Level, gather: Gather, out: Shared) {
    let (rows, columns) = (gather.vertical.positions, gather.horizontal.positions);
    (0..gather.batch * rows).into_par_iter().for_each(|line| {
        let (reads, ends) = reads(&gather, line / rows, line % rows);
        level.run(MaximaLine {
            channels: gather.channels,
            reads: &reads,
            ends: &ends,
            out: out.pointer().wrapping_add(line * columns * gather.channels),
        });
    });
}

struct MaximaLine<'a> {
    channels: usize,
    reads: &'a [(*const f32, usize)],
    ends: &'a [usize],
    out: *mut f32,
}

impl Task for MaximaLine<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid for all channels.
        each_vector::<S>(self.reads, self.ends, self.channels, |reads, at, c, count| unsafe {
            let mut best = S::splat(f32::NEG_INFINITY);
            for &(pixel, _) in reads {
                best = S::max_or_nan(best, S::load_up_to(pixel.add(c), count));
            }
            S::store_up_to(self.out.add(at), best, count);
        });
    }
}

/// Adds each window's gradient to the first pixel that is its maximum. Windows of an image overlap, so an image is one task;
/// where the sum is `fresh` the task begins it with zeros.
fn scatter_to_maxima(level: Level, gather: Gather, y: &[f32], dy: &[f32], sum: Shared, fresh: bool) {
    let (rows, columns) = (gather.vertical.positions, gather.horizontal.positions);
    let plane = gather.vertical.size * gather.horizontal.size * gather.channels;
    (0..gather.batch).into_par_iter().for_each(|image| {
        if fresh {
            // SAFETY: the image's gradient is this task's alone.
            unsafe { sum.pointer().add(image * plane).write_bytes(0, plane) };
        }
        for i in 0..rows {
            let (reads, ends) = reads(&gather, image, i);
            let line = (image * rows + i) * columns * gather.channels;
            level.run(ScatterLine {
                channels: gather.channels,
                reads: &reads,
                ends: &ends,
                x: gather.source.as_ptr(),
                y: y[line..].as_ptr(),
                dy: dy[line..].as_ptr(),
                sum: sum.pointer(),
            });
        }
    });
}

struct ScatterLine<'a> {
    channels: usize,
    reads: &'a [(*const f32, usize)],
    ends: &'a [usize],
    x: *const f32,
    y: *const f32,
    dy: *const f32,
    /// Laid out as `x`.
    sum: *mut f32,
}

impl Task for ScatterLine<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid for all channels, and each read lies in x.
        each_vector::<S>(self.reads, self.ends, self.channels, |reads, at, c, count| unsafe {
            let y = S::load_up_to(self.y.add(at), count);
            let mut rest = S::load_up_to(self.dy.add(at), count);
            for &(pixel, _) in reads {
                let x = S::load_up_to(pixel.add(c), count);
                let others = S::keep_where_greater(rest, y, x);
                let sum = self.sum.add(pixel.offset_from(self.x) as usize + c);
                let own = S::sub(rest, others);
                S::store_up_to(sum, S::add(S::load_up_to(sum, count), own), count);
                rest = others;
            }
        });
    }
}

/// Calls `work(reads of the window, place of the vector in the line of outputs, its first channel, channels from there on)` for
/// every window of a line and every vector of its channels.
#[inline(always)]
fn each_vector<S: Simd>(
    reads: &[(*const f32, usize)],
    ends: &[usize],
    channels: usize,
    mut work: impl FnMut(&[(*const f32, usize)], usize, usize, usize),
) {
    let mut begin = 0;
    for (j, &end) in ends.iter().enumerate() {
        for c in (0..channels).step_by(S::LANES) {
            work(&reads[begin..end], j * channels + c, c, channels - c);
        }
        begin = end;
    }
}
