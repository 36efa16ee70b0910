//! Assignment of points to their nearest centroids: a point costs only the few exact distances that the prefilter cannot rule out.

use std::{borrow::Cow, sync::OnceLock};

use candle_core::Device;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::{cuda::kmeans::GpuPoints, dispatch::cuda_kernels_are_on, neighbours::unless_out_of_memory};
use crate::{
    distance,
    error::Result,
    prefilter::{
        Prefilter,
        bounds::{self, QueryBounds, TileBounds},
        tiles::{self, BLOCK, TILE},
    },
    vectorise::vectorised,
};

/// Points, prepared as blocks of queries against changing centroids. A GPU, if there is one, computes the same bits; the CPU takes
/// over where it has too little memory or norms are too large for it.
pub(super) struct PreparedPoints<'p, P: Prefilter<'static>> {
    rows: &'p [f32],
    dim: usize,
    centre: Vec<f32>,
    /// Made when the CPU first needs them.
    blocks: OnceLock<Vec<P::Queries<'p>>>,
    #[cfg(feature = "cuda")]
    on_gpu: Option<GpuPoints>,
}

/// The nearest known centroid of each point.
pub(super) struct Nearest {
    /// [`Nearest::NONE`] for points without a known centroid.
    pub(super) centroids: Vec<u32>,
    /// Upper bounds of the squared distances to them.
    pub(super) limits: Vec<f32>,
}

impl Nearest {
    pub(super) const NONE: u32 = u32::MAX;

    pub(super) fn unknown(points: usize) -> Self {
        Self { centroids: vec![Self::NONE; points], limits: vec![f32::INFINITY; points] }
    }
}

