//! Exact nearest neighbours: all of them, in the order of their distance, equal distances in the order of their ids.
//!
//! **Formula** For every query q the k rows x of the gallery with the least (D(q, x), id), D(q, x) = Σᵢ (qᵢ − xᵢ)² by direct
//! differences in `f32` ([`crate::distance`]); pairs that the caller excludes (the query itself, the same identity seen by the
//! same camera) do not count. The result is the one of a loop over all pairs, bit for bit, on every machine.
//!
//! **How** Blocks of queries are screened against tiles of rows ([`crate::screen`]); only pairs that may be at or below the
//! query's limit get their exact distance. The limit is the worst distance that the query still keeps. The tiles come in
//! passes, each a regular sample of the gallery, and after a share f of it only as many neighbours are kept as the k nearest of
//! all should have there, with a margin ([`quota`]). The limit is thus nearly final after a sixteenth of the work. A query for
//! which that was too bold, which the final count shows, is searched once more without the guess.
//!
//! **Shapes** rows `[n, dim]` and queries `[m, dim]` as slices; [`Neighbours`] `[m, k]`. Beyond the result a thread needs
//! a block of queries with at most 2k + 128 candidates each; the gallery is held once more as bytes.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    distance,
    error::{Error, Result, misfit},
    screen::{self, BLOCK, Screen, TILE, Tile, float::Float, int8, int8::Int8},
    vectorise::vectorised,
};

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

/// A neighbour as one number that orders by distance, then id: a distance is never negative, so its bits are in its order.
fn key(distance: f32, id: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(id)
}

fn distance_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

fn id_of(key: u64) -> u32 {
    key as u32
}

/// How many of the k nearest of all to keep after a share `seen` of the gallery: as many as a random sample would hold and four
/// standard deviations more, which is too few for about one query in 30,000.
fn quota(k: usize, seen: f64) -> usize {
    let mean = k as f64 * seen;
    let margin = 4.0 * (mean * (1.0 - seen)).sqrt() + 3.0;
    k.min((mean + margin).ceil() as usize)
}

/// Queries of one block, at most [`BLOCK`].
#[derive(Clone, Copy)]
struct Asked<'q> {
    rows: &'q [f32],
    /// The names by which `excluded` knows them.
    numbers: &'q [usize],
}

/// What a search of one block needs besides its screen.
struct Search<'s, E> {
    gallery: &'s Gallery<'s>,
    k: usize,
    excluded: &'s E,
}

/// The nearest rows of one query so far.
struct Kept {
    keys: Vec<u64>,
    /// No key above this one is wanted any more.
    worst: u64,
    /// Whether rows were dropped of which it was only guessed that they are not wanted.
    guessed: bool,
}

impl Kept {
    fn new() -> Self {
        Self { keys: Vec::new(), worst: key(f32::INFINITY, Neighbours::NONE), guessed: false }
    }

    /// Keeps the `quota` nearest.
    fn shrink(&mut self, quota: usize, guess: bool) {
        if self.keys.len() > quota {
            let (_, worst, _) = self.keys.select_nth_unstable(quota - 1);
            self.worst = *worst;
            self.keys.truncate(quota);
            self.guessed |= guess;
        }
    }
}

