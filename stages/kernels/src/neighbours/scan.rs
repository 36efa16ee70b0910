//! The nearest rows by a scan over all of them: for a single query, which does not repay the preparation of a
//! [`Gallery`](super::Gallery), and for distances other than the Euclidean one.

use rayon::prelude::*;

use super::lists::Neighbours;
use super::search::{distance_of, id_of, key};
use crate::distance::{self, check_rows};
use crate::error::{Result, shape_error};
use crate::vectorise::vectorised;

/// Rows that a thread scans at a time.
const ROWS: usize = 1024;

const OPERATION: &str = "neighbours by a scan";

/// The squared Euclidean distance of two vectors of equal length, as everywhere in this crate.
#[must_use]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || distance::squared(a, b),
    )
}

/// The `k` of `rows`, `[n, dim]`, with the smallest `distance`, which must not be negative; equal distances are ordered by id. With
/// [`squared_distance`] the result is that of [`Gallery::nearest`](super::Gallery::nearest), bit for bit.
///
/// # Errors
/// If `k` is 0, or `rows` is not a whole number of rows of `dim`, has 2³² − 1 of them or more, or is not finite.
pub fn scan(rows: &[f32], dim: usize, k: usize, distance: impl Fn(&[f32]) -> f32 + Sync) -> Result<Neighbours> {
    check_rows(OPERATION, "rows", rows, dim)?;
    if k == 0 {
        return Err(shape_error(OPERATION, "k must be at least 1"));
    }
    let count = rows.len() / dim;
    if count >= Neighbours::NONE as usize {
        return Err(shape_error(OPERATION, format!("{count} rows are too many for 32-bit ids")));
    }
    let nearest = |mut keys: Vec<u64>| {
        if keys.len() > k {
            keys.select_nth_unstable(k - 1);
            keys.truncate(k);
        }
        keys
    };
    let blocks = rows.par_chunks(ROWS * dim).enumerate().map(|(block, rows)| {
        let first = (block * ROWS) as u32;
        nearest(rows.chunks_exact(dim).zip(first..).map(|(row, id)| key(distance(row), id)).collect())
    });
    let mut keys = nearest(blocks.reduce(Vec::new, |mut all, more| {
        all.extend(more);
        nearest(all)
    }));
    keys.sort_unstable();
    let (mut ids, mut distances) = (vec![Neighbours::NONE; k], vec![f32::INFINITY; k]);
    for ((key, id), distance) in keys.into_iter().zip(&mut ids).zip(&mut distances) {
        (*distance, *id) = (distance_of(key), id_of(key));
    }
    Ok(Neighbours { k, ids, distances })
}
