//! Approximate nearest neighbours for galleries of millions of rows: inverted lists (IVF), searched exactly.
//!
//! **Method** k-means divides the rows into lists, one per centroid ([`layout`]). A query searches the lists of its `probes` nearest
//! centroids and no others. Within these lists the search is exact: the same distances and the same order as [`super::Gallery`], so
//! that the result with all lists probed is that of the exact search, bit for bit. A query that equals a row always searches that
//! row's list first, and therefore finds it.
//!
//! **Algorithm** Queries are grouped by list, so that a list is read once for all queries of a batch that probe it. Where several do, a
//! prefilter ([`crate::prefilter`]) centred on the list's centroid leaves few exact distances. The nearest lists come first: their k-th
//! distance limits the search of the others.
//!
//! **Shapes** rows `[n, dim]` ordered by list, centroids `[lists, dim]`, queries `[m, dim]`. Only the lists that are probed are read:
//! the rows may be a mapped file larger than memory.
//!
//! **Source** Jégou, Douze, Schmid, *Product Quantization for Nearest Neighbor Search*, TPAMI 2011, section IV (the inverted file), without
//! the quantisation.

mod layout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::search::{QueryRows, RunningTopK, Search, distance_of, id_of, key, pass_groups};
use super::{Gallery, Neighbours, OPERATION};
use crate::{
    distance::{self, check_rows},
    error::{Result, shape_error},
    prefilter::{
        Prefilter,
        float::FloatPrefilter,
        int8::{self, Int8Prefilter},
        tiles::{self, BLOCK},
    },
    vectorise::vectorised,
};
pub use layout::{Layout, divide, divide_unless};

/// Queries that are searched together. It bounds the memory for results of single lists.
const BATCH: usize = 4096;

/// Queries of a list from which preparing a prefilter, which reads the list once more, is worth it.
const PREFILTER_FROM: usize = 4;

/// Rows ordered by list, to search.
///
/// ```
/// use dnc_kernels::kmeans::Stop;
/// use dnc_kernels::neighbours::inverted::{InvertedLists, divide};
/// let rows = [0.0, 9.0, 1.0, 8.0];
/// let layout = divide(&rows, 1, 2, Stop { iterations: 10, tolerance: 0.0 }, 7)?;
/// let ordered = layout.ordered(&rows, 1);
/// let lists = InvertedLists::new(&ordered, 1, &layout.rows, &layout.ends, &layout.centroids)?;
/// let found = lists.nearest(&[1.2], 2, 1, |_, _| false)?;
/// assert_eq!(found.ids, [2, 0]);
/// # Ok::<(), dnc_kernels::Error>(())
/// ```
pub struct InvertedLists<'a> {
    rows: &'a [f32],
    dim: usize,
    ids: &'a [u32],
    ends: &'a [u32],
    centroids: &'a [f32],
    gallery: Gallery<'a>,
}

/// What a phase of the search looks for in one list.
struct Visit {
    list: usize,
    /// Indices of queries within the batch.
    queries: Vec<usize>,
}

impl<'a> InvertedLists<'a> {
    /// Lists of `rows`, `[n, dim]`, which must be finite: list l consists of the rows from the end of list l − 1 to `ends[l]`. The row at
    /// position p is called `ids[p]`; within a list, ids ascend.
    ///
    /// # Errors
    /// If the lengths do not fit together, the ends do not ascend to the number of rows, or a centroid is not finite.
    pub fn new(rows: &'a [f32], dim: usize, ids: &'a [u32], ends: &'a [u32], centroids: &'a [f32]) -> Result<Self> {
        let gallery = Gallery::new(centroids, dim)?;
        let count = ids.len();
        if rows.len() != count * dim || ends.len() != gallery.len() {
            let problem = format!(
                "{} values of {count} rows of {dim}, and {} ends of {} lists",
                rows.len(),
                ends.len(),
                gallery.len()
            );
            return Err(shape_error(OPERATION, problem));
        }
        if !ends.is_sorted() || ends.last().is_some_and(|&end| end as usize != count) {
            return Err(shape_error(
                OPERATION,
                format!("the ends of the lists do not ascend to {count}, the number of rows"),
            ));
        }
        Ok(Self { rows, dim, ids, ends, centroids, gallery })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Number of lists.
    pub fn lists(&self) -> usize {
        self.ends.len()
    }

    /// The `k` nearest of the rows in the `probes` lists nearest to each of `queries`, `[m, dim]`, by id, without those for which
    /// `excluded(query, id)` is true. `probes` beyond the number of lists searches all of them.
    ///
    /// # Errors
    /// If `k` or `probes` is 0, or `queries` is not a whole number of rows of `dim` or not finite.
    pub fn nearest(
        &self,
        queries: &[f32],
        k: usize,
        probes: usize,
        excluded: impl Fn(usize, u32) -> bool + Sync,
    ) -> Result<Neighbours> {
        check_rows(OPERATION, "queries", queries, self.dim)?;
        if k == 0 || probes == 0 {
            return Err(shape_error(OPERATION, "k and the number of probes must be at least 1"));
        }
        let mut found = Neighbours { k, ids: Vec::new(), distances: Vec::new() };
        for (batch, queries) in queries.chunks(BATCH * self.dim).enumerate() {
            let probed = self.gallery.nearest(queries, probes.min(self.lists()), |_, _| false)?;
            let excluded = |query: usize, id: u32| excluded(batch * BATCH + query, id);
            for keys in self.search_batch(queries, k, &probed, &excluded) {
                let found_ids = keys.iter().map(|&key| id_of(key));
                found.ids.extend(found_ids.chain(std::iter::repeat(Neighbours::NONE)).take(k));
                let distances = keys.iter().map(|&key| distance_of(key));
                found.distances.extend(distances.chain(std::iter::repeat(f32::INFINITY)).take(k));
            }
        }
        Ok(found)
    }

    /// The sorted keys of the k nearest of each query of a batch.
    fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        probed: &Neighbours,
        excluded: &(impl Fn(usize, u32) -> bool + Sync),
    ) -> Vec<Vec<u64>> {
        let mut kept: Vec<Vec<u64>> = vec![Vec::new(); probed.len()];
        let mut limits = vec![f32::INFINITY; probed.len()];
        for phase in [0..1, 1..probed.k] {
            let visits = visits(probed, phase);
            let found: Vec<_> = visits
                .par_iter()
                .with_max_len(1)
                .map(|visit| self.search_list(visit, queries, k, &limits, excluded))
                .collect();
            for (visit, lists) in visits.iter().zip(found) {
                for (&query, keys) in visit.queries.iter().zip(lists) {
                    kept[query].extend(keys);
                }
            }
            for (kept, limit) in kept.iter_mut().zip(&mut limits) {
                kept.sort_unstable();
                kept.truncate(k);
                *limit = if kept.len() == k { distance_of(kept[k - 1]) } else { f32::INFINITY };
            }
        }
        kept
    }

