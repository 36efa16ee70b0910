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
//! **GPU** With [`Gallery::on`], a GPU finds candidates and their exact distances, together with a bound on the distances of
//! all other rows. The queries for which the bound does not prove the list complete are searched on the CPU, so that the result is
//! the same.
//!
//! **Shapes** rows `[n, dim]` and queries `[m, dim]` as slices; [`Neighbours`] `[m, k]`. Besides the result, a thread needs a block of
//! queries with at most 2k + 128 candidates each; the gallery is held once more as bytes.
//!
//! **Reading order** this file, [`lists`], [`search`]; `candidates` for a GPU's part; [`scan`](mod@scan) for single queries,
//! [`inverted`] for approximate search.

#[cfg(any(feature = "cuda", test))]
pub(crate) mod candidates;
pub mod inverted;
mod lists;
mod scan;
mod search;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use candle_core::Device;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::{cuda::neighbours::GpuRows, dispatch::cuda_kernels_are_on, gpu::is_out_of_memory};
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
    /// Made at the first search on the CPU; which one, by whether it is of integers.
    prefilter: OnceLock<AnyPrefilter<'a>>,
    integers: bool,
    #[cfg(feature = "cuda")]
    on_gpu: Option<GpuRows>,
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

    /// Prepares `rows`, `[n, dim]`, for searches on `device`. A GPU gives the same results; on any other device than an NVIDIA GPU, or if
    /// that has too little memory, this is [`Gallery::new`].
    ///
    /// # Errors
    /// As for [`Gallery::new`], or if the GPU fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a build with CUDA has another device"))]
    pub fn on(rows: &'a [f32], dim: usize, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() && cuda_kernels_are_on() && !rows.is_empty() {
            let mut gallery = Self::unprepared(rows, dim, int8::available(dim))?;
            gallery.on_gpu = unless_out_of_memory(GpuRows::new(rows, dim, &gallery.centre, device))?.flatten();
            return Ok(gallery);
        }
        Self::new(rows, dim)
    }

    fn with_prefilter(rows: &'a [f32], dim: usize, integers: bool) -> Result<Self> {
        let gallery = Self::unprepared(rows, dim, integers)?;
        gallery.prefilter();
        Ok(gallery)
    }

    fn unprepared(rows: &'a [f32], dim: usize, integers: bool) -> Result<Self> {
        check_rows(OPERATION, "gallery", rows, dim)?;
        let count = rows.len() / dim;
        if count >= Neighbours::NONE as usize {
            return Err(shape_error(OPERATION, format!("{count} rows are too many for 32-bit ids")));
        }
        let tiles = tiles::tiles(count, if count < PASSES_FROM { 1 } else { PASSES });
        Ok(Self {
            rows,
            dim,
            centre: tiles::centre(rows, dim),
            pass_groups: pass_groups(&tiles),
            tiles,
            prefilter: OnceLock::new(),
            integers,
            #[cfg(feature = "cuda")]
            on_gpu: None,
        })
    }

    fn prefilter(&self) -> &AnyPrefilter<'a> {
        if let Some(prefilter) = self.prefilter.get() {
            return prefilter;
        }
        let Self { rows, dim, centre, tiles, .. } = self;
        // Made outside of the lock: it takes rayon's threads, one of which may come here again.
        let prefilter = match self.integers {
            true => AnyPrefilter::Int8(Int8Prefilter::new((*rows).into(), *dim, centre, tiles)),
            false => AnyPrefilter::Float(FloatPrefilter::new((*rows).into(), *dim, centre, tiles)),
        };
        self.prefilter.get_or_init(|| prefilter)
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
        #[cfg(feature = "cuda")]
        if let Some(found) = self.nearest_on_gpu(queries, k, &excluded)? {
            return Ok(found);
        }
        let indices: Vec<usize> = (0..queries.len() / self.dim).collect();
        Ok(self.nearest_on_cpu(queries, &indices, k, &excluded))
    }

    /// The result computed on the GPU; `None` without a GPU, or if it cannot search for this many neighbours.
    #[cfg(feature = "cuda")]
    fn nearest_on_gpu(
        &self,
        queries: &[f32],
        k: usize,
        excluded: &(impl Fn(usize, u32) -> bool + Sync),
    ) -> Result<Option<Neighbours>> {
        let Some(rows) = self.on_gpu.as_ref().filter(|_| !queries.is_empty()) else { return Ok(None) };
        let Some(candidates) = unless_out_of_memory(rows.candidates(queries, k))?.flatten() else { return Ok(None) };
        let (mut found, in_doubt) = candidates.nearest(k, excluded);
        if !in_doubt.is_empty() {
            let again: Vec<f32> =
                in_doubt.iter().flat_map(|query| &queries[query * self.dim..][..self.dim]).copied().collect();
            let lists = self.nearest_on_cpu(&again, &in_doubt, k, excluded);
            let lists = lists.ids.chunks_exact(k).zip(lists.distances.chunks_exact(k));
            for (query, (ids, distances)) in in_doubt.into_iter().zip(lists) {
                found.ids[query * k..][..k].copy_from_slice(ids);
                found.distances[query * k..][..k].copy_from_slice(distances);
            }
        }
        Ok(Some(found))
    }

    /// The nearest rows of `queries`, whose indices, as passed to `excluded`, are `indices`.
    fn nearest_on_cpu(
        &self,
        queries: &[f32],
        indices: &[usize],
        k: usize,
        excluded: &(impl Fn(usize, u32) -> bool + Sync),
    ) -> Neighbours {
        let mut found = Neighbours::none(indices.len(), k);
        let prefilter = self.prefilter();
        let blocks = indices.par_chunks(BLOCK).zip(queries.par_chunks(BLOCK * self.dim));
        let lists = found.ids.par_chunks_mut(BLOCK * k).zip(found.distances.par_chunks_mut(BLOCK * k));
        blocks.zip(lists).for_each(|((indices, rows), (ids, distances))| {
            let queries = QueryRows { rows, indices, limits: &[f32::INFINITY; BLOCK][..indices.len()] };
            let search = Search {
                rows: self.rows,
                dim: self.dim,
                centre: &self.centre,
                tiles: &self.tiles,
                pass_groups: &self.pass_groups,
                k,
                excluded,
            };
            let lists = match prefilter {
                AnyPrefilter::Int8(prefilter) => search.nearest(prefilter, queries),
                AnyPrefilter::Float(prefilter) => search.nearest(prefilter, queries),
            };
            for ((keys, ids), distances) in lists.iter().zip(ids.chunks_mut(k)).zip(distances.chunks_mut(k)) {
                for ((key, id), distance) in keys.iter().zip(ids).zip(distances) {
                    (*distance, *id) = (distance_of(*key), id_of(*key));
                }
            }
        });
        found
    }
}

/// What a GPU found; `None` if it had too little memory.
#[cfg(feature = "cuda")]
pub(crate) fn unless_out_of_memory<T>(found: candle_core::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_out_of_memory(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const OPERATION: &str = "neighbours";
