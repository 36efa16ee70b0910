//! The search of one block of queries: a running top-k with limits that tighten from tile to tile.

use std::ops::Range;

use super::lists::Neighbours;
use crate::{
    distance,
    prefetch::prefetch,
    prefilter::{
        Prefilter, bounds,
        tiles::{BLOCK, TILE, Tile},
    },
    vectorise::vectorised,
};

/// A neighbour as one integer ordered by distance, then id: distances are never negative, so their bits are in numeric order.
#[inline(always)]
pub(super) fn key(distance: f32, id: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(id)
}

pub(super) fn distance_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

pub(super) fn id_of(key: u64) -> u32 {
    key as u32
}

/// Number of neighbours to keep after a fraction `seen` of the gallery: the expected number of the k nearest overall in a random
/// sample of that size plus four standard deviations, which is too few for about one query in 30,000.
pub(super) fn quota(k: usize, seen: f64) -> usize {
    let mean = k as f64 * seen;
    let margin = 4.0 * (mean * (1.0 - seen)).sqrt() + 3.0;
    k.min((mean + margin).ceil() as usize)
}

/// A row is prefetched this many candidates before it is read.
const PREFETCH_DISTANCE: usize = 6;

/// Consecutive passes with the same [`quota`].
pub(super) struct PassGroup {
    tiles: Range<usize>,
    /// Fraction of the gallery that has been searched after them.
    seen: f64,
}

/// Groups that end after the first pass, the second, the fourth and so on: the sample doubles.
pub(super) fn pass_groups(tiles: &[Tile]) -> Vec<PassGroup> {
    let stride = tiles.first().map_or(1, |tile| tile.stride);
    let mut start = 0;
    let ends = (0..).map(|group| 1usize << group).take_while(|passes| passes / 2 < stride);
    ends.map(|passes| {
        let end = tiles.partition_point(|tile| tile.first % stride < passes);
        let tiles = std::mem::replace(&mut start, end)..end;
        PassGroup { tiles, seen: passes.min(stride) as f64 / stride as f64 }
    })
    .collect()
}

/// Queries of one block, at most [`BLOCK`].
#[derive(Clone, Copy)]
pub(super) struct QueryRows<'q> {
    pub(super) rows: &'q [f32],
    /// Their indices among all queries, as passed to `excluded`.
    pub(super) indices: &'q [usize],
    /// Squared distances beyond which a row is not wanted.
    pub(super) limits: &'q [f32],
}

/// Arguments of the search of one block besides its prefilter.
pub(super) struct Search<'s, E> {
    /// The gallery, `[n, dim]`.
    pub(super) rows: &'s [f32],
    pub(super) dim: usize,
    pub(super) centre: &'s [f32],
    pub(super) tiles: &'s [Tile],
    pub(super) pass_groups: &'s [PassGroup],
    pub(super) k: usize,
    pub(super) excluded: &'s E,
}

/// The nearest rows of one query so far.
pub(super) struct RunningTopK {
    pub(super) keys: Vec<u64>,
    /// Keys above this one are no longer needed.
    pub(super) largest: u64,
    /// Whether rows were dropped by the estimate of [`quota`].
    estimated: bool,
}

impl RunningTopK {
    pub(super) fn within(limit: f32) -> Self {
        Self { keys: Vec::new(), largest: key(limit, Neighbours::NONE), estimated: false }
    }

    /// Keeps the `quota` nearest; `estimated` if that is fewer than k.
    pub(super) fn shrink(&mut self, quota: usize, estimated: bool) {
        if self.keys.len() > quota {
            let (_, largest, _) = self.keys.select_nth_unstable(quota - 1);
            self.largest = *largest;
            self.keys.truncate(quota);
            self.estimated |= estimated;
        }
    }
}

