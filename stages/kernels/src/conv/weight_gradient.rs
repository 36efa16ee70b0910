//! The gradient of a convolution's weight as sums of outer products, pixel by pixel.
//!
//! Formula: `g[a, b, c, o] = Σ_{n,i,j} x[n, v(i,a), h(j,b), c] · dy[n, i, j, o]`.
//! Shapes: x `[batch, height, width, channels]`, dy `[batch, rows, columns, out]`, g `[groups, taps, channels / groups, out / groups]`.
//!
//! The work is cut into parts of the pixels times parts of the weight; how, follows from the shapes alone. Each part of the
//! pixels has its own sum, and the sums are added in order, so the result is the same for any number of threads.

use rayon::prelude::*;

use crate::panel::panels;
use crate::share::{Shared, add_parts};
use crate::simd::Level;
use crate::tile::{OuterTile, ROWS};
use crate::window::Gather;

/// Output pixels that are worked through while their values are in the cache.
const CHUNK: usize = 192;

/// Upper bound on the values of all partial sums together.
const PARTIAL_VALUES: usize = 1 << 21;

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
    let mut sums = vec![0.0; parts * length];
    let shared = Shared::new(&mut sums);
    (0..parts * slices).into_par_iter().for_each(|index| {
        let (part, slice) = (index / slices, index % slices);
        let lines = part * lines / parts..(part + 1) * lines / parts;
        let share = |whole: usize| slice * whole / slices..(slice + 1) * whole / slices;
        let (own, panels) =
            if columns_apart { (0..1, &panels[share(panels.len())]) } else { (share(matrices), &panels[..]) };
        let mut pairs = Vec::with_capacity(CHUNK);
        let lines_per_chunk = (CHUNK / horizontal.positions).max(1);
        for first in lines.clone().step_by(lines_per_chunk) {
            let chunk = first..(first + lines_per_chunk).min(lines.end);
            for matrix in own.clone() {
                let (group, tap) = (matrix / taps, matrix % taps);
                let (a, b) = (tap / horizontal.taps(), tap % horizontal.taps());
                pairs.clear();
                for line in chunk.clone() {
                    let (image, i) = (line / vertical.positions, line % vertical.positions);
                    let Some(y) = vertical.source(i, a) else {
                        continue;
                    };
                    let from = (image * vertical.size + y) * horizontal.size;
                    for j in 0..horizontal.positions {
                        if let Some(x) = horizontal.source(j, b) {
                            let x = (from + x) * gather.channels + group * depth;
                            let y = (line * horizontal.positions + j) * gather.columns + group * columns;
                            pairs.push((gather.source[x..].as_ptr(), dy[y..].as_ptr()));
                        }
                    }
                }
                let out = part * length + matrix * depth * columns;
                for panel in panels {
                    for c in (0..depth).step_by(ROWS) {
                        let at = out + c * columns + panel.start;
                        level.run(OuterTile {
                            pairs: &pairs,
                            origin: (c, panel.start),
                            rows: (depth - c).min(ROWS),
                            columns: panel.columns,
                            out: shared.pointer().wrapping_add(at),
                            stride: columns,
                        });
                    }
                }
            }
        }
    });
    add_parts(&mut sums, length);
    sums
}
