//! Screening by faer's 32-bit product: the portable way, as fast as the machine multiplies floats.
//!
//! **Formula** a′ = a and b′ = b, so that e = E = δ = 0; what remains is the rounding of the product,
//! |fl(a·b) − a·b| ≤ γ‖a‖‖b‖ with γ = dim · 2⁻²⁴ for any order of summation (Higham, *Accuracy and Stability*, §3.1).

use std::borrow::Cow;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use super::{QueryBounds, Screen, TILE, Tile, TileBounds};
use crate::{distance, vectorise::vectorised};

/// Rows as they are, with their norms.
pub(crate) struct Float<'a> {
    rows: Cow<'a, [f32]>,
    dim: usize,
    tiles: Vec<(Tile, TileBounds)>,
    squared_norms: Vec<f32>,
}

/// Queries as they are.
pub(crate) struct Block<'q> {
    queries: &'q [f32],
    known: QueryBounds,
}

/// γ with a few roundings of the norms and sums added; twice the product's error is at most γ(‖a‖ + ‖b‖)²/2.
fn rounding(dim: usize) -> f32 {
    (dim as f32 + 32.0) * f32::EPSILON / 2.0
}

impl<'a> Screen<'a> for Float<'a> {
    type Block<'q> = Block<'q>;

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

    fn block<'q>(queries: &'q [f32], dim: usize, _centre: &[f32]) -> Block<'q> {
        let squared_norm = squared_norms(queries, dim);
        let screened_norm = squared_norm.iter().map(|norm| norm.sqrt()).collect();
        let error = vec![0.0; squared_norm.len()];
        Block { queries, known: QueryBounds { squared_norm, screened_norm, error } }
    }

    fn values(&self, block: &Block<'_>, tile: usize, values: &mut [f32]) {
        let tile = &self.tiles[tile].0;
        let count = block.queries.len() / self.dim;
        let rows = &self.rows[tile.first * self.dim..];
        let rows = &rows[..((tile.count - 1) * tile.stride + 1) * self.dim];
        let gallery = MatRef::from_row_major_slice_with_stride(rows, tile.count, self.dim, tile.stride * self.dim);
        let queries = MatRef::from_row_major_slice(block.queries, count, self.dim);
        // Transposed, because faer 0.24.4's row-major counterpart of this function swaps the strides.
        let scores = MatMut::from_column_major_slice_with_stride_mut(values, tile.count, count, TILE);
        matmul(scores, Accum::Replace, gallery, queries.transpose(), -2.0f32, Par::Seq);
        for values in values.chunks_exact_mut(TILE).take(count) {
            let (values, padding) = values.split_at_mut(tile.count);
            for (column, value) in values.iter_mut().enumerate() {
                *value += self.squared_norms[tile.row(column)];
            }
            padding.fill(f32::NAN);
        }
    }

    fn queries<'b>(block: &'b Block<'_>) -> &'b QueryBounds {
        &block.known
    }

    fn tile(&self, tile: usize) -> &TileBounds {
        &self.tiles[tile].1
    }
}

fn squared_norms(rows: &[f32], dim: usize) -> Vec<f32> {
    vectorised(
        #[inline(always)]
        || rows.chunks_exact(dim).map(distance::squared_norm).collect(),
    )
}
