//! Exact nearest neighbours: all of them, in the order of their distance, equal distances in the order of their ids.
//!
//! **Formula** For every query q the k rows x of the gallery with the least (D(q, x), id), D(q, x) = Σᵢ (qᵢ − xᵢ)² by direct
//! differences in `f32` ([`crate::distance`]); pairs that the caller excludes (the query itself, the same identity seen by the
//! same camera) do not count. The result is the one of a loop over all pairs, bit for bit, on every machine.
//!
//! **How** Blocks of queries are screened against tiles of rows ([`crate::screen`]); only pairs that may be at or below the
//! query's limit get their exact distance. The limit is the worst distance that the query still keeps. The tiles come in
//! passes, each a regular sample of the gallery, and after a share f of it only as many neighbours are kept as the k nearest of
//! all should have there, with a margin ([`search::quota`]). The limit is thus nearly final after a sixteenth of the work. A query for
//! which that was too bold, which the final count shows, is searched once more without the guess.
//!
//! **Shapes** rows `[n, dim]` and queries `[m, dim]` as slices; [`Neighbours`] `[m, k]`. Beyond the result a thread needs
//! a block of queries with at most 2k + 128 candidates each; the gallery is held once more as bytes.

mod search;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    distance,
    error::{Error, Result, misfit},
    screen::{self, BLOCK, Screen, TILE, Tile, float::Float, int8, int8::Int8},
    vectorise::vectorised,
};
use search::{Asked, Search, distance_of, id_of};

/// Passes over a large gallery.
const PASSES: usize = 16;

/// A gallery gets its passes from this many rows on.
const PASSES_FROM: usize = PASSES * TILE;

/// The k nearest rows of each query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Entries of each query.
    pub k: usize,
    /// Gallery rows, nearest first, `[queries, k]`; [`Neighbours::NONE`] where a query has fewer than k.
    pub ids: Vec<u32>,
    /// Squared Euclidean distances, `[queries, k]`; infinite where a query has fewer than k.
    pub distances: Vec<f32>,
}

impl Neighbours {
    /// Stands where there is no further neighbour.
    pub const NONE: u32 = u32::MAX;

    /// How many queries there are.
    pub fn len(&self) -> usize {
        self.ids.len() / self.k
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The neighbours of one query and their distances, nearest first.
    pub fn of(&self, query: usize) -> (&[u32], &[f32]) {
        let ids = &self.ids[query * self.k..][..self.k];
        let found = ids.iter().position(|id| *id == Self::NONE).unwrap_or(self.k);
        (&ids[..found], &self.distances[query * self.k..][..found])
    }

    /// The neighbours of every query in turn.
    pub fn lists(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|query| self.of(query).0)
    }
}

/// Rows that are searched.
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
    rounds: Vec<Round>,
    screen: Prepared<'a>,
}

/// Passes between two looks at how many neighbours are kept.
struct Round {
    tiles: Range<usize>,
    /// The share of the gallery that was seen at its end.
    seen: f64,
}

enum Prepared<'a> {
    Int8(Int8),
    Float(Float<'a>),
}

impl<'a> Gallery<'a> {
    /// Prepares `rows`, `[n, dim]`, for any number of searches.
    ///
    /// # Errors
    /// If `rows` is not a whole number of rows of `dim`, has 2³² − 1 of them or more, or holds a value that is not finite or whose
    /// square is not.
    pub fn new(rows: &'a [f32], dim: usize) -> Result<Self> {
        Self::screened(rows, dim, int8::available(dim))
    }

    fn screened(rows: &'a [f32], dim: usize, integers: bool) -> Result<Self> {
        check(OPERATION, "gallery", rows, dim)?;
        let count = rows.len() / dim;
        if count >= Neighbours::NONE as usize {
            return Err(misfit(OPERATION, format!("{count} rows are more than 32-bit ids can name")));
        }
        let tiles = screen::tiles(count, if count < PASSES_FROM { 1 } else { PASSES });
        let centre = screen::centre(rows, dim);
        let screen = match integers {
            true => Prepared::Int8(Int8::new(rows.into(), dim, &centre, &tiles)),
            false => Prepared::Float(Float::new(rows.into(), dim, &centre, &tiles)),
        };
        Ok(Self { rows, dim, centre, rounds: rounds(&tiles), tiles, screen })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The `k` nearest rows of each of `queries`, `[m, dim]`, but for those that `excluded(query, row)` says.
    ///
    /// `excluded` is asked only of near pairs, so it may look things up.
    ///
    /// # Errors
    /// If `k` is 0, or `queries` is not a whole number of rows of the gallery's `dim` or not finite.
    pub fn nearest(
        &self,
        queries: &[f32],
        k: usize,
        excluded: impl Fn(usize, u32) -> bool + Sync,
    ) -> Result<Neighbours> {
        check(OPERATION, "queries", queries, self.dim)?;
        if k == 0 {
            return Err(misfit(OPERATION, "k is 0, so there is nothing to find"));
        }
        let count = queries.len() / self.dim;
        let mut found =
            Neighbours { k, ids: vec![Neighbours::NONE; count * k], distances: vec![f32::INFINITY; count * k] };
        let numbers: Vec<usize> = (0..count).collect();
        numbers
            .par_chunks(BLOCK)
            .zip(found.ids.par_chunks_mut(BLOCK * k))
            .zip(found.distances.par_chunks_mut(BLOCK * k))
            .for_each(|((numbers, ids), distances)| {
                let rows = &queries[numbers[0] * self.dim..][..numbers.len() * self.dim];
                let asked = Asked { rows, numbers };
                let search = Search { gallery: self, k, excluded: &excluded };
                let lists = match &self.screen {
                    Prepared::Int8(screen) => search.all(screen, asked),
                    Prepared::Float(screen) => search.all(screen, asked),
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

/// Rounds that end after the first pass, the second, the fourth and so on: the sample doubles.
fn rounds(tiles: &[Tile]) -> Vec<Round> {
    let stride = tiles.first().map_or(1, |tile| tile.stride);
    let mut start = 0;
    let ends = (0..).map(|round| 1usize << round).take_while(|passes| passes / 2 < stride);
    ends.map(|passes| {
        let end = tiles.partition_point(|tile| tile.first % stride < passes);
        let tiles = std::mem::replace(&mut start, end)..end;
        Round { tiles, seen: passes.min(stride) as f64 / stride as f64 }
    })
    .collect()
}

/// Refuses what is no matrix of finite rows.
pub(crate) fn check(operation: &'static str, what: &str, rows: &[f32], dim: usize) -> Result<()> {
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        return Err(misfit(operation, format!("`{what}` has {} values, no whole number of rows of {dim}", rows.len())));
    }
    let finite = |row: &[f32]| {
        vectorised(
            #[inline(always)]
            || distance::squared_norm(row).is_finite(),
        )
    };
    match rows.par_chunks_exact(dim).position_first(|row| !finite(row)) {
        Some(row) => {
            Err(Error::Shape { operation, problem: format!("row {row} of `{what}` is not finite or too large") })
        }
        None => Ok(()),
    }
}
