//! A convolution as a product whose rows are gathered through pointers, forward and for the input's gradient.
//!
//! Formula: `y[n, i, j, o] = act(Σ_{a,b} Σ_c x[n, v(i,a), h(j,b), c] · w[a, b, c, o] + shift[o] + residual[n, i, j, o])` over the taps
//! for which both axes have a source. No im2col: the register tile reads the rows where they lie.

use rayon::prelude::*;

use crate::panel::Packed;
use crate::share::Shared;
use crate::simd::{Level, fence};
use crate::tile::{Epilogue, ROWS, RowTiles, Rows, SharedEpilogue, Tap};
use crate::window::{Gather, Region, regions};

/// Output pixels per task: enough that a panel of weights is reused while it is in the cache.
const BLOCK: usize = 16 * ROWS;

/// Fewest tasks; below, a block's panels are shared out as well.
const FEWEST_TASKS: usize = 32;

/// Parts of the panels where there are few blocks.
const PANEL_PARTS: usize = 4;

/// Writes `[batch, vertical.positions, horizontal.positions, columns]` to `out`; `weights` holds one matrix a group.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for `columns` values.
pub(crate) unsafe fn product(level: Level, gather: Gather, weights: &[Packed], epilogue: Epilogue, out: Shared) {
    let regions = regions(gather.vertical, gather.horizontal);
    let taps: Vec<Vec<Tap>> = regions.iter().map(|region| taps(&gather, region)).collect();
    let mut blocks = Vec::new();
    for (region, taps) in regions.iter().zip(&taps) {
        if taps.is_empty() && std::ptr::eq(epilogue.residual, out.pointer()) {
            continue; // a gradient that nothing is added to
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

/// The region's taps, each as its distance from the first, which is the same at every position of the region.
fn taps(gather: &Gather, region: &Region) -> Vec<Tap> {
    let (i, j) = (region.rows[0], region.columns[0]);
    let place = |&(a, b): &(usize, usize)| gather.source_of(0, (i, j), (a, b)) as isize;
    let first = region.taps.first().map_or(0, place);
    region
        .taps
        .iter()
        .map(|tap| Tap {
            source: place(tap) - first,
            weights: (tap.0 * gather.horizontal.taps() + tap.1) * gather.depth,
        })
        .collect()
}

/// The tiles of consecutive pixels of a region, image by image.
fn tiles(gather: &Gather, region: &Region, taps: &[Tap], start: usize, count: usize) -> Vec<Rows> {
    let across = region.columns.len();
    let plane = region.rows.len() * across;
    let mut tiles = Vec::with_capacity(count.div_ceil(ROWS));
    let (mut image, mut row, mut column) = (start / plane, start % plane / across, start % across);
    let mut rows = Rows { sources: [gather.source.as_ptr(); ROWS], targets: [0; ROWS] };
    for index in 0..count {
        let (i, j) = (region.rows[row], region.columns[column]);
        let line = image * gather.vertical.positions + i;
        let slot = index % ROWS;
        rows.targets[slot] = (line * gather.horizontal.positions + j) * gather.columns;
        if !taps.is_empty() {
            let at = gather.source_of(image, (i, j), region.taps[0]);
            rows.sources[slot] = gather.source[at..].as_ptr();
        }
        // A last, partial tile keeps the rows of the tile before: they are read again and not stored.
        if slot == ROWS - 1 || index == count - 1 {
            if index < ROWS {
                let filled = rows.sources[slot];
                rows.sources[slot..].fill(filled);
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
