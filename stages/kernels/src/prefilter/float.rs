//! The portable prefilter: faer's 32-bit matrix product.
//!
//! **Formula** a′ = a and b′ = b, so that e = E = δ = 0; what remains is the rounding of the product,
//! |fl(a·b) − a·b| ≤ γ‖a‖‖b‖ with γ = dim · 2⁻²⁴ for any order of summation (Higham, *Accuracy and Stability*, §3.1).

use std::borrow::Cow;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use super::Prefilter;
use super::bounds::{QueryBounds, TileBounds};
use super::tiles::{TILE, Tile};
use crate::{distance, vectorise::vectorised};

/// Unchanged rows and their norms.
pub(crate) struct FloatPrefilter<'a> {
    rows: Cow<'a, [f32]>,
    dim: usize,
    tiles: Vec<(Tile, TileBounds)>,
    squared_norms: Vec<f32>,
}

/// Unchanged queries and their norms.
pub(crate) struct FloatQueries<'q> {
    rows: &'q [f32],
    bounds: QueryBounds,
}

/// γ plus an allowance for the rounding of norms and sums; twice the product's error is at most γ(‖a‖ + ‖b‖)²/2.
fn rounding(dim: usize) -> f32 {
    (dim as f32 + 32.0) * f32::EPSILON / 2.0
}

impl<'a> Prefilter<'a> for FloatPrefilter<'a> {
    type Queries<'q> = FloatQueries<'q>;

    fn new(rows: Cow<'a, [f32]>, dim: usize, _centre: &[f32], tiles: &[Tile]) -> Self {
        let squared_norms = squared_norms(&rows, dim);
        let bounds = |tile: &Tile| {
            let mut bounds = TileBounds::empty(dim, rounding(dim));
            for column in 0..tile.count {
                let norm = squared_norms[tile.row(column)];
                bounds.add(norm, norm, 0.0);
            }
            (*tile, bounds)
        };
        Self { rows, dim, tiles: tiles.iter().map(bounds).collect(), squared_norms }
    }

    fn prepare<'q>(queries: &'q [f32], dim: usize, _centre: &[f32]) -> FloatQueries<'q> {
        let squared_norm = squared_norms(queries, dim);
        let approximate_norm = squared_norm.iter().map(|norm| norm.sqrt()).collect();
        let error = vec![0.0; squared_norm.len()];
        FloatQueries { rows: queries, bounds: QueryBounds { squared_norm, approximate_norm, error } }
    }

    fn scores(&self, queries: &FloatQueries<'_>, tile: usize, scores: &mut [f32]) {
        let tile = &self.tiles[tile].0;
        let count = queries.rows.len() / self.dim;
        let rows = &self.rows[tile.first * self.dim..];
        let rows = &rows[..((tile.count - 1) * tile.stride + 1) * self.dim];
        let gallery = MatRef::from_row_major_slice_with_stride(rows, tile.count, self.dim, tile.stride * self.dim);
        let queries = MatRef::from_row_major_slice(queries.rows, count, self.dim);
        // Transposed, because the row-major counterpart of this function in faer 0.24.4 swaps the strides.
        let products = MatMut::from_column_major_slice_with_stride_mut(scores, tile.count, count, TILE);
        matmul(products, Accum::Replace, gallery, queries.transpose(), -2.0f32, Par::Seq);
        for scores in scores.chunks_exact_mut(TILE).take(count) {
            let (scores, padding) = scores.split_at_mut(tile.count);
            for (column, score) in scores.iter_mut().enumerate() {
                *score += self.squared_norms[tile.row(column)];
            }
            padding.fill(f32::NAN);
        }
    }

    fn query_bounds<'b>(queries: &'b FloatQueries<'_>) -> &'b QueryBounds {
        &queries.bounds
    }

    fn tile_bounds(&self, tile: usize) -> &TileBounds {
        &self.tiles[tile].1
    }
}

fn squared_norms(rows: &[f32], dim: usize) -> Vec<f32> {
    vectorised(
        #[inline(always)]
        || rows.chunks_exact(dim).map(distance::squared_norm).collect(),
    )
}