impl<E: Fn(usize, u32) -> bool + Sync> Search<'_, E> {
    /// The sorted keys of the k nearest of each query.
    fn all<'a, S: Screen<'a>>(&self, screen: &S, asked: Asked<'_>) -> Vec<Vec<u64>> {
        let mut kept = self.pass(screen, asked, true);
        let dim = self.gallery.dim;
        let wrong: Vec<usize> =
            (0..kept.len()).filter(|query| kept[*query].guessed && kept[*query].keys.len() < self.k).collect();
        if !wrong.is_empty() {
            let again: Vec<f32> = wrong.iter().flat_map(|query| &asked.rows[query * dim..][..dim]).copied().collect();
            let names: Vec<usize> = wrong.iter().map(|query| asked.numbers[*query]).collect();
            for (query, found) in wrong.iter().zip(self.pass(screen, Asked { rows: &again, numbers: &names }, false)) {
                kept[*query] = found;
            }
        }
        kept.into_iter().map(|kept| kept.keys).collect()
    }

    /// One search of at most [`BLOCK`] queries, with or without the guess of [`quota`].
    fn pass<'a, S: Screen<'a>>(&self, screen: &S, asked: Asked<'_>, guess: bool) -> Vec<Kept> {
        let Gallery { dim, centre, rounds, .. } = self.gallery;
        let block = S::block(asked.rows, *dim, centre);
        let mut kept: Vec<Kept> = asked.numbers.iter().map(|_| Kept::new()).collect();
        let mut scratch = Scratch::new(asked.numbers.len());
        for round in rounds {
            let share = if guess { quota(self.k, round.seen) } else { self.k };
            for tile in round.tiles.clone() {
                self.tile(screen, &block, asked, tile, &mut scratch, &mut kept);
                for (kept, limit) in kept.iter_mut().zip(&mut scratch.limits) {
                    if kept.keys.len() >= 2 * share + TILE {
                        kept.shrink(share, share < self.k);
                        *limit = distance_of(kept.worst);
                    }
                }
            }
            for (kept, limit) in kept.iter_mut().zip(&mut scratch.limits) {
                kept.shrink(share, share < self.k);
                *limit = distance_of(kept.worst);
            }
        }
        kept.iter_mut().for_each(|kept| kept.keys.sort_unstable());
        kept
    }

    /// Adds the wanted rows of one tile to what each query keeps.
    fn tile<'a, S: Screen<'a>>(
        &self,
        screen: &S,
        block: &S::Block<'_>,
        asked: Asked<'_>,
        number: usize,
        scratch: &mut Scratch,
        kept: &mut [Kept],
    ) {
        let Gallery { rows, dim, tiles, .. } = self.gallery;
        let Scratch { values, limits, thresholds, candidates } = scratch;
        screen.values(block, number, values);
        candidates.clear();
        vectorised(
            #[inline(always)]
            || {
                screen::thresholds(S::queries(block), screen.tile(number), limits, thresholds);
                screen::candidates(values, thresholds, |query, column| {
                    candidates.push((query as u32, tiles[number].row(column) as u32));
                });
                for &(query, row) in &*candidates {
                    let (query, at) = (query as usize, row as usize * dim);
                    if (self.excluded)(asked.numbers[query], row) {
                        continue;
                    }
                    let distance = distance::squared(&asked.rows[query * dim..][..*dim], &rows[at..][..*dim]);
                    let key = key(distance, row);
                    if key <= kept[query].worst {
                        kept[query].keys.push(key);
                    }
                }
            },
        );
    }
}

/// What one thread needs to screen a block.
struct Scratch {
    values: Vec<f32>,
    limits: Vec<f32>,
    thresholds: Vec<f32>,
    candidates: Vec<(u32, u32)>,
}

