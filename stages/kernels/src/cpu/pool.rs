//! Pooling kernels: maximum and average under a window.
//!
//! Of equal maxima the first in reading order gets the gradient, as in PyTorch. An average is a depthwise convolution whose
//! weights are all equal, forward and backward.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::conv::depthwise;
use super::disjoint::{SharedMut, written_by};
use super::epilogue::Epilogue;
use super::gradient::Slot;
use super::storage::{storage, with_values};
use super::window::{Axis, Gather, reads};
use crate::geometry::{Padding, PoolWindow, Reduction};
use crate::simd::{Level, Simd, Task};
use crate::tape::{self, Backward, slot_of};

/// Maximum or mean of a contiguous tensor under a window: `[batch, rows, columns, channels]`.
pub(crate) fn pool2d(x: &Tensor, window: PoolWindow, reduction: Reduction) -> Result<Tensor> {
    let level = Level::detected();
    let [batch, _, _, channels] = window.dims;
    let out = [batch, window.out.0, window.out.1, channels];
    let axes = forward_axes(&window);
    let output = with_values!(x = x; {
        let gather = gather(&window, x, &axes);
        // SAFETY: both kernels write every output pixel.
        unsafe {
            written_by(out.iter().product(), |out| match reduction {
                Reduction::Max => maxima(level, gather, out),
                Reduction::Average => {
                    depthwise::convolve(level, gather, &average_weights(&window), Epilogue::NONE, out);
                }
            })
        }
    });
    let inputs = [tape::watch(x)?];
    tape::record(&inputs, storage(output), &out, |y| {
        Box::new(PoolBackward {
            level,
            window,
            maximum: (reduction == Reduction::Max).then(|| (x.detach(), y)),
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

fn forward_axes(window: &PoolWindow) -> (Axis, Axis) {
    let PoolWindow { dims: [_, height, width, _], kernel, stride, padding: Padding { top, left, .. }, out } = *window;
    (Axis::forward(height, out.0, kernel.0, stride, top), Axis::forward(width, out.1, kernel.1, stride, left))
}

fn backward_axes(window: &PoolWindow) -> (Axis, Axis) {
    let PoolWindow { dims: [_, height, width, _], kernel, stride, padding: Padding { top, left, .. }, out } = *window;
    (Axis::backward(height, out.0, kernel.0, stride, top), Axis::backward(width, out.1, kernel.1, stride, left))
}

/// The depthwise weights of an average.
fn average_weights(window: &PoolWindow) -> Vec<f32> {
    let taps = window.kernel.0 * window.kernel.1;
    vec![1.0 / taps as f32; taps * window.dims[3]]
}

fn gather<'a>(window: &PoolWindow, source: &'a [f32], axes: &'a (Axis, Axis)) -> Gather<'a> {
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

struct PoolBackward {
    level: Level,
    window: PoolWindow,
    /// Input and output of a maximum, on which its gradient depends.
    maximum: Option<(Tensor, Tensor)>,
    slots: [Slot; 1],
}

impl Backward<Vec<f32>> for PoolBackward {
    fn backward(self: Box<Self>, gradient: Vec<f32>) -> Result<()> {
        let Self { level, window, maximum, slots: [slot] } = *self;
        let Some(slot) = slot else {
            return Ok(());
        };
        let length = window.dims.iter().product();
        match maximum {
            Some((x, y)) => with_values!(x = x, y = y; {
                let axes = forward_axes(&window);
                let gather = gather(&window, x, &axes);
                slot.update(|sum| Ok(match sum {
                    Some(mut sum) => {
                        scatter_to_maxima(level, gather, y, &gradient, SharedMut::new(&mut sum), false);
                        sum
                    }
                    // SAFETY: every image's gradient is initialised with zeros.
                    None => unsafe {
                        written_by(length, |sum| scatter_to_maxima(level, gather, y, &gradient, sum, true))
                    },
                }))
            }),
            None => slot.update(|sum| {
                let axes = backward_axes(&window);
                let gather = gather(&window, &gradient, &axes);
                let weights = average_weights(&window);
                let write = |out: SharedMut, residual| {
                    // SAFETY: `out` has the input's length, and so has the residual if there is one.
                    unsafe {
                        depthwise::convolve(level, gather, &weights, Epilogue { residual, ..Epilogue::NONE }, out);
                    }
                };
                Ok(match sum {
                    Some(mut sum) => {
                        let out = SharedMut::new(&mut sum);
                        write(out, out.pointer());
                        sum
                    }
                    // SAFETY: the kernel writes every input pixel.
                    None => unsafe { written_by(length, |out| write(out, std::ptr::null())) },
                })
            }),
        }
    }
}

/// The maximum under each window.
fn maxima(level: Level, gather: Gather, out: SharedMut) {
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

/// Adds each window's gradient to the first pixel that is its maximum. Windows of an image overlap, so an image is one task.
/// `overwrite` starts from zeros instead of the values in `sum`.
fn scatter_to_maxima(level: Level, gather: Gather, y: &[f32], dy: &[f32], sum: SharedMut, overwrite: bool) {
    let (rows, columns) = (gather.vertical.positions, gather.horizontal.positions);
    let plane = gather.vertical.size * gather.horizontal.size * gather.channels;
    (0..gather.batch).into_par_iter().for_each(|image| {
        if overwrite {
            // SAFETY: only this task writes the image's gradient.
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
    /// Laid out like `x`.
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

/// Calls `work(reads of the window, index of the vector in the line of outputs, its first channel, number of channels from there
/// on)` for every window of a line and every vector of its channels.
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