    /// The keys of the nearest rows of one list, at most k and all within the limit, for each query that visits it.
    fn search_list(
        &self,
        visit: &Visit,
        queries: &[f32],
        k: usize,
        limits: &[f32],
        excluded: &(impl Fn(usize, u32) -> bool + Sync),
    ) -> Vec<Vec<u64>> {
        let positions = self.positions(visit.list);
        let rows = &self.rows[positions.start * self.dim..positions.end * self.dim];
        let ids = &self.ids[positions];
        let row = |query: usize| &queries[query * self.dim..][..self.dim];
        let by_id = |keys: Vec<u64>| {
            keys.into_iter().map(|found| key(distance_of(found), ids[id_of(found) as usize])).collect()
        };
        if visit.queries.len() < PREFILTER_FROM {
            let scan = |&query: &usize| {
                by_id(scan(rows, row(query), k, limits[query], |position| excluded(query, ids[position])))
            };
            return visit.queries.iter().map(scan).collect();
        }
        let centre = &self.centroids[visit.list * self.dim..][..self.dim];
        let tiles = tiles::tiles(ids.len(), 1);
        let search = Search {
            rows,
            dim: self.dim,
            centre,
            tiles: &tiles,
            pass_groups: &pass_groups(&tiles),
            k,
            excluded: &|query: usize, position: u32| excluded(query, ids[position as usize]),
        };
        let blocks = |search_block: &dyn Fn(QueryRows<'_>) -> Vec<Vec<u64>>| {
            let search_block = |indices: &[usize]| {
                let rows: Vec<f32> = indices.iter().flat_map(|&query| row(query)).copied().collect();
                let limits: Vec<f32> = indices.iter().map(|&query| limits[query]).collect();
                search_block(QueryRows { rows: &rows, indices, limits: &limits })
            };
            visit.queries.chunks(BLOCK).flat_map(search_block).map(by_id).collect()
        };
        if int8::available(self.dim) {
            let prefilter = Int8Prefilter::new(rows.into(), self.dim, centre, &tiles);
            blocks(&|queries| search.nearest(&prefilter, queries))
        } else {
            let prefilter = FloatPrefilter::new(rows.into(), self.dim, centre, &tiles);
            blocks(&|queries| search.nearest(&prefilter, queries))
        }
    }

    /// Where the rows of a list lie.
    fn positions(&self, list: usize) -> Range<usize> {
        let start = list.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        start..self.ends[list] as usize
    }
}

/// The queries of each list among these ranks of their probes, by list.
fn visits(probed: &Neighbours, ranks: Range<usize>) -> Vec<Visit> {
    let mut visits: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (query, lists) in probed.lists().enumerate() {
        for &list in lists.iter().take(ranks.end).skip(ranks.start) {
            visits.entry(list as usize).or_default().push(query);
        }
    }
    visits.into_iter().map(|(list, queries)| Visit { list, queries }).collect()
}

/// The keys of the nearest rows of one query by a loop over all of them, in no particular order.
fn scan(rows: &[f32], query: &[f32], k: usize, limit: f32, excluded: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut kept = RunningTopK::within(limit);
    vectorised(
        #[inline(always)]
        || {
            for (position, row) in rows.chunks_exact(query.len()).enumerate() {
                let found = key(distance::squared(query, row), position as u32);
                if found <= kept.largest && !excluded(position) {
                    kept.keys.push(found);
                    if kept.keys.len() >= 2 * k + tiles::TILE {
                        kept.shrink(k, false);
                    }
                }
            }
        },
    );
    kept.shrink(k, false);
    kept.keys
}
