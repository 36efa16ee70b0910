//! Memory layouts of quantised queries and tiles.
//!
//! The instruction multiplies unsigned by signed bytes, so rows are packed as B + 128 and 128 · ΣA is subtracted again.

use super::quantise::Quantiser;
use crate::prefilter::bounds::{QueryBounds, TileBounds};
use crate::prefilter::tiles::{TILE, Tile};

/// Rows per packed panel: two registers of 16 32-bit sums.
pub(super) const PANEL: usize = 32;

/// Queries per kernel call: 12 × 2 sums, two rows and a query take 27 of 32 registers.
pub(super) const GROUP: usize = 12;

/// Products that one instruction adds to each sum.
pub(super) const STEP: usize = 4;

/// Products that one instruction adds to all sums: the bytes of a register.
pub(super) const LANES: usize = 64;

/// Rounding error of a score relative to (‖a‖ + ‖b‖)²: conversion of the sum to float, two scales and the last subtraction.
const SCORE_ROUNDING: f32 = 4.0 * f32::EPSILON;

/// A tile of rows as bytes.
pub(super) struct PackedTile {
    /// B + 128.
    pub(super) bytes: Vec<u8>,
    pub(super) layout: Layout,
    /// s of each row, 0 beyond the tile.
    pub(super) scales: [f32; TILE],
    /// ‖b‖² of each row, NaN beyond the tile.
    pub(super) squared_norms: [f32; TILE],
    pub(super) bounds: TileBounds,
}

/// Order of the bytes of a tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[panels, steps, PANEL, STEP]`: the sums in a register belong to different rows.
    Panels,
    /// `[rows, dim padded to whole registers]`: a register of sums belongs to one row and is reduced at the end of the row, so that
    /// few rows do not cost a whole panel.
    Rows,
}

impl Layout {
    /// The layout that takes fewer instructions per query.
    pub(super) fn of(rows: usize, dim: usize) -> Self {
        /// Cost of reducing a register, in product instructions.
        const REDUCTION: usize = 10;
        let panels = dim.div_ceil(STEP) * rows.next_multiple_of(PANEL) / (LANES / STEP);
        if rows * (dim.div_ceil(LANES) + REDUCTION) <= panels { Self::Rows } else { Self::Panels }
    }
}

/// A block of queries as integers.
pub(crate) struct Int8Queries {
    /// A as `[queries, steps, STEP]`, padded to whole groups of queries.
    pub(super) integers: Vec<i8>,
    /// 2s of each query.
    pub(super) scales: Vec<f32>,
    /// −128 · ΣA of each query.
    pub(super) corrections: Vec<i32>,
    pub(super) bounds: QueryBounds,
}

impl Int8Queries {
    pub(super) fn new(queries: &[f32], dim: usize, centre: &[f32]) -> Self {
        let count = queries.len() / dim;
        let padded = count.next_multiple_of(GROUP);
        let width = dim.next_multiple_of(STEP);
        let mut block = Self {
            integers: vec![0; padded * width],
            scales: vec![0.0; padded],
            corrections: vec![0; padded],
            bounds: QueryBounds::default(),
        };
        let mut quantiser = Quantiser::new(dim);
        for (index, query) in queries.chunks_exact(dim).enumerate() {
            let integers = &mut block.integers[index * width..][..dim];
            let row = quantiser.quantise(query, centre, integers);
            block.scales[index] = 2.0 * row.scale;
            block.corrections[index] = -128 * integers.iter().map(|a| i32::from(*a)).sum::<i32>();
            block.bounds.squared_norm.push(row.squared_norm);
            block.bounds.approximate_norm.push(row.squared_approximate_norm.sqrt());
            block.bounds.error.push(row.error);
        }
        block
    }
}

impl PackedTile {
    pub(super) fn new(rows: &[f32], dim: usize, centre: &[f32], tile: &Tile) -> Self {
        let layout = Layout::of(tile.count, dim);
        let (steps, row_bytes) = (dim.div_ceil(STEP), dim.next_multiple_of(LANES));
        let length = match layout {
            Layout::Panels => steps * STEP * tile.count.next_multiple_of(PANEL),
            Layout::Rows => row_bytes * tile.count,
        };
        let mut packed = Self {
            bytes: vec![128; length],
            layout,
            scales: [0.0; TILE],
            squared_norms: [f32::NAN; TILE],
            bounds: TileBounds::empty(dim, SCORE_ROUNDING),
        };
        let mut quantiser = Quantiser::new(dim);
        let mut integers = vec![0i8; steps * STEP];
        for column in 0..tile.count {
            let row = quantiser.quantise(&rows[tile.row(column) * dim..][..dim], centre, &mut integers[..dim]);
            packed.scales[column] = row.scale;
            packed.squared_norms[column] = row.squared_norm;
            packed.bounds.add(row.squared_norm, row.squared_approximate_norm, row.error);
            let (start, stride) = match layout {
                Layout::Panels => (column / PANEL * steps * PANEL * STEP + column % PANEL * STEP, PANEL * STEP),
                Layout::Rows => (column * row_bytes, STEP),
            };
            for (step, integers) in integers.chunks_exact(STEP).enumerate() {
                let cell = &mut packed.bytes[start + step * stride..][..STEP];
                for (cell, integer) in cell.iter_mut().zip(integers) {
                    *cell = integer.wrapping_add(-128).cast_unsigned();
                }
            }
        }
        packed
    }
}
