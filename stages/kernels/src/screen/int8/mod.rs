//! Screening by products of 8-bit integers on AVX-512 VNNI: four times as many products a cycle as 32-bit floats.
//!
//! **Formula** For a centred row a, s = max|aᵢ| / 127 and a′ = s · A with A = round(a / s) in −127 … 127, so a′·b′ = s_a s_b (A·B),
//! where A·B is exact in 32 bits up to [`MAX_DIM`]. The errors ‖a − a′‖ are computed, not estimated: about 0.7 % of ‖a‖ each.
//!
//! The instruction multiplies unsigned by signed, so rows are packed as B + 128 and 128 · ΣA is taken off again.

#[cfg(target_arch = "x86_64")]
mod vnni;

use std::borrow::Cow;

use rayon::prelude::*;

use super::{BLOCK, QueryBounds, Screen, TILE, Tile, TileBounds};
use crate::{distance, vectorise::vectorised};

/// Up to here 255 · 127 · dim fits 31 bits.
const MAX_DIM: usize = 65_536;

/// Rows of a packed panel: two registers of 16 32-bit sums.
const PANEL: usize = 32;

/// Queries of one kernel call: 12 × 2 sums, two rows and a query fill 27 of 32 registers.
const GROUP: usize = 12;

/// Products of one instruction for each sum.
const STEP: usize = 4;

/// Products of one instruction for all sums: the bytes of a register.
const LANES: usize = 64;

/// Rounding of v relative to (‖a‖ + ‖b‖)²: the sum to float, two scales and the last subtraction.
const VALUE_ROUNDING: f32 = 4.0 * f32::EPSILON;

/// Whether this machine has the instructions and rows are short enough.
pub(crate) fn available(dim: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let supported = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let supported = false;
    supported && dim <= MAX_DIM
}

/// Rows as bytes, with what each needs to be a distance again.
pub(crate) struct Int8 {
    tiles: Vec<PackedTile>,
}

struct PackedTile {
    /// B + 128.
    bytes: Vec<u8>,
    layout: Layout,
    /// s of each row, 0 beyond the tile.
    scales: [f32; TILE],
    /// ‖b‖² of each row, NaN beyond the tile.
    squared_norms: [f32; TILE],
    bounds: TileBounds,
}

/// How the bytes of a tile lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[panels, steps, PANEL, STEP]`: the sums of a register belong to different rows.
    Panels,
    /// `[rows, dim filled up to whole registers]`: a register of sums belongs to one row and is added up at its end, so that
    /// few rows cost no whole panel.
    Rows,
}

impl Layout {
    /// Whichever takes fewer instructions for a query.
    fn of(rows: usize, dim: usize) -> Self {
        /// What adding up a register costs, in products.
        const ADDING_UP: usize = 10;
        let panels = dim.div_ceil(STEP) * rows.next_multiple_of(PANEL) / (LANES / STEP);
        if rows * (dim.div_ceil(LANES) + ADDING_UP) <= panels { Self::Rows } else { Self::Panels }
    }
}

/// Queries as integers.
pub(crate) struct Block {
    /// A as `[BLOCK, steps, STEP]`, as many whole groups as are needed.
    integers: Vec<i8>,
    /// 2s of each query.
    scales: Vec<f32>,
    /// −128 · ΣA of each query.
    corrections: Vec<i32>,
    known: QueryBounds,
}

impl Screen<'_> for Int8 {
    type Block<'q> = Block;

    fn new(rows: Cow<'_, [f32]>, dim: usize, centre: &[f32], tiles: &[Tile]) -> Self {
        let tiles = tiles.par_iter().map(|tile| PackedTile::new(&rows, dim, centre, tile)).collect();
        Self { tiles }
    }

    fn block(queries: &[f32], dim: usize, centre: &[f32]) -> Block {
        let count = queries.len() / dim;
        let padded = count.next_multiple_of(GROUP);
        let width = dim.next_multiple_of(STEP);
        let mut block = Block {
            integers: vec![0; padded * width],
            scales: vec![0.0; padded],
            corrections: vec![0; padded],
            known: QueryBounds::default(),
        };
        let mut quantiser = Quantiser::new(dim);
        for (index, query) in queries.chunks_exact(dim).enumerate() {
            let integers = &mut block.integers[index * width..][..dim];
            let row = quantiser.quantise(query, centre, integers);
            block.scales[index] = 2.0 * row.scale;
            block.corrections[index] = -128 * integers.iter().map(|a| i32::from(*a)).sum::<i32>();
            block.known.squared_norm.push(row.squared_norm);
            block.known.screened_norm.push(row.squared_screened_norm.sqrt());
            block.known.error.push(row.error);
        }
        block
    }

    fn values(&self, block: &Block, tile: usize, values: &mut [f32]) {
        assert!(block.scales.len() <= BLOCK && values.len() == BLOCK * TILE, "values are [BLOCK, TILE]");
        #[cfg(target_arch = "x86_64")]
        // SAFETY: whoever makes an `Int8` has asked `available` whether the machine has the instructions.
        unsafe {
            vnni::values(block, &self.tiles[tile], values);
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("`available` is false on this architecture ({tile} {})", values.len());
    }

    fn queries(block: &Block) -> &QueryBounds {
        &block.known
    }

    fn tile(&self, tile: usize) -> &TileBounds {
        &self.tiles[tile].bounds
    }
}

