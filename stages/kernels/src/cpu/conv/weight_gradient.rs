//! The gradient of a convolution's weight as sums of outer products, pixel by pixel.
//!
//! Formula: `g[a, b, c, o] = Σ_{n,i,j} x[n, v(i,a), h(j,b), c] · dy[n, i, j, o]`.
//! Shapes: x `[batch, height, width, channels]`, dy `[batch, rows, columns, out]`, g `[groups, taps, channels / groups, out / groups]`.
//!
//! The work is divided into parts of the pixels times parts of the weight, depending only on the shapes. Each part of the pixels
//! has its own sum, and the sums are added in order, so the result is the same for any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::disjoint::{SharedMut, written_by};
use crate::cpu::microkernel::{OuterProductTile, ROWS};
use crate::cpu::packing::panels;
use crate::cpu::scratch::{self, ROW_GAP};
use crate::cpu::sums::{MOST_PARTS, part_count, sum_parts};
use crate::cpu::window::Gather;
use crate::simd::Level;

/// Output pixels per chunk, whose values stay in the cache.
const CHUNK: usize = 192;

/// Input channels processed at a time, whose values of a chunk stay in the cache; a multiple of [`ROWS`].
const DEPTH: usize = 32 * ROWS;

/// Rows at least this many values apart are copied to adjacent memory first: at powers of two they evict each other from the cache.
const COPIED_FROM_STRIDE: usize = 256;

/// The sums, `[groups, taps, channels / groups, out / groups]`; `gather` is the forward one.
pub(super) fn weight_gradient(level: Level, gather: Gather, groups: usize, dy: &[f32]) -> Vec<f32> {
    let (vertical, horizontal) = (gather.vertical, gather.horizontal);
    let taps = vertical.taps() * horizontal.taps();
    let (depth, columns) = (gather.depth, gather.columns / groups);
    let length = groups * taps * depth * columns;
    let lines = gather.batch * vertical.positions; // rows of output pixels over all images
    let parts = part_count(length, lines);
    let panels = panels(level, columns);
    // With few parts of the pixels, dividing the weight keeps the threads busy: by its matrices, or by the columns of a single
    // matrix, in which case each part reads the whole input and there are no more parts than that.
    let matrices = groups * taps;
    let (slices, divides_columns) = match matrices {
        1 => ((MOST_PARTS / parts).min(panels.len()), true),
        _ => ((2 * MOST_PARTS).div_ceil(parts).min(matrices), false),
    };
    let lines_per_chunk = (CHUNK / horizontal.positions).max(1);
    let sum_part = |index: usize, sums: SharedMut| {
        let (part, slice) = (index / slices, index % slices);
        let lines = part * lines / parts..(part + 1) * lines / parts;
        let range = |whole: usize| slice * whole / slices..(slice + 1) * whole / slices;
        let (own, panels) =
            if divides_columns { (0..1, &panels[range(panels.len())]) } else { (range(matrices), &panels[..]) };
        let (Some(first_panel), Some(last_panel)) = (panels.first(), panels.last()) else {
            return;
        };
        let own_columns = first_panel.start..last_panel.start + last_panel.columns;
        let pixels = lines_per_chunk * horizontal.positions;
        let (x_row, dy_row) = (DEPTH.min(depth) + ROW_GAP, own_columns.len() + ROW_GAP);
        scratch::with(pixels * (x_row + dy_row), |scratch| {
            let (x_copy, dy_copy) = scratch.split_at_mut(pixels * x_row);
            for first in lines.clone().step_by(lines_per_chunk) {
                let chunk = first..(first + lines_per_chunk).min(lines.end);
                for matrix in own.clone() {
                    let (group, tap) = (matrix / taps, matrix % taps);
                    let from = (group * depth, group * columns + own_columns.start);
                    let mut pairs = pairs(&gather, dy, chunk.clone(), tap, from);
                    if gather.columns >= COPIED_FROM_STRIDE {
                        for ((_, dy), copy) in pairs.iter_mut().zip(dy_copy.chunks_exact_mut(dy_row)) {
                            // SAFETY: a row of the output's gradient has all columns of this part.
                            *dy = unsafe { copied(*dy, own_columns.len(), copy) };
                        }
                    }
                    for start in (0..depth).step_by(DEPTH) {
                        let count = (depth - start).min(DEPTH);
                        let mut pairs = pairs.clone();
                        for ((x, _), copy) in pairs.iter_mut().zip(x_copy.chunks_exact_mut(x_row)) {
                            let from = x.wrapping_add(start);
                            *x = if gather.channels >= COPIED_FROM_STRIDE {
                                // SAFETY: a pixel of the input has all channels of the group.
                                unsafe { copied(from, count, copy) }
                            } else {
                                from
                            };
                        }
                        for panel in panels {
                            for c in (0..count).step_by(ROWS) {
                                let at = (matrix * depth + start + c) * columns + panel.start;
                                level.run(OuterProductTile {
                                    pairs: &pairs,
                                    origin: (c, panel.start - own_columns.start),
                                    rows: (count - c).min(ROWS),
                                    columns: panel.columns,
                                    out: sums.pointer().wrapping_add(part * length + at),
                                    overwrite: first == lines.start,
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
        written_by(parts * length, |sums| (0..parts * slices).into_par_iter().for_each(|index| sum_part(index, sums)))
    };
    sum_parts(&mut sums, length);
    sums
}

/// The input pixels that a tap reads in some lines, each with the output gradient it is multiplied by, from the given channel and
/// column on.
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

/// Copies a row to the front of `copy` and returns the pointer to it there.
///
/// # Safety
/// `row` is valid for `length` values.
unsafe fn copied(row: *const f32, length: usize, copy: &mut [f32]) -> *const f32 {
    // SAFETY: guaranteed by the caller.
    copy[..length].copy_from_slice(unsafe { std::slice::from_raw_parts(row, length) });
    copy.as_ptr()
}
