//! Screening by products of 8-bit integers on AVX-512 VNNI: four times as many products a cycle as 32-bit floats.
//!
//! **Formula** For a centred row a, s = max|aᵢ| / 127 and a′ = s · A with A = round(a / s) in −127 … 127, so a′·b′ = s_a s_b (A·B),
//! where A·B is exact in 32 bits up to [`MAX_DIM`]. The errors ‖a − a′‖ are computed, not estimated: about 0.7 % of ‖a‖ each.
//!
//! The instruction multiplies unsigned by signed, so rows are packed as B + 128 and 128 · ΣA is taken off again.

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

/// Rounding of v relative to (‖a‖ + ‖b‖)²: the sum to float, two scales and the last subtraction.
const VALUE_ROUNDING: f32 = 4.0 * f32::EPSILON;

/// Whether this machine has the instructions and rows are short enough.
pub(crate) fn available(dim: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let supported = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let supported = false;
    supported && dim <= MAX_DIM
}

/// Rows in packed panels, with what each needs to be a distance again.
pub(crate) struct Int8 {
    tiles: Vec<PackedTile>,
}

struct PackedTile {
    /// B + 128 as `[TILE / PANEL, steps, PANEL, STEP]`.
    panels: Vec<u8>,
    /// s of each row, 0 beyond the tile.
    scales: [f32; TILE],
    /// ‖b‖² of each row, NaN beyond the tile.
    squared_norms: [f32; TILE],
    bounds: TileBounds,
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
        let steps = dim.div_ceil(STEP);
        let mut packed = Self {
            panels: vec![128; steps * STEP * tile.count.next_multiple_of(PANEL)],
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
            let panel = &mut packed.panels[column / PANEL * steps * PANEL * STEP..][..steps * PANEL * STEP];
            let cells = panel.chunks_exact_mut(PANEL * STEP).map(|step| &mut step[column % PANEL * STEP..][..STEP]);
            for (cell, integers) in cells.zip(integers.chunks_exact(STEP)) {
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

#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{Block, GROUP, PANEL, PackedTile, STEP, TILE};

    /// v of every pair of `block` and `tile` into `values`, `[BLOCK, TILE]`.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn values(block: &Block, tile: &PackedTile, values: &mut [f32]) {
        let width = block.integers.len() / block.scales.len();
        for (number, panel) in tile.panels.chunks_exact(width * PANEL).enumerate() {
            let first = number * PANEL;
            for (group, integers) in block.integers.chunks_exact(GROUP * width).enumerate() {
                let corrections = &block.corrections[group * GROUP..][..GROUP];
                let sums = products(panel, integers, width, corrections);
                let scales = [load(&tile.scales[first..]), load(&tile.scales[first + 16..])];
                let norms = [load(&tile.squared_norms[first..]), load(&tile.squared_norms[first + 16..])];
                for (index, sums) in sums.iter().enumerate() {
                    let query = group * GROUP + index;
                    let scale = _mm512_set1_ps(block.scales[query]);
                    let out = &mut values[query * TILE + first..][..PANEL];
                    for (half, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                        let sum = _mm512_cvtepi32_ps(sums[half]);
                        let value = _mm512_fnmadd_ps(sum, _mm512_mul_ps(scale, scales[half]), norms[half]);
                        // SAFETY: `out` is 16 floats.
                        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), value) };
                    }
                }
            }
        }
        // Panels that a short tile does not have.
        let filled = tile.panels.len() / width;
        if filled < TILE {
            for row in values.chunks_exact_mut(TILE) {
                row[filled..].fill(f32::NAN);
            }
        }
    }

    /// A·B of 12 queries and the 32 rows of a panel.
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    fn products(panel: &[u8], integers: &[i8], width: usize, corrections: &[i32]) -> [[__m512i; 2]; GROUP] {
        let mut sums = [[_mm512_setzero_si512(); 2]; GROUP];
        for (sums, correction) in sums.iter_mut().zip(corrections) {
            *sums = [_mm512_set1_epi32(*correction); 2];
        }
        let (columns, _) = panel.as_chunks::<64>();
        let queries: [&[[i8; STEP]]; GROUP] =
            std::array::from_fn(|query| integers[query * width..][..width].as_chunks::<STEP>().0);
        for step in 0..width / STEP {
            // SAFETY: each chunk is 64 bytes.
            let (left, right) = unsafe {
                (
                    _mm512_loadu_si512(columns[2 * step].as_ptr().cast()),
                    _mm512_loadu_si512(columns[2 * step + 1].as_ptr().cast()),
                )
            };
            for (sums, query) in sums.iter_mut().zip(&queries) {
                let query = _mm512_set1_epi32(i32::from_le_bytes(query[step].map(i8::cast_unsigned)));
                sums[0] = _mm512_dpbusd_epi32(sums[0], left, query);
                sums[1] = _mm512_dpbusd_epi32(sums[1], right, query);
            }
        }
        sums
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(values: &[f32]) -> __m512 {
        let values: &[f32; 16] = values.first_chunk().expect("a panel has 32 rows");
        // SAFETY: the array is 16 floats.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
}