impl<E: Fn(usize, u32) -> bool + Sync> Search<'_, E> {
    /// The sorted keys of the k nearest of each query.
    pub(super) fn nearest<'a, P: Prefilter<'a>>(&self, prefilter: &P, queries: QueryRows<'_>) -> Vec<Vec<u64>> {
        let mut kept = self.search(prefilter, queries, true);
        let dim = self.dim;
        let incomplete: Vec<usize> =
            (0..kept.len()).filter(|query| kept[*query].estimated && kept[*query].keys.len() < self.k).collect();
        if !incomplete.is_empty() {
            let rows: Vec<f32> =
                incomplete.iter().flat_map(|query| &queries.rows[query * dim..][..dim]).copied().collect();
            let indices: Vec<usize> = incomplete.iter().map(|query| queries.indices[*query]).collect();
            let limits: Vec<f32> = incomplete.iter().map(|query| queries.limits[*query]).collect();
            let again = QueryRows { rows: &rows, indices: &indices, limits: &limits };
            for (query, found) in incomplete.iter().zip(self.search(prefilter, again, false)) {
                kept[*query] = found;
            }
        }
        kept.into_iter().map(|kept| kept.keys).collect()
    }

    /// Searches at most [`BLOCK`] queries, with or without the estimate of [`quota`].
    fn search<'a, P: Prefilter<'a>>(&self, prefilter: &P, queries: QueryRows<'_>, estimate: bool) -> Vec<RunningTopK> {
        let prepared = P::prepare(queries.rows, self.dim, self.centre);
        let mut kept: Vec<RunningTopK> = queries.limits.iter().map(|&limit| RunningTopK::within(limit)).collect();
        let mut scratch = Scratch::new(queries.limits);
        for group in self.pass_groups {
            let quota = if estimate { quota(self.k, group.seen) } else { self.k };
            for tile in group.tiles.clone() {
                self.search_tile(prefilter, &prepared, queries, tile, &mut scratch, &mut kept);
                for (kept, limit) in kept.iter_mut().zip(&mut scratch.limits) {
                    if kept.keys.len() >= 2 * quota + TILE {
                        kept.shrink(quota, quota < self.k);
                        *limit = distance_of(kept.largest);
                    }
                }
            }
            for (kept, limit) in kept.iter_mut().zip(&mut scratch.limits) {
                kept.shrink(quota, quota < self.k);
                *limit = distance_of(kept.largest);
            }
        }
        kept.iter_mut().for_each(|kept| kept.keys.sort_unstable());
        kept
    }

    /// Adds the rows of one tile that are near enough to what each query keeps.
    fn search_tile<'a, P: Prefilter<'a>>(
        &self,
        prefilter: &P,
        prepared: &P::Queries<'_>,
        queries: QueryRows<'_>,
        tile: usize,
        scratch: &mut Scratch,
        kept: &mut [RunningTopK],
    ) {
        let Self { rows, dim, tiles, .. } = *self;
        let Scratch { scores, limits, thresholds, candidates } = scratch;
        prefilter.scores(prepared, tile, scores);
        candidates.clear();
        vectorised(
            #[inline(always)]
            || {
                bounds::thresholds(P::query_bounds(prepared), prefilter.tile_bounds(tile), limits, thresholds);
                bounds::candidates(scores, thresholds, |query, column| {
                    candidates.push((query as u32, tiles[tile].row(column) as u32));
                });
                for (position, &(query, row)) in candidates.iter().enumerate() {
                    if let Some(&(_, later)) = candidates.get(position + PREFETCH_DISTANCE) {
                        prefetch(&rows[later as usize * dim..][..dim]);
                    }
                    let (query, at) = (query as usize, row as usize * dim);
                    if (self.excluded)(queries.indices[query], row) {
                        continue;
                    }
                    let distance = distance::squared(&queries.rows[query * dim..][..dim], &rows[at..][..dim]);
                    let key = key(distance, row);
                    if key <= kept[query].largest {
                        kept[query].keys.push(key);
                    }
                }
            },
        );
    }
}

/// Buffers of one thread for the search of a block.
struct Scratch {
    scores: Vec<f32>,
    limits: Vec<f32>,
    thresholds: Vec<f32>,
    /// Query of the block and row of the gallery.
    candidates: Vec<(u32, u32)>,
}

impl Scratch {
    fn new(limits: &[f32]) -> Self {
        Self {
            scores: vec![0.0; BLOCK * TILE],
            limits: limits.to_vec(),
            thresholds: vec![0.0; limits.len()],
            candidates: Vec::new(),
        }
    }
}