impl PackedTile {
    fn new(rows: &[f32], dim: usize, centre: &[f32], tile: &Tile) -> Self {
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
            bounds: TileBounds::empty(dim, VALUE_ROUNDING),
        };
        let mut quantiser = Quantiser::new(dim);
        let mut integers = vec![0i8; steps * STEP];
        for column in 0..tile.count {
            let row = quantiser.quantise(&rows[tile.row(column) * dim..][..dim], centre, &mut integers[..dim]);
            packed.scales[column] = row.scale;
            packed.squared_norms[column] = row.squared_norm;
            packed.bounds.add(row.squared_norm, row.squared_screened_norm, row.error);
            let (start, distance) = match layout {
                Layout::Panels => (column / PANEL * steps * PANEL * STEP + column % PANEL * STEP, PANEL * STEP),
                Layout::Rows => (column * row_bytes, STEP),
            };
            for (step, integers) in integers.chunks_exact(STEP).enumerate() {
                let cell = &mut packed.bytes[start + step * distance..][..STEP];
                for (cell, integer) in cell.iter_mut().zip(integers) {
                    *cell = integer.wrapping_add(-128).cast_unsigned();
                }
            }
        }
        packed
    }
}

/// What is known of a row once it is integers.
struct Quantised {
    scale: f32,
    squared_norm: f32,
    squared_screened_norm: f32,
    error: f32,
}

/// Turns rows into integers; holds the two rows that it needs on the way.
struct Quantiser {
    centred: Vec<f32>,
    screened: Vec<f32>,
}

impl Quantiser {
    fn new(dim: usize) -> Self {
        Self { centred: vec![0.0; dim], screened: vec![0.0; dim] }
    }

    fn quantise(&mut self, row: &[f32], centre: &[f32], integers: &mut [i8]) -> Quantised {
        vectorised(
            #[inline(always)]
            || self.quantise_here(row, centre, integers),
        )
    }

    #[inline(always)]
    fn quantise_here(&mut self, row: &[f32], centre: &[f32], integers: &mut [i8]) -> Quantised {
        for (centred, (value, centre)) in self.centred.iter_mut().zip(row.iter().zip(centre)) {
            *centred = value - centre;
        }
        let largest = largest(&self.centred);
        let scale = largest / 127.0;
        // A row at the centre, or so near that its reciprocal overflows, is screened as the centre itself.
        let inverse = if scale > 1e-30 { 1.0 / scale } else { 0.0 };
        for ((screened, integer), value) in self.screened.iter_mut().zip(&mut *integers).zip(&self.centred) {
            // Adding and taking off 1.5 · 2²³ rounds to the nearest integer on every instruction set.
            const ROUND: f32 = 12_582_912.0;
            let rounded = (value * inverse + ROUND) - ROUND;
            // SAFETY: |value · inverse| ≤ 127 up to rounding, so it is a small whole number.
            *integer = unsafe { rounded.to_int_unchecked::<i32>() } as i8;
            *screened = rounded * scale;
        }
        let rounding = 1.0 + distance::rounding(row.len());
        let squared_norm = distance::squared_norm(&self.centred);
        Quantised {
            scale,
            squared_norm,
            squared_screened_norm: distance::squared_norm(&self.screened),
            // Centring and scaling each round once, relative to the row.
            error: distance::squared(&self.centred, &self.screened).sqrt() * rounding
                + squared_norm.sqrt() * 2.0 * f32::EPSILON,
        }
    }
}

/// The largest absolute value of finite numbers.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut largest = [0.0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    let larger = |a: f32, b: f32| if a.abs() > b { a.abs() } else { b };
    for values in chunks {
        for (largest, &value) in largest.iter_mut().zip(values) {
            *largest = larger(value, *largest);
        }
    }
    rest.iter().chain(&largest).fold(0.0, |largest, &value| larger(value, largest))
}