impl<'p, P: Prefilter<'static>> PreparedPoints<'p, P> {
    pub(super) fn new(rows: &'p [f32], dim: usize) -> Self {
        let points = Self::unprepared(rows, dim);
        points.blocks();
        points
    }

    /// The same for `device`.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a build with CUDA has another device"))]
    pub(super) fn on(rows: &'p [f32], dim: usize, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() && cuda_kernels_are_on() && !rows.is_empty() {
            let mut points = Self::unprepared(rows, dim);
            points.on_gpu = unless_out_of_memory(GpuPoints::new(rows, dim, &points.centre, device))?.flatten();
            return Ok(points);
        }
        Ok(Self::new(rows, dim))
    }

    fn unprepared(rows: &'p [f32], dim: usize) -> Self {
        Self {
            rows,
            dim,
            centre: tiles::centre(rows, dim),
            blocks: OnceLock::new(),
            #[cfg(feature = "cuda")]
            on_gpu: None,
        }
    }

    fn blocks(&self) -> &[P::Queries<'p>] {
        if let Some(blocks) = self.blocks.get() {
            return blocks;
        }
        // Made outside of the lock: it takes rayon's threads, one of which may come here again.
        let blocks = self.rows.par_chunks(BLOCK * self.dim).map(|rows| P::prepare(rows, self.dim, &self.centre));
        let blocks = blocks.collect();
        self.blocks.get_or_init(|| blocks)
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

    /// Lowers each point's limit to an upper bound of its squared distance to the nearest of `centroids`. Returns whether it is that
    /// distance: a GPU computes it, the CPU takes the bound from scores alone.
    pub(super) fn tighten_limits(&self, centroids: &[f32], limits: &mut [f32]) -> Result<bool> {
        #[cfg(feature = "cuda")]
        if let Some(points) = &self.on_gpu
            && let Some(lowered) = unless_out_of_memory(points.lower_limits(centroids, limits))?.flatten()
        {
            limits.copy_from_slice(&lowered);
            return Ok(true);
        }
        let tiles = tiles::tiles(centroids.len() / self.dim, 1);
        let prefilter = P::new(Cow::Owned(centroids.to_vec()), self.dim, &self.centre, &tiles);
        self.blocks().par_iter().zip(limits.par_chunks_mut(BLOCK)).for_each_init(
            Scratch::new,
            |scratch, (block, limits)| {
                for number in 0..tiles.len() {
                    prefilter.scores(block, number, &mut scratch.scores);
                    vectorised(
                        #[inline(always)]
                        || {
                            bounds::tighten_limits(
                                P::query_bounds(block),
                                prefilter.tile_bounds(number),
                                &scratch.scores,
                                limits,
                            )
                        },
                    );
                }
            },
        );
        Ok(false)
    }

    /// Replaces each point's centroid by any of `centroids` that is nearer, or as near and earlier; their indices start at `first`.
    /// Limits become exact distances if `exact`; otherwise they may remain bounds where there is only one candidate.
    pub(super) fn update_nearest(&self, centroids: &[f32], first: usize, exact: bool, nearest: &mut Nearest) {
        let tiles = tiles::tiles(centroids.len() / self.dim, 1);
        let prefilter = P::new(Cow::Owned(centroids.to_vec()), self.dim, &self.centre, &tiles);
        self.blocks()
            .par_iter()
            .zip(self.rows.par_chunks(BLOCK * self.dim))
            .zip(nearest.centroids.par_chunks_mut(BLOCK))
            .zip(nearest.limits.par_chunks_mut(BLOCK))
            .for_each_init(Scratch::new, |scratch, (((block, rows), nearest), limits)| {
                let unknown = nearest.iter().all(|centroid| *centroid == Nearest::NONE);
                // The only candidate among all centroids needs no distance.
                let sole = !exact && unknown && tiles.len() == 1;
                for (number, tile) in tiles.iter().enumerate() {
                    prefilter.scores(block, number, &mut scratch.scores);
                    vectorised(
                        #[inline(always)]
                        || {
                            scratch.find_candidates(
                                P::query_bounds(block),
                                prefilter.tile_bounds(number),
                                unknown,
                                limits,
                            );
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
    pub(super) fn distances(&self, centroids: &[f32], assignments: &[u32]) -> Result<Vec<f32>> {
        #[cfg(feature = "cuda")]
        if let Some(points) = &self.on_gpu
            && let Some(distances) = unless_out_of_memory(points.distances(centroids, assignments))?
        {
            return Ok(distances);
        }
        Ok(self.distances_on_cpu(centroids, assignments))
    }

    fn distances_on_cpu(&self, centroids: &[f32], assignments: &[u32]) -> Vec<f32> {
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
    pub(super) fn assign(&self, centroids: &[f32], previous: Option<&[u32]>) -> Result<Vec<u32>> {
        #[cfg(feature = "cuda")]
        if let Some(points) = &self.on_gpu
            && let Some(nearest) = unless_out_of_memory(points.assign(centroids))?.flatten()
        {
            return Ok(nearest);
        }
        let mut nearest = Nearest::unknown(self.len());
        // With one tile of centroids the scores give the first limits, without reading the points.
        if let Some(previous) = previous.filter(|_| centroids.len() > TILE * self.dim) {
            nearest.limits = self.distances_on_cpu(centroids, previous);
            nearest.centroids = previous.to_vec();
        }
        self.update_nearest(centroids, 0, false, &mut nearest);
        Ok(nearest.centroids)
    }
}

/// Buffers of one thread for a block of points.
struct Scratch {
    scores: Vec<f32>,
    thresholds: Vec<f32>,
    /// Point of the block and column of the tile, ordered by point.
    candidates: Vec<(usize, usize)>,
}

impl Scratch {
    fn new() -> Self {
        Self { scores: vec![0.0; BLOCK * TILE], thresholds: vec![0.0; BLOCK], candidates: Vec::new() }
    }

    /// Finds the candidates among the scores; if no centroid is known, after tightening the limits.
    #[inline(always)]
    fn find_candidates(&mut self, points: &QueryBounds, tile: &TileBounds, unknown: bool, limits: &mut [f32]) {
        let Self { scores, thresholds, candidates } = self;
        if unknown {
            bounds::tighten_limits(points, tile, scores, limits);
        }
        bounds::thresholds(points, tile, limits, thresholds);
        candidates.clear();
        bounds::candidates(scores, &thresholds[..limits.len()], |point, column| candidates.push((point, column)));
    }
}
