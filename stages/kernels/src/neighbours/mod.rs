//! Exact nearest neighbours in order of distance; equal distances are ordered by id.
//!
//! **Formula** For every query q, the k rows x of the gallery with the smallest (D(q, x), id), where D(q, x) = Σᵢ (qᵢ − xᵢ)² by direct
//! differences in `f32` ([`crate::distance`]). Pairs that the caller excludes (the query itself, the same identity seen by the same
//! camera) do not count. The result equals that of a loop over all pairs, bit for bit, on every machine.
//!
//! **Algorithm** A prefilter ([`crate::prefilter`]) scores blocks of queries against tiles of rows; only pairs that may be at or below
//! the query's limit get their exact distance. The limit is the largest distance that the query still keeps. The tiles come in
//! passes, each a regular sample of the gallery. After a fraction f of the gallery, only as many neighbours are kept as the k
//! nearest overall should have there, plus a margin ([`search::quota`]), so the limit is nearly final after a sixteenth of the work. A
//! query for which the margin was too small, which the final count shows, is searched again without this estimate.
//!
//! **Shapes** rows `[n, dim]` and queries `[m, dim]` as slices; [`Neighbours`] `[m, k]`. Besides the result, a thread needs a block of
//! queries with at most 2k + 128 candidates each; the gallery is held once more as bytes.
//!
//! **Reading order** this file, [`lists`], [`search`]; [`scan`](mod@scan) for single queries, [`inverted`] for approximate search.

pub mod inverted;
mod lists;
mod scan;
mod search;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{
    distance::check_rows,
    error::{Result, shape_error},
    prefilter::{
        Prefilter,
        float::FloatPrefilter,
        int8::{self, Int8Prefilter},
        tiles::{self, BLOCK, TILE, Tile},
    },
};
pub use lists::Neighbours;
pub use scan::{scan, squared_distance};
use search::{PassGroup, QueryRows, Search, distance_of, id_of, pass_groups};

/// Passes over a large gallery.
const PASSES: usize = 16;

/// Smallest number of rows for which a gallery is searched in several passes.
const PASSES_FROM: usize = PASSES * TILE;

/// Rows to search, prepared for any number of queries.
///
/// ```
/// use dnc_kernels::neighbours::Gallery;
/// let rows = [0.0, 0.0, 3.0, 0.0, 1.0, 0.0];
/// let gallery = Gallery::new(&rows, 2)?;
/// let found = gallery.nearest(&rows, 1, |query, row| query == row as usize)?;
/// assert_eq!(found.ids, [2, 2, 0]);
/// assert_eq!(found.distances, [1.0, 4.0, 1.0]);
/// # Ok::<(), dnc_kernels::Error>(())
/// ```
pub struct Gallery<'a> {
    rows: &'a [f32],
    dim: usize,
    centre: Vec<f32>,
    tiles: Vec<Tile>,
    pass_groups: Vec<PassGroup>,
    prefilter: AnyPrefilter<'a>,
}

enum AnyPrefilter<'a> {
    Int8(Int8Prefilter),
    Float(FloatPrefilter<'a>),
}

impl<'a> Gallery<'a> {
    /// Prepares `rows`, `[n, dim]`, for any number of searches.
    ///
    /// # Errors
    /// If `rows` is not a whole number of rows of `dim`, has 2³² − 1 of them or more, or holds a value that is not finite or whose
    /// square is not finite.
    pub fn new(rows: &'a [f32], dim: usize) -> Result<Self> {
        Self::with_prefilter(rows, dim, int8::available(dim))
    }

    fn with_prefilter(rows: &'a [f32], dim: usize, integers: bool) -> Result<Self> {
        check_rows(OPERATION, "gallery", rows, dim)?;
        let count = rows.len() / dim;
        if count >= Neighbours::NONE as usize {
            return Err(shape_error(OPERATION, format!("{count} rows are too many for 32-bit ids")));
        }
        let tiles = tiles::tiles(count, if count < PASSES_FROM { 1 } else { PASSES });
        let centre = tiles::centre(rows, dim);
        let prefilter = match integers {
            true => AnyPrefilter::Int8(Int8Prefilter::new(rows.into(), dim, &centre, &tiles)),
            false => AnyPrefilter::Float(FloatPrefilter::new(rows.into(), dim, &centre, &tiles)),
        };
        Ok(Self { rows, dim, centre, pass_groups: pass_groups(&tiles), tiles, prefilter })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The `k` nearest rows of each of `queries`, `[m, dim]`, without those for which `excluded(query, row)` is true.
    ///
    /// `excluded` is called only for near pairs, so it may be slow.
    ///
    /// # Errors
    /// If `k` is 0, or `queries` is not a whole number of rows of the gallery's `dim` or not finite.
    pub fn nearest(
        &self,
        queries: &[f32],
        k: usize,
        excluded: impl Fn(usize, u32) -> bool + Sync,
    ) -> Result<Neighbours> {
        check_rows(OPERATION, "queries", queries, self.dim)?;
        if k == 0 {
            return Err(shape_error(OPERATION, "k must be at least 1"));
        }
        let count = queries.len() / self.dim;
        let mut found =
            Neighbours { k, ids: vec![Neighbours::NONE; count * k], distances: vec![f32::INFINITY; count * k] };
        let indices: Vec<usize> = (0..count).collect();
        indices
            .par_chunks(BLOCK)
            .zip(found.ids.par_chunks_mut(BLOCK * k))
            .zip(found.distances.par_chunks_mut(BLOCK * k))
            .for_each(|((indices, ids), distances)| {
                let rows = &queries[indices[0] * self.dim..][..indices.len() * self.dim];
                let queries = QueryRows { rows, indices, limits: &[f32::INFINITY; BLOCK][..indices.len()] };
                let search = Search {
                    rows: self.rows,
                    dim: self.dim,
                    centre: &self.centre,
                    tiles: &self.tiles,
                    pass_groups: &self.pass_groups,
                    k,
                    excluded: &excluded,
                };
                let lists = match &self.prefilter {
                    AnyPrefilter::Int8(prefilter) => search.nearest(prefilter, queries),
                    AnyPrefilter::Float(prefilter) => search.nearest(prefilter, queries),
                };
                for ((keys, ids), distances) in lists.iter().zip(ids.chunks_mut(k)).zip(distances.chunks_mut(k)) {
                    for ((key, id), distance) in keys.iter().zip(ids).zip(distances) {
                        (*distance, *id) = (distance_of(*key), id_of(*key));
                    }
                }
            });
        Ok(found)
    }
}

const OPERATION: &str = "neighbours";
