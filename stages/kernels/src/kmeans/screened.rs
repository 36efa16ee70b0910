//! Points and the nearest of some centroids: a point costs only the few exact distances that the screen does not rule out.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::{
    distance,
    screen::{self, BLOCK, QueryBounds, Screen, TILE, TileBounds},
    vectorise::vectorised,
};

/// Blocks of points, ready to be screened against centroids that change.
pub(super) struct Screened<'p, S: Screen<'static>> {
    rows: &'p [f32],
    dim: usize,
    centre: Vec<f32>,
    blocks: Vec<S::Block<'p>>,
}

/// The nearest centroid of each point as far as it is known.
pub(super) struct Nearest {
    /// [`Nearest::NONE`] where no centroid is known.
    pub(super) centroids: Vec<u32>,
    /// No less than the squared distance to it.
    pub(super) limits: Vec<f32>,
}

impl Nearest {
    pub(super) const NONE: u32 = u32::MAX;

    pub(super) fn unknown(points: usize) -> Self {
        Self { centroids: vec![Self::NONE; points], limits: vec![f32::INFINITY; points] }
    }
}

impl<'p, S: Screen<'static>> Screened<'p, S> {
    pub(super) fn new(rows: &'p [f32], dim: usize) -> Self {
        let centre = screen::centre(rows, dim);
        let blocks = rows.par_chunks(BLOCK * dim).map(|rows| S::block(rows, dim, &centre)).collect();
        Self { rows, dim, centre, blocks }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    #[inline(always)]
    pub(super) fn row(&self, point: usize) -> &'p [f32] {
        &self.rows[point * self.dim..][..self.dim]
    }

    /// Lowers each point's limit to no less than its squared distance to the nearest of `centroids`, without reading a point.
    pub(super) fn bound(&self, centroids: &[f32], limits: &mut [f32]) {
        let tiles = screen::tiles(centroids.len() / self.dim, 1);
        let screen = S::new(Cow::Owned(centroids.to_vec()), self.dim, &self.centre, &tiles);
        self.blocks.par_iter().zip(limits.par_chunks_mut(BLOCK)).for_each_init(
            Scratch::new,
            |scratch, (block, limits)| {
                for number in 0..tiles.len() {
                    screen.values(block, number, &mut scratch.values);
                    vectorised(
                        #[inline(always)]
                        || screen::tighten(S::queries(block), screen.tile(number), &scratch.values, limits),
                    );
                }
            },
        );
    }

    /// Replaces each point's centroid by any of `centroids` that is nearer, or as near and earlier; their numbers start at
    /// `first`. Limits become exact distances if `exact`; else they may stay bounds where no other centroid is in question.
    pub(super) fn approach(&self, centroids: &[f32], first: usize, exact: bool, nearest: &mut Nearest) {
        let tiles = screen::tiles(centroids.len() / self.dim, 1);
        let screen = S::new(Cow::Owned(centroids.to_vec()), self.dim, &self.centre, &tiles);
        self.blocks
            .par_iter()
            .zip(self.rows.par_chunks(BLOCK * self.dim))
            .zip(nearest.centroids.par_chunks_mut(BLOCK))
            .zip(nearest.limits.par_chunks_mut(BLOCK))
            .for_each_init(Scratch::new, |scratch, (((block, rows), nearest), limits)| {
                let fresh = nearest.iter().all(|centroid| *centroid == Nearest::NONE);
                // A sole candidate of all centroids needs no distance.
                let sole = !exact && fresh && tiles.len() == 1;
                for (number, tile) in tiles.iter().enumerate() {
                    screen.values(block, number, &mut scratch.values);
                    vectorised(
                        #[inline(always)]
                        || {
                            scratch.screen(S::queries(block), screen.tile(number), fresh, limits);
                            for group in scratch.candidates.chunk_by(|a, b| a.0 == b.0) {
                                let point = group[0].0;
                                if sole && group.len() == 1 {
                                    nearest[point] = (first + group[0].1) as u32;
                                    continue;
                                }
                                let row = &rows[point * self.dim..][..self.dim];
                                for centroid in group.iter().map(|(_, column)| tile.row(*column)) {
                                    let other = &centroids[centroid * self.dim..][..self.dim];
                                    let found = (distance::squared(row, other), (first + centroid) as u32);
                                    if found <= (limits[point], nearest[point]) {
                                        (limits[point], nearest[point]) = found;
                                    }
                                }
                            }
                        },
                    );
                }
            });
    }

    /// The squared distance of each point to its centroid.
    pub(super) fn distances(&self, centroids: &[f32], assignments: &[u32]) -> Vec<f32> {
        let blocks = self.rows.par_chunks(BLOCK * self.dim).zip(assignments.par_chunks(BLOCK));
        let distances = blocks.map(|(rows, assignments)| {
            vectorised(
                #[inline(always)]
                || -> Vec<f32> {
                    let centroid = |cluster: u32| &centroids[cluster as usize * self.dim..][..self.dim];
                    let pairs = rows.chunks_exact(self.dim).zip(assignments);
                    pairs.map(|(row, cluster)| distance::squared(row, centroid(*cluster))).collect()
                },
            )
        });
        distances.collect::<Vec<_>>().concat()
    }

    /// The nearest of all centroids, given the one that was nearest before they moved.
    pub(super) fn assign(&self, centroids: &[f32], previous: Option<&[u32]>) -> Vec<u32> {
        let mut nearest = Nearest::unknown(self.len());
        // With one tile of centroids the screen itself gives the first limit, without reading a point.
        if let Some(previous) = previous.filter(|_| centroids.len() > TILE * self.dim) {
            nearest.limits = self.distances(centroids, previous);
            nearest.centroids = previous.to_vec();
        }
        self.approach(centroids, 0, false, &mut nearest);
        nearest.centroids
    }
}

/// What one thread needs to screen a block of points.
struct Scratch {
    values: Vec<f32>,
    thresholds: Vec<f32>,
    /// Point of the block and column of the tile, by point.
    candidates: Vec<(usize, usize)>,
}

impl Scratch {
    fn new() -> Self {
        Self { values: vec![0.0; BLOCK * TILE], thresholds: vec![0.0; BLOCK], candidates: Vec::new() }
    }

    /// Finds the candidates among the screened values, of points about which nothing is known after a first tightening.
    #[inline(always)]
    fn screen(&mut self, points: &QueryBounds, tile: &TileBounds, fresh: bool, limits: &mut [f32]) {
        let Self { values, thresholds, candidates } = self;
        if fresh {
            screen::tighten(points, tile, values, limits);
        }
        screen::thresholds(points, tile, limits, thresholds);
        candidates.clear();
        screen::candidates(values, &thresholds[..limits.len()], |point, column| candidates.push((point, column)));
    }
}
