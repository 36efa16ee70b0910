//! A convolution as a matrix product whose rows are gathered through pointers: forward and for the input's gradient.
//!
//! Formula: `y[n, i, j, o] = act(Σ_{a,b} Σ_c x[n, v(i,a), h(j,b), c] · w[a, b, c, o] + shift[o] + residual[n, i, j, o])` over the taps
//! for which both axes have a source. There is no im2col: the register tile reads the rows in place.

use rayon::prelude::*;

use crate::cpu::disjoint::SharedMut;
use crate::cpu::epilogue::{Epilogue, SharedEpilogue};
use crate::cpu::microkernel::{ROWS, RowTiles, Tap, TileRows};
use crate::cpu::packing::PackedMatrix;
use crate::cpu::window::{Gather, Region, regions};
use crate::simd::{Level, fence};

/// Output pixels per task: enough to reuse a panel of weights while it is in the cache.
const BLOCK: usize = 16 * ROWS;

/// With fewer blocks than this, the panels of a block are divided among tasks too.
const FEWEST_TASKS: usize = 32;

/// Number of parts that the panels are divided into then.
const PANEL_PARTS: usize = 4;

/// Writes `[batch, vertical.positions, horizontal.positions, columns]` to `out`; `weights` holds one matrix per group.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for `columns` values.
pub(super) unsafe fn product(
    level: Level,
    gather: Gather,
    weights: &[PackedMatrix],
    epilogue: Epilogue,
    out: SharedMut,
) {
    let regions = regions(gather.vertical, gather.horizontal);
    let taps: Vec<Vec<Tap>> = regions.iter().map(|region| taps(&gather, region)).collect();
    let mut blocks = Vec::new();
    for (region, taps) in regions.iter().zip(&taps) {
        if taps.is_empty() && std::ptr::eq(epilogue.residual, out.pointer()) {
            continue; // nothing is added to this gradient
        }
        let pixels = gather.batch * region.rows.len() * region.columns.len();
        for start in (0..pixels).step_by(BLOCK) {
            blocks.push((region, taps, start, (pixels - start).min(BLOCK)));
        }
    }
    let epilogue = SharedEpilogue(epilogue);
    let parts = if blocks.len() < FEWEST_TASKS { PANEL_PARTS } else { 1 };
    (0..blocks.len() * parts).into_par_iter().for_each(|index| {
        let (region, taps, start, count) = blocks[index / parts];
        let mut tiles = tiles(&gather, region, taps, start, count);
        for (group, packed) in weights.iter().enumerate() {
            let first_column = group * (gather.columns / weights.len());
            for (panel, values) in packed.panels().skip(index % parts).step_by(parts) {
                level.run(RowTiles {
                    tiles: &tiles,
                    count,
                    taps,
                    depth: gather.depth,
                    panel: values.as_ptr(),
                    columns: panel.columns,
                    out: out.pointer().wrapping_add(first_column + panel.start),
                    epilogue: epilogue.get().at_column(first_column + panel.start),
                });
            }
            for source in tiles.iter_mut().flat_map(|rows| &mut rows.sources) {
                *source = source.wrapping_add(gather.depth);
            }
        }
        fence();
    });
}

/// The region's taps, each as its offset from the first, which is the same at every position of the region.
fn taps(gather: &Gather, region: &Region) -> Vec<Tap> {
    let (i, j) = (region.rows[0], region.columns[0]);
    let source = |&(a, b): &(usize, usize)| gather.source_of(0, (i, j), (a, b)) as isize;
    let first = region.taps.first().map_or(0, source);
    region
        .taps
        .iter()
        .map(|tap| Tap {
            source: source(tap) - first,
            weights: (tap.0 * gather.horizontal.taps() + tap.1) * gather.depth,
        })
        .collect()
}

/// The tiles of consecutive pixels of a region, image by image.
fn tiles(gather: &Gather, region: &Region, taps: &[Tap], start: usize, count: usize) -> Vec<TileRows> {
    let across = region.columns.len();
    let plane = region.rows.len() * across;
    let mut tiles = Vec::with_capacity(count.div_ceil(ROWS));
    let (mut image, mut row, mut column) = (start / plane, start % plane / across, start % across);
    let mut rows = TileRows { sources: [gather.source.as_ptr(); ROWS], targets: [0; ROWS] };
    for index in 0..count {
        let (i, j) = (region.rows[row], region.columns[column]);
        let line = image * gather.vertical.positions + i;
        let lane = index % ROWS;
        rows.targets[lane] = (line * gather.horizontal.positions + j) * gather.columns;
        if !taps.is_empty() {
            let at = gather.source_of(image, (i, j), region.taps[0]);
            rows.sources[lane] = gather.source[at..].as_ptr();
        }
        // A last, partial tile keeps the rows of the tile before: they are read again but not stored.
        if lane == ROWS - 1 || index == count - 1 {
            if index < ROWS {
                let last = rows.sources[lane];
                rows.sources[lane..].fill(last);
            }
            tiles.push(rows);
        }
        column += 1;
        if column == across {
            column = 0;
            row += 1;
            if row == region.rows.len() {
                row = 0;
                image += 1;
            }
        }
    }
    tiles
}
