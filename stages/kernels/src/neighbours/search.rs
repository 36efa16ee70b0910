//! The search of one block of queries: a running top-k with limits that tighten from tile to tile.

use super::{Gallery, Neighbours};
use crate::{
    distance,
    prefetch::prefetch,
    screen::{self, BLOCK, Screen, TILE},
    vectorise::vectorised,
};

/// A neighbour as one number that orders by distance, then id: a distance is never negative, so its bits are in its order.
#[inline(always)]
fn key(distance: f32, id: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(id)
}

pub(super) fn distance_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

pub(super) fn id_of(key: u64) -> u32 {
    key as u32
}

/// How many of the k nearest of all to keep after a share `seen` of the gallery: as many as a random sample would hold and four
/// standard deviations more, which is too few for about one query in 30,000.
pub(super) fn quota(k: usize, seen: f64) -> usize {
    let mean = k as f64 * seen;
    let margin = 4.0 * (mean * (1.0 - seen)).sqrt() + 3.0;
    k.min((mean + margin).ceil() as usize)
}

/// How many candidates before its turn a row is fetched.
const AHEAD: usize = 6;

/// Queries of one block, at most [`BLOCK`].
#[derive(Clone, Copy)]
pub(super) struct Asked<'q> {
    pub(super) rows: &'q [f32],
    /// The names by which `excluded` knows them.
    pub(super) numbers: &'q [usize],
}

/// What a search of one block needs besides its screen.
pub(super) struct Search<'s, E> {
    pub(super) gallery: &'s Gallery<'s>,
    pub(super) k: usize,
    pub(super) excluded: &'s E,
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
    pub(super) fn all<'a, S: Screen<'a>>(&self, screen: &S, asked: Asked<'_>) -> Vec<Vec<u64>> {
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
                for (number, &(query, row)) in candidates.iter().enumerate() {
                    if let Some(&(_, later)) = candidates.get(number + AHEAD) {
                        prefetch(&rows[later as usize * dim..][..*dim]);
                    }
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
