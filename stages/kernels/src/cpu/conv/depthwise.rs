//! Depthwise convolution: one filter per channel, vectorised along the contiguous channel axis.
//!
//! Formula: `y[n,i,j,c] = act(Σ_{a,b} x[n, v(i,a), h(j,b), c] · w[a,b,c] + shift[c] + residual[n,i,j,c])`.
//! Shapes: x `[batch, height, width, channels]`, w `[taps, channels]`, y `[batch, rows, columns, channels]`.
//!
//! A task computes a line of output pixels. Where the windows of a line are regular, [`SPAN`] neighbouring outputs are summed
//! together, so that a loaded pixel serves all windows that contain it; padding reads a pixel of zeros.

use rayon::prelude::*;

use crate::cpu::disjoint::SharedMut;
use crate::cpu::epilogue::{Epilogue, SharedEpilogue};
use crate::cpu::sums::{MOST_PARTS, sum_parts};
use crate::cpu::window::{Axis, Gather, RegularStep, reads};
use crate::simd::{Level, Simd, Task, fence};

/// Neighbouring output pixels that are summed together.
const SPAN: usize = 4;

/// `[tap, channel]` from torchvision's `[channel, 1, height, width]`, each channel times its scale; `rotated` rotates the window
/// by 180°.
pub(in crate::cpu) fn taps_first(weight: &[f32], channels: usize, scale: Option<&[f32]>, rotated: bool) -> Vec<f32> {
    let taps = weight.len() / channels;
    let mut packed = vec![0.0; weight.len()];
    for (channel, filter) in weight.chunks_exact(taps).enumerate() {
        let scale = scale.map_or(1.0, |scale| scale[channel]);
        for (tap, &value) in filter.iter().enumerate() {
            let tap = if rotated { taps - 1 - tap } else { tap };
            packed[tap * channels + channel] = value * scale;
        }
    }
    packed
}

/// The convolution; with backward axes, the gradient of its input.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for all channels.
pub(in crate::cpu) unsafe fn convolve(
    level: Level,
    gather: Gather,
    weight: &[f32],
    epilogue: Epilogue,
    out: SharedMut,
) {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let epilogue = SharedEpilogue(epilogue);
    let zeros = vec![0.0; gather.channels];
    let lines = gather.batch * vertical.positions;
    (0..lines).into_par_iter().for_each(|line| {
        let (image, i) = (line / vertical.positions, line % vertical.positions);
        let width = horizontal.positions * gather.channels;
        let common = Line {
            channels: gather.channels,
            positions: horizontal.positions,
            weight,
            epilogue: epilogue.get(),
            offset: line * width,
            out: out.pointer(),
        };
        // SAFETY: only this task writes this line of the output; the rest is guaranteed by the caller.
        match (horizontal.regular_step(), horizontal.taps()) {
            (Some(step), taps @ (3 | 5)) => {
                let pixels = padded_pixels(&gather, image, i, step, &zeros);
                let line = RegularLine { common, pixels: &pixels, rows: vertical.taps(), step: step.stride };
                match taps {
                    3 => level.run(RegularLineOf::<3>(line)),
                    _ => level.run(RegularLineOf::<5>(line)),
                }
            }
            _ => {
                let (reads, ends) = reads(&gather, image, i);
                level.run(AnyLine { common, reads: &reads, ends: &ends });
            }
        }
        fence();
    });
}

/// The weight's gradient, `[tap, channel]`; `gather` is the forward one.
pub(in crate::cpu) fn weight_gradient(level: Level, gather: Gather, dy: &[f32]) -> Vec<f32> {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let taps = vertical.taps() * horizontal.taps();
    let length = taps * gather.channels;
    let parts = MOST_PARTS.min(gather.batch);
    let mut sums = vec![0.0; parts * length];
    let zeros = vec![0.0; gather.channels];
    sums.par_chunks_mut(length).enumerate().for_each(|(part, sums)| {
        for image in part * gather.batch / parts..(part + 1) * gather.batch / parts {
            for i in 0..vertical.positions {
                let line = image * vertical.positions + i;
                let dy = &dy[line * horizontal.positions * gather.channels..];
                match (horizontal.regular_step(), horizontal.taps()) {
                    (Some(step), width @ (3 | 5)) => {
                        let pixels = padded_pixels(&gather, image, i, step, &zeros);
                        let line = GradientLine {
                            channels: gather.channels,
                            positions: horizontal.positions,
                            pixels: &pixels,
                            rows: vertical.taps(),
                            step: step.stride,
                            dy,
                            sums,
                        };
                        match width {
                            3 => level.run(GradientLineOf::<3>(line)),
                            _ => level.run(GradientLineOf::<5>(line)),
                        }
                    }
                    _ => any_gradient_line(&gather, image, i, dy, sums),
                }
            }
        }
    });
    sum_parts(&mut sums, length);
    sums
}