impl Scratch {
    fn new(queries: usize) -> Self {
        Self {
            values: vec![0.0; BLOCK * TILE],
            limits: vec![f32::INFINITY; queries],
            thresholds: vec![0.0; queries],
            candidates: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The result by its definition: every pair, sorted.
    fn slow(rows: &[f32], queries: &[f32], dim: usize, k: usize, excluded: impl Fn(usize, u32) -> bool) -> Neighbours {
        let (mut ids, mut distances) = (Vec::new(), Vec::new());
        for (number, query) in queries.chunks_exact(dim).enumerate() {
            let mut all: Vec<(f32, u32)> = rows
                .chunks_exact(dim)
                .zip(0..)
                .filter(|(_, id)| !excluded(number, *id))
                .map(|(row, id)| (distance::squared(query, row), id))
                .collect();
            all.sort_by(|a, b| a.partial_cmp(b).expect("distances of finite rows are ordered"));
            all.resize(k, (f32::INFINITY, Neighbours::NONE));
            ids.extend(all.iter().map(|(_, id)| *id));
            distances.extend(all.iter().map(|(distance, _)| *distance));
        }
        Neighbours { k, ids, distances }
    }

    /// Both screens, with one thread and with three, give the bits of the slow loop.
    fn check_against_slow(
        rows: &[f32],
        queries: &[f32],
        dim: usize,
        k: usize,
        junk: impl Fn(usize, u32) -> bool + Sync,
    ) {
        let expected = slow(rows, queries, dim, k, &junk);
        for integers in [false, true].into_iter().filter(|integers| !integers || int8::available(dim)) {
            for threads in [1, 3] {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
                let found = pool.install(|| {
                    let gallery = Gallery::screened(rows, dim, integers).expect("the rows are well formed");
                    gallery.nearest(queries, k, &junk).expect("the queries are well formed")
                });
                assert!(found == expected, "integers {integers}, {threads} threads, k {k}, dim {dim}");
            }
        }
    }

    /// Rows around `classes` centres in the order of their classes, of a small linear congruential generator.
    fn clustered(count: usize, dim: usize, classes: usize, spread: f32) -> Vec<f32> {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let centres: Vec<f32> = (0..classes * dim).map(|_| next()).collect();
        let per_class = count.div_ceil(classes);
        (0..count)
            .flat_map(|row| (0..dim).map(move |i| (row, i)))
            .map(|(row, i)| centres[row / per_class * dim + i] + spread * next())
            .collect()
    }

    #[test]
    fn large_galleries_in_the_order_of_their_classes() {
        for (dim, classes, spread, k) in [(24, 1, 1.0, 5), (24, 40, 0.2, 150), (7, 1000, 0.01, 1), (64, 300, 0.5, 1001)]
        {
            let rows = clustered(5000, dim, classes, spread);
            check_against_slow(&rows, &rows[..130 * dim], dim, k, |query, row| query == row as usize);
        }
    }

    #[test]
    fn a_sample_that_misleads_costs_time_but_not_neighbours() {
        // All rows of the first pass lie near the queries, so that the guess drops what must come later.
        let dim = 8;
        let mut rows = clustered(4096, dim, 1, 1.0);
        for (row, values) in rows.chunks_exact_mut(dim).enumerate() {
            if row % PASSES == 0 {
                values.iter_mut().for_each(|value| *value *= 0.01);
            }
        }
        check_against_slow(&rows, &clustered(9, dim, 1, 0.01), dim, 300, |_, _| false);
    }

    #[test]
    fn equal_rows_come_in_the_order_of_their_ids_at_zero() {
        let rows = [1.5f32, -2.25, 0.1].repeat(3000);
        let gallery = Gallery::new(&rows, 3).expect("the rows are well formed");
        let found = gallery.nearest(&rows[..3], 700, |_, row| row == 1).expect("the query is well formed");
        assert_eq!(found.ids[..3], [0, 2, 3]);
        assert!(found.ids.is_sorted() && found.distances.iter().all(|distance| *distance == 0.0));
    }

    #[test]
    fn fewer_rows_than_neighbours() {
        let rows = [0.0f32, 1.0, 3.0];
        let gallery = Gallery::new(&rows, 1).expect("the rows are well formed");
        let found = gallery.nearest(&rows, 4, |query, row| query == row as usize).expect("the queries are well formed");
        assert_eq!(found.of(1), (&[0, 2][..], &[1.0, 4.0][..]));
        assert_eq!(found.lists().map(<[u32]>::len).collect::<Vec<_>>(), [2, 2, 2]);
        let none = gallery.nearest(&[], 1, |_, _| false).expect("no query is a whole number of queries");
        assert!(none.is_empty() && none.lists().next().is_none());
    }

    #[test]
    fn refuses_what_has_no_order() {
        let check = |rows: &[f32], dim: usize, expected: &str| {
            let error = Gallery::new(rows, dim).err().expect("the rows are malformed");
            assert_eq!(error.to_string(), format!("Cannot run `neighbours`: {expected}"));
        };
        check(&[0.0; 5], 2, "`gallery` has 5 values, no whole number of rows of 2");
        check(&[0.0; 5], 0, "`gallery` has 5 values, no whole number of rows of 0");
        check(&[0.0, 1.0, f32::NAN, 0.0], 2, "row 1 of `gallery` is not finite or too large");
        check(&[1e30, 1.0], 2, "row 0 of `gallery` is not finite or too large");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_loop_over_all_pairs(
            dim in 1usize..40,
            pool in prop::collection::vec(prop_oneof![-1.0f32..1.0, Just(0.0), 1e3f32..1e3 + 1.0], 64),
            count in 1usize..300,
            queries in 1usize..20,
            k in 1usize..40,
            modulus in 1usize..5,
        ) {
            let value = |i: usize| pool[(i * 11 + i / (dim + 3)) % pool.len()];
            let rows: Vec<f32> = (0..count * dim).map(value).collect();
            let asked: Vec<f32> = (0..queries * dim).map(|i| value(i + 5)).collect();
            check_against_slow(&rows, &asked, dim, k, |query, row| (query + row as usize) % modulus == 1);
        }
    }
}
