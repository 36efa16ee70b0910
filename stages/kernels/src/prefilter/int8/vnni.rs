//! The loops over the VNNI instruction: A·B of all pairs, and the scores.

use std::arch::x86_64::*;

use super::packed::{GROUP, Int8Queries, LANES, Layout, PANEL, PackedTile, STEP};
use crate::prefilter::tiles::TILE;

/// Writes the score of every pair of `queries` and `tile` to `scores`, `[BLOCK, TILE]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn scores(queries: &Int8Queries, tile: &PackedTile, scores: &mut [f32]) {
    let width = queries.integers.len() / queries.scales.len();
    let filled = match tile.layout {
        Layout::Panels => by_panels(queries, tile, width, scores),
        Layout::Rows => by_rows(queries, tile, width, scores),
    };
    if filled < TILE {
        for row in scores.chunks_exact_mut(TILE) {
            row[filled..].fill(f32::NAN);
        }
    }
}

/// [`scores`] for [`Layout::Panels`]; returns the number of columns written.
#[target_feature(enable = "avx512f,avx512vnni")]
fn by_panels(queries: &Int8Queries, tile: &PackedTile, width: usize, scores: &mut [f32]) -> usize {
    for (number, panel) in tile.bytes.chunks_exact(width * PANEL).enumerate() {
        let first = number * PANEL;
        for (group, integers) in queries.integers.chunks_exact(GROUP * width).enumerate() {
            let corrections = &queries.corrections[group * GROUP..][..GROUP];
            let sums = products(panel, integers, width, corrections);
            let scales = [load(&tile.scales[first..]), load(&tile.scales[first + 16..])];
            let norms = [load(&tile.squared_norms[first..]), load(&tile.squared_norms[first + 16..])];
            for (index, sums) in sums.iter().enumerate() {
                let query = group * GROUP + index;
                let scale = _mm512_set1_ps(queries.scales[query]);
                let out = &mut scores[query * TILE + first..][..PANEL];
                for (half, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                    let sum = _mm512_cvtepi32_ps(sums[half]);
                    let value = _mm512_fnmadd_ps(sum, _mm512_mul_ps(scale, scales[half]), norms[half]);
                    // SAFETY: `out` is 16 floats.
                    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), value) };
                }
            }
        }
    }
    tile.bytes.len() / width
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

/// [`scores`] for [`Layout::Rows`]; returns the number of columns written.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn by_rows(queries: &Int8Queries, tile: &PackedTile, width: usize, scores: &mut [f32]) -> usize {
    /// Rows per pass over a query.
    const TOGETHER: usize = 4;
    let row_bytes = width.next_multiple_of(LANES);
    let count = tile.bytes.len() / row_bytes;
    for (query, integers) in queries.integers.chunks_exact(width).enumerate() {
        let mut write = |column: usize, sum: i32| {
            let sum = (sum + queries.corrections[query]) as f32;
            let scale = queries.scales[query] * tile.scales[column];
            scores[query * TILE + column] = (-sum).mul_add(scale, tile.squared_norms[column]);
        };
        let mut rows = tile.bytes.chunks_exact(TOGETHER * row_bytes);
        let mut column = 0;
        for rows in rows.by_ref() {
            for sum in row_products::<TOGETHER>(rows, integers) {
                write(column, sum);
                column += 1;
            }
        }
        for row in rows.remainder().chunks_exact(row_bytes) {
            let [sum] = row_products(row, integers);
            write(column, sum);
            column += 1;
        }
    }
    count
}

/// (B + 128)·A of a query and `ROWS` consecutive rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn row_products<const ROWS: usize>(rows: &[u8], query: &[i8]) -> [i32; ROWS] {
    let row_bytes = rows.len() / ROWS;
    let mut sums = [_mm512_setzero_si512(); ROWS];
    for (number, lanes) in query.chunks(LANES).enumerate() {
        // Zeros after the query's end cancel the padding of the rows.
        let mask = u64::MAX >> (LANES - lanes.len());
        // SAFETY: the mask selects the values of the slice only.
        let lanes = unsafe { _mm512_maskz_loadu_epi8(mask, lanes.as_ptr()) };
        for (row, sum) in sums.iter_mut().enumerate() {
            let row = &rows[row * row_bytes + number * LANES..][..LANES];
            // SAFETY: the slice is 64 bytes.
            let row = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, row, lanes);
        }
    }
    let mut totals = [0; ROWS];
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = _mm512_reduce_add_epi32(sum);
    }
    totals
}