/// Pointers to the pixels that the windows of output row `i` cover, padding included: `[vertical tap, padded width]`.
fn padded_pixels(gather: &Gather, image: usize, i: usize, step: RegularStep, zeros: &[f32]) -> Vec<*const f32> {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let width = padded_width(horizontal, step);
    let mut pixels = Vec::with_capacity(vertical.taps() * width);
    for a in 0..vertical.taps() {
        match vertical.source(i, a) {
            None => pixels.extend(std::iter::repeat_n(zeros.as_ptr(), width)),
            Some(y) => {
                let row = &gather.source[(image * vertical.size + y) * horizontal.size * gather.channels..];
                pixels.extend((0..width).map(|x| match x.checked_sub(step.before) {
                    Some(x) if x < horizontal.size => row[x * gather.channels..].as_ptr(),
                    _ => zeros.as_ptr(),
                }));
            }
        }
    }
    pixels
}

fn padded_width(horizontal: &Axis, step: RegularStep) -> usize {
    (horizontal.positions - 1) * step.stride + horizontal.taps()
}

/// What both kinds of line have in common.
#[derive(Clone, Copy)]
struct Line<'a> {
    channels: usize,
    positions: usize,
    weight: &'a [f32],
    epilogue: Epilogue,
    /// Start of the line in `out`.
    offset: usize,
    out: *mut f32,
}

/// A line of arbitrary windows: a list of reads for each pixel.
struct AnyLine<'a> {
    common: Line<'a>,
    reads: &'a [(*const f32, usize)],
    ends: &'a [usize],
}

impl Task for AnyLine<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let line = self.common;
        let mut begin = 0;
        for (j, &end) in self.ends.iter().enumerate() {
            let reads = &self.reads[begin..end];
            begin = end;
            let mut c = 0;
            while c < line.channels {
                let count = line.channels - c;
                // SAFETY: the pointers are valid for all channels.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for &(pixel, tap) in reads {
                        let weight = line.weight.as_ptr().add(tap * line.channels + c);
                        let weight = S::load_up_to(weight, count);
                        sum = S::mul_add(S::load_up_to(pixel.add(c), count), weight, sum);
                    }
                    let offset = line.offset + j * line.channels;
                    line.epilogue.store::<S>(sum, line.out, offset, c, count);
                }
                c += S::LANES;
            }
        }
    }
}

/// A line of regular windows.
struct RegularLine<'a> {
    common: Line<'a>,
    pixels: &'a [*const f32],
    rows: usize,
    step: usize,
}

struct RegularLineOf<'a, const TAPS: usize>(RegularLine<'a>);

impl<const TAPS: usize> Task for RegularLineOf<'_, TAPS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid for all channels.
        unsafe {
            match self.0.step {
                1 => self.line::<S, 1>(1),
                2 => self.line::<S, 2>(2),
                step => self.line::<S, 0>(step),
            }
        }
    }
}

