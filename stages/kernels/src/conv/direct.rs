//! A convolution as a product whose rows are gathered through pointers, forward and for the input's gradient.
//!
//! Formula: `y[n, i, j, o] = act(Σ_{a,b} Σ_c x[n, v(i,a), h(j,b), c] · w[a, b, c, o] + shift[o] + residual[n, i, j, o])` over the taps
//! for which both axes have a source. No im2col: the register tile reads the rows where they lie.

use rayon::prelude::*;

use crate::panel::Packed;
use crate::share::Shared;
use crate::simd::Level;
use crate::tile::{Epilogue, ROWS, RowTile, SharedEpilogue, TapRows};
use crate::window::{Gather, Region, regions};

/// Output pixels per task: enough that a panel of weights is reused while it is in the cache.
const BLOCK: usize = 16 * ROWS;

/// Writes `[batch, vertical.positions, horizontal.positions, columns]` to `out`; `weights` holds one matrix a group.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for `columns` values.
pub(crate) unsafe fn product(level: Level, gather: Gather, weights: &[Packed], epilogue: Epilogue, out: Shared) {
    let regions = regions(gather.vertical, gather.horizontal);
    let mut blocks = Vec::new();
    for region in &regions {
        let pixels = gather.batch * region.rows.len() * region.columns.len();
        for start in (0..pixels).step_by(BLOCK) {
            blocks.push((region, start, (pixels - start).min(BLOCK)));
        }
    }
    let epilogue = SharedEpilogue(epilogue);
    // Few pixels but many columns: share out the panels too.
    let parts = if blocks.len() < 32 { 4 } else { 1 };
    (0..blocks.len() * parts).into_par_iter().for_each(|index| {
        let (region, start, count) = blocks[index / parts];
        let block = Block::new(gather, region, start, count);
        for (group, packed) in weights.iter().enumerate() {
            // SAFETY: blocks and parts cover disjoint pixels and columns; the rest is the caller's.
            unsafe {
                block.run(level, gather, (group, weights.len()), packed, (index % parts, parts), epilogue.get(), out);
            }
        }
    });
}

/// Consecutive pixels of one region with the pointers that their taps read.
struct Block {
    rows: Vec<TapRows>,          // [tiles, taps]
    offsets: Vec<[usize; ROWS]>, // [tiles]
    taps: Vec<usize>,
    count: usize,
}

impl Block {
    fn new(gather: Gather, region: &Region, start: usize, count: usize) -> Self {
        let (vertical, horizontal) = (gather.vertical, gather.horizontal);
        let tiles = count.div_ceil(ROWS);
        let taps = region.taps.len();
        let mut rows = vec![[gather.source.as_ptr(); ROWS]; tiles * taps];
        let mut offsets = vec![[0; ROWS]; tiles];
        let width = region.columns.len();
        let plane = region.rows.len() * width;
        for index in 0..tiles * ROWS {
            // A last, partial tile reads its last pixel again.
            let pixel = start + index.min(count - 1);
            let image = pixel / plane;
            let i = region.rows[pixel % plane / width];
            let j = region.columns[pixel % width];
            let (tile, row) = (index / ROWS, index % ROWS);
            offsets[tile][row] = ((image * vertical.positions + i) * horizontal.positions + j) * gather.columns;
            for (tap, &(a, b)) in region.taps.iter().enumerate() {
                let (Some(y), Some(x)) = (vertical.source(i, a), horizontal.source(j, b)) else {
                    unreachable!("a region's taps have a source at each of its positions")
                };
                let at = ((image * vertical.size + y) * horizontal.size + x) * gather.channels;
                rows[tile * taps + tap][row] = gather.source[at..].as_ptr();
            }
        }
        Self { rows, offsets, taps: region.taps.iter().map(|&(a, b)| a * horizontal.taps() + b).collect(), count }
    }

    /// # Safety
    /// As [`product`]; no other task writes this block's pixels in this part of the panels.
    #[expect(clippy::too_many_arguments, reason = "private and called once")]
    unsafe fn run(
        &self,
        level: Level,
        gather: Gather,
        (group, groups): (usize, usize),
        packed: &Packed,
        (part, parts): (usize, usize),
        epilogue: Epilogue,
        out: Shared,
    ) {
        let depth = gather.channels / groups;
        let first_column = group * (gather.columns / groups);
        let mut rows = self.rows.clone();
        if group > 0 {
            for row in rows.iter_mut().flatten() {
                *row = row.wrapping_add(group * depth);
            }
        }
        let at = |pointer: *const f32, offset: usize| {
            if pointer.is_null() { pointer } else { pointer.wrapping_add(offset) }
        };
        let taps_count = self.taps.len();
        for (panel, values) in packed.panels().skip(part).step_by(parts) {
            let taps: Vec<usize> = self.taps.iter().map(|tap| tap * depth * panel.width).collect();
            let start = first_column + panel.start;
            for (tile, &offsets) in self.offsets.iter().enumerate() {
                level.run(RowTile {
                    rows: &rows[tile * taps_count..][..taps_count],
                    taps: &taps,
                    depth,
                    panel: values.as_ptr(),
                    columns: panel.columns,
                    offsets,
                    count: (self.count - tile * ROWS).min(ROWS),
                    out: out.pointer().wrapping_add(start),
                    epilogue: Epilogue {
                        shift: at(epilogue.shift, start),
                        residual: at(epilogue.residual, start),
                        activation: epilogue.activation,
                    },
                });
            }
        }
    }
}
