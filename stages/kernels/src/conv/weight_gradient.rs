//! The gradient of a convolution's weight as sums of outer products, pixel by pixel.
//!
//! Formula: `g[a, b, c, o] = Σ_{n,i,j} x[n, v(i,a), h(j,b), c] · dy[n, i, j, o]`.
//! Shapes: x `[batch, height, width, channels]`, dy `[batch, rows, columns, out]`, g `[groups, taps, channels / groups, out / groups]`.
//!
//! The work is cut into parts of the pixels times parts of the weight; how, follows from the shapes alone. Each part of the
//! pixels has its own sum, and the sums are added in order, so the result is the same for any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::panel::panels;
use crate::share::{BETWEEN_ROWS, Shared, add_parts, filled};
use crate::simd::Level;
use crate::tile::{OuterTile, ROWS};
use crate::window::Gather;

/// Output pixels that are worked through while their values are in the cache.
const CHUNK: usize = 192;

/// Upper bound on the values of all partial sums together.
const PARTIAL_VALUES: usize = 1 << 21;

/// Channels of the input that are worked through while their values of a chunk are in the cache; a multiple of [`ROWS`].
const DEPTH: usize = 32 * ROWS;

/// Rows that lie so many values apart or more are copied side by side first: at a power of two they drive each other out of the cache.
const FAR: usize = 256;

/// Most parts of the pixels.
const PARTS: usize = 8;

/// The sums, `[groups, taps, channels / groups, out / groups]`; `gather` is the forward one.
pub(crate) fn weight_gradient(level: Level, gather: Gather, groups: usize, dy: &[f32]) -> Vec<f32> {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let taps = vertical.taps() * horizontal.taps();
    let (depth, columns) = (gather.depth, gather.columns / groups);
    let length = groups * taps * depth * columns;
    let lines = gather.batch * vertical.positions; // rows of output pixels over all images
    let parts = (PARTIAL_VALUES / length).clamp(1, PARTS).min(lines);
    let panels = panels(level, columns);
    // With few parts of the pixels, more parts of the weight keep the threads busy: of its matrices, or of the columns of a single
    // one, which then reads the input once for each part and gets no more of them than that.
    let matrices = groups * taps;
    let (slices, columns_apart) = match matrices {
        1 => ((PARTS / parts).min(panels.len()), true),
        _ => ((2 * PARTS).div_ceil(parts).min(matrices), false),
    };
    let lines_per_chunk = (CHUNK / horizontal.positions).max(1);
    let sum_up = |index: usize, sums: Shared| {
        let (part, slice) = (index / slices, index % slices);
        let lines = part * lines / parts..(part + 1) * lines / parts;
        let share = |whole: usize| slice * whole / slices..(slice + 1) * whole / slices;
        let (own, panels) =
            if columns_apart { (0..1, &panels[share(panels.len())]) } else { (share(matrices), &panels[..]) };
        let (Some(first_panel), Some(last_panel)) = (panels.first(), panels.last()) else {
            return;
        };
        let own_columns = first_panel.start..last_panel.start + last_panel.columns;
        let pixels = lines_per_chunk * horizontal.positions;
        let (x_row, dy_row) = (DEPTH.min(depth) + BETWEEN_ROWS, own_columns.len() + BETWEEN_ROWS);
        crate::scratch::with(pixels * (x_row + dy_row), |scratch| {
            let (x_near, dy_near) = scratch.split_at_mut(pixels * x_row);
            for first in lines.clone().step_by(lines_per_chunk) {
                let chunk = first..(first + lines_per_chunk).min(lines.end);
                for matrix in own.clone() {
                    let (group, tap) = (matrix / taps, matrix % taps);
                    let from = (group * depth, group * columns + own_columns.start);
                    let mut pairs = pairs(&gather, dy, chunk.clone(), tap, from);
                    if gather.columns >= FAR {
                        for ((_, dy), near) in pairs.iter_mut().zip(dy_near.chunks_exact_mut(dy_row)) {
                            // SAFETY: a row of the output's gradient has all own columns.
                            *dy = unsafe { copied(*dy, own_columns.len(), near) };
                        }
                    }
                    for start in (0..depth).step_by(DEPTH) {
                        let count = (depth - start).min(DEPTH);
                        let mut pairs = pairs.clone();
                        for ((x, _), near) in pairs.iter_mut().zip(x_near.chunks_exact_mut(x_row)) {
                            let from = x.wrapping_add(start);
                            // SAFETY: a pixel of the input has all channels of the group.
                            *x = if gather.channels >= FAR { unsafe { copied(from, count, near) } } else { from };
                        }
                        for panel in panels {
                            for c in (0..count).step_by(ROWS) {
                                let at = (matrix * depth + start + c) * columns + panel.start;
                                level.run(OuterTile {
                                    pairs: &pairs,
                                    origin: (c, panel.start - own_columns.start),
                                    rows: (count - c).min(ROWS),
                                    columns: panel.columns,
                                    out: sums.pointer().wrapping_add(part * length + at),
                                    fresh: first == lines.start,
                                    stride: columns,
                                });
                            }
                        }
                    }
                }
            }
        });
    };
    // SAFETY: the first chunk of each part writes the sums of all matrices.
    let mut sums = unsafe {
        filled(parts * length, |sums| (0..parts * slices).into_par_iter().for_each(|index| sum_up(index, sums)))
    };
    add_parts(&mut sums, length);
    sums
}

/// The pixels of some lines that a tap reads, each with the output's gradient that it meets, from the given channel and column on.
fn pairs(
    gather: &Gather,
    dy: &[f32],
    lines: Range<usize>,
    tap: usize,
    (channel, column): (usize, usize),
) -> Vec<(*const f32, *const f32)> {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let (a, b) = (tap / horizontal.taps(), tap % horizontal.taps());
    let mut pairs = Vec::with_capacity(lines.len() * horizontal.positions);
    for line in lines {
        let (image, i) = (line / vertical.positions, line % vertical.positions);
        let Some(y) = vertical.source(i, a) else {
            continue;
        };
        let from = (image * vertical.size + y) * horizontal.size;
        for j in 0..horizontal.positions {
            if let Some(x) = horizontal.source(j, b) {
                let x = (from + x) * gather.channels + channel;
                let y = (line * horizontal.positions + j) * gather.columns + column;
                pairs.push((gather.source[x..].as_ptr(), dy[y..].as_ptr()));
            }
        }
    }
    pairs
}

/// Copies a row to the front of `near`, and gives where it now lies.
///
/// # Safety
/// `row` is valid for `length` values.
unsafe fn copied(row: *const f32, length: usize, near: &mut [f32]) -> *const f32 {
    // SAFETY: the caller's.
    near[..length].copy_from_slice(unsafe { std::slice::from_raw_parts(row, length) });
    near.as_ptr()
}