impl<const TAPS: usize> RegularLineOf<'_, TAPS> {
    /// `STEP` is the stride, or 0 if it is not known at compile time; a known stride lets the loops unroll.
    #[inline(always)]
    unsafe fn line<S: Simd, const STEP: usize>(self, step: usize) {
        let RegularLine { common, pixels, rows, .. } = self.0;
        let step = if STEP == 0 { step } else { STEP };
        let width = pixels.len() / rows;
        let mut c = 0;
        while c < common.channels {
            let count = common.channels - c;
            let mut j = 0;
            // SAFETY: the pointers are valid for all channels.
            unsafe {
                if STEP != 0 {
                    while j + SPAN <= common.positions {
                        let mut sums = [S::splat(0.0); SPAN];
                        for a in 0..rows {
                            let row = pixels.as_ptr().add(a * width + j * step);
                            let weights = common.weight.as_ptr().add(a * TAPS * common.channels + c);
                            let mut w = [S::splat(0.0); TAPS];
                            for (b, w) in w.iter_mut().enumerate() {
                                *w = S::load_up_to(weights.add(b * common.channels), count);
                            }
                            for x in 0..(SPAN - 1) * STEP + TAPS {
                                let pixel = S::load_up_to((*row.add(x)).add(c), count);
                                for (at, sum) in sums.iter_mut().enumerate() {
                                    if x >= at * STEP && x < at * STEP + TAPS {
                                        *sum = S::mul_add(pixel, w[x - at * STEP], *sum);
                                    }
                                }
                            }
                        }
                        for (at, &sum) in sums.iter().enumerate() {
                            let offset = common.offset + (j + at) * common.channels;
                            common.epilogue.store::<S>(sum, common.out, offset, c, count);
                        }
                        j += SPAN;
                    }
                }
                while j < common.positions {
                    let mut sum = S::splat(0.0);
                    for a in 0..rows {
                        let row = pixels.as_ptr().add(a * width + j * step);
                        let weights = common.weight.as_ptr().add(a * TAPS * common.channels + c);
                        for b in 0..TAPS {
                            let weight = S::load_up_to(weights.add(b * common.channels), count);
                            let pixel = S::load_up_to((*row.add(b)).add(c), count);
                            sum = S::mul_add(pixel, weight, sum);
                        }
                    }
                    let offset = common.offset + j * common.channels;
                    common.epilogue.store::<S>(sum, common.out, offset, c, count);
                    j += 1;
                }
            }
            c += S::LANES;
        }
    }
}

/// One line's contribution to the weight's gradient, for regular windows.
struct GradientLine<'a> {
    channels: usize,
    positions: usize,
    pixels: &'a [*const f32],
    rows: usize,
    step: usize,
    dy: &'a [f32],
    sums: &'a mut [f32],
}

struct GradientLineOf<'a, const TAPS: usize>(GradientLine<'a>);

impl<const TAPS: usize> Task for GradientLineOf<'_, TAPS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let GradientLine { channels, positions, pixels, rows, step, dy, sums } = self.0;
        let width = pixels.len() / rows;
        let mut c = 0;
        while c < channels {
            let count = channels - c;
            for a in 0..rows {
                // SAFETY: the pointers are valid for all channels, `sums` holds all taps.
                unsafe {
                    let row = pixels.as_ptr().add(a * width);
                    let mut totals = [S::splat(0.0); TAPS];
                    for j in 0..positions {
                        let dy = S::load_up_to(dy.as_ptr().add(j * channels + c), count);
                        for (b, total) in totals.iter_mut().enumerate() {
                            let pixel = S::load_up_to((*row.add(j * step + b)).add(c), count);
                            *total = S::mul_add(pixel, dy, *total);
                        }
                    }
                    for (b, &total) in totals.iter().enumerate() {
                        let at = sums.as_mut_ptr().add((a * TAPS + b) * channels + c);
                        S::store_up_to(at, S::add(S::load_up_to(at, count), total), count);
                    }
                }
            }
            c += S::LANES;
        }
    }
}

/// One line's contribution to the weight's gradient, for arbitrary windows.
fn any_gradient_line(gather: &Gather, image: usize, i: usize, dy: &[f32], sums: &mut [f32]) {
    let (vertical, horizontal, channels) = (gather.vertical, gather.horizontal, gather.channels);
    for a in 0..vertical.taps() {
        let Some(y) = vertical.source(i, a) else {
            continue;
        };
        for b in 0..horizontal.taps() {
            let sums = &mut sums[(a * horizontal.taps() + b) * channels..][..channels];
            for j in 0..horizontal.positions {
                if let Some(x) = horizontal.source(j, b) {
                    let at = ((image * vertical.size + y) * horizontal.size + x) * channels;
                    let pixel = &gather.source[at..];
                    let dy = &dy[j * channels..];
                    for ((sum, &x), &dy) in sums.iter_mut().zip(pixel).zip(dy) {
                        *sum += x * dy;
                    }
                }
            }
        }
    }
}
