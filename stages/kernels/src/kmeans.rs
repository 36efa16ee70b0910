//! k-means by Lloyd's iterations, exact and with as many clusters as one likes: 8 for a division, 11,316 for an NMI.
//!
//! **Formula** Repeat: every point to its nearest centroid (equal distances: the first), aᵢ = argmin_c D(xᵢ, μ_c); every centroid to
//! the mean of its points. Inertia is Σᵢ D(xᵢ, μ_{aᵢ}).
//!
//! **How** Assignment screens a block of points against the centroids ([`crate::screen`]), so that a point costs only a few exact
//! distances, and with few centroids mostly none. A centroid's sum is kept in `f64` and only points that moved touch it, in the
//! order of their numbers; what converges becomes cheap, and no bit depends on the number of threads.
//!
//! **Shapes** points `[n, dim]`, centroids `[k, dim]` as slices.
//!
//! **Source** Lloyd, *Least squares quantization in PCM*, 1982; seeding by Arthur and Vassilvitskii, *k-means++*, 2007.

use std::{borrow::Cow, ops::ControlFlow};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use rayon::prelude::*;

use crate::{
    distance,
    error::{Result, misfit},
    neighbours::check,
    screen::{self, BLOCK, QueryBounds, Screen, TILE, TileBounds, float::Float, int8, int8::Int8},
    vectorise::vectorised,
};

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// At the latest after so many iterations.
    pub iterations: usize,
    /// As soon as the centroids together moved less than this, ‖μ′ − μ‖₂ over all of them; 0 waits until no point moves.
    pub tolerance: f64,
}

/// An empty cluster that was given the point which was farthest from its centroid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reseeded {
    /// In which iteration, from 1.
    pub iteration: usize,
    /// The cluster that was empty.
    pub cluster: usize,
    /// The point that became its centroid.
    pub point: usize,
}

/// Points divided into clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// `[k, dim]`.
    pub centroids: Vec<f32>,
    /// The nearest centroid of each point, `[n]`.
    pub assignments: Vec<i32>,
    /// The squared distance of each point to its centroid, `[n]`.
    pub distances: Vec<f32>,
    /// How many points each cluster has, `[k]`; 0 only if there are fewer distinct points than clusters or the last step took
    /// the last point away.
    pub sizes: Vec<u32>,
    /// The sum of `distances`.
    pub inertia: f64,
    /// How often the centroids were moved.
    pub iterations: usize,
    /// Whether the tolerance was reached, or nothing moved any more.
    pub converged: bool,
    /// Empty clusters on the way.
    pub reseeded: Vec<Reseeded>,
}

const LLOYD: &str = "lloyd";
const SEEDING: &str = "k-means++";

/// Moves `centroids`, `[k, dim]`, by Lloyd's iterations over `points`, `[n, dim]`.
///
/// `progress` is told the number of each iteration and how far the centroids moved in it, and may break off.
///
/// # Errors
/// If either is not a whole number of finite rows of `dim`, there is none, or there are more centroids than points.
pub fn lloyd(
    points: &[f32],
    dim: usize,
    centroids: &[f32],
    stop: Stop,
    progress: impl FnMut(usize, f64) -> ControlFlow<()>,
) -> Result<Clustering> {
    check(LLOYD, "points", points, dim)?;
    check(LLOYD, "centroids", centroids, dim)?;
    let (count, clusters) = (points.len() / dim, centroids.len() / dim);
    if clusters == 0 || clusters > count || clusters > i32::MAX as usize {
        return Err(misfit(LLOYD, format!("{clusters} clusters of {count} points")));
    }
    Ok(match int8::available(dim) {
        true => iterate::<Int8>(points, dim, centroids, stop, progress),
        false => iterate::<Float>(points, dim, centroids, stop, progress),
    })
}

/// `k` of the `points`, `[n, dim]`, far from each other, to start Lloyd's iterations from: each is drawn with a probability
/// proportional to its squared distance to the nearest that was drawn before.
///
/// `Deviation:` beyond 64 centroids they are drawn in 64 batches rather than one by one, with distances to the earlier batches
/// (as in k-means‖, Bahmani et al. 2012, whose oversampling is left out): one pass over the points a batch, not a centroid.
///
/// # Errors
/// If `points` is not a whole number of finite rows of `dim`, or `k` is 0 or more than there are points.
pub fn plus_plus(points: &[f32], dim: usize, k: usize, seed: u64) -> Result<Vec<f32>> {
    check(SEEDING, "points", points, dim)?;
    let count = points.len() / dim;
    if k == 0 || k > count {
        return Err(misfit(SEEDING, format!("{k} clusters of {count} points")));
    }
    Ok(match int8::available(dim) {
        true => spread::<Int8>(points, dim, k, seed),
        false => spread::<Float>(points, dim, k, seed),
    })
}

/// Blocks of points, ready to be screened against centroids that change.
struct Points<'p, S: Screen<'static>> {
    rows: &'p [f32],
    dim: usize,
    centre: Vec<f32>,
    blocks: Vec<S::Block<'p>>,
}

/// The nearest centroid of each point as far as it is known.
struct Nearest {
    /// [`Nearest::NONE`] where no centroid is known.
    centroids: Vec<u32>,
    /// No less than the squared distance to it.
    limits: Vec<f32>,
}

impl Nearest {
    const NONE: u32 = u32::MAX;

    fn unknown(points: usize) -> Self {
        Self { centroids: vec![Self::NONE; points], limits: vec![f32::INFINITY; points] }
    }
}

impl<'p, S: Screen<'static>> Points<'p, S> {
    fn new(rows: &'p [f32], dim: usize) -> Self {
        let centre = screen::centre(rows, dim);
        let blocks = rows.par_chunks(BLOCK * dim).map(|rows| S::block(rows, dim, &centre)).collect();
        Self { rows, dim, centre, blocks }
    }

    fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    fn row(&self, point: usize) -> &'p [f32] {
        &self.rows[point * self.dim..][..self.dim]
    }

    /// Replaces each point's centroid by any of `centroids` that is nearer, or as near and earlier; their numbers start at
    /// `first`. Limits become exact distances if `exact`; else they may stay bounds where no other centroid is in question.
    fn approach(&self, centroids: &[f32], first: usize, exact: bool, nearest: &mut Nearest) {
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
    fn distances(&self, centroids: &[f32], assignments: &[u32]) -> Vec<f32> {
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
    fn assign(&self, centroids: &[f32], previous: Option<&[u32]>) -> Vec<u32> {
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

fn iterate<S: Screen<'static>>(
    points: &[f32],
    dim: usize,
    start: &[f32],
    stop: Stop,
    mut progress: impl FnMut(usize, f64) -> ControlFlow<()>,
) -> Clustering {
    let points = Points::<S>::new(points, dim);
    let mut centroids = start.to_vec();
    let mut sums = Sums::new(centroids.len() / dim, dim);
    let mut assignments = vec![Nearest::NONE; points.len()];
    let mut reseeded = Vec::new();
    let (mut iterations, mut settled, mut converged) = (0, false, false);
    while iterations < stop.iterations && !converged {
        let mut next = points.assign(&centroids, (iterations > 0).then_some(&assignments));
        sums.shift(&points, &assignments, &next);
        if sums.sizes.contains(&0) {
            let before = next.clone();
            for (cluster, point) in farthest_points(&sums.sizes, &next, &points.distances(&centroids, &next)) {
                next[point] = cluster as u32;
                reseeded.push(Reseeded { iteration: iterations + 1, cluster, point });
            }
            sums.shift(&points, &before, &next);
        }
        settled = next == assignments;
        assignments = next;
        let moved = sums.means(&mut centroids);
        iterations += 1;
        converged = settled || moved < stop.tolerance;
        if progress(iterations, moved).is_break() {
            break;
        }
    }
    // If no point moved, neither did a centroid, and the assignments are already those of the centroids.
    if !settled {
        assignments = points.assign(&centroids, (iterations > 0).then_some(&assignments));
    }
    let distances = points.distances(&centroids, &assignments);
    let mut sizes = vec![0; centroids.len() / dim];
    assignments.iter().for_each(|cluster| sizes[*cluster as usize] += 1);
    Clustering {
        inertia: distances.iter().map(|distance| f64::from(*distance)).sum(),
        assignments: assignments.into_iter().map(u32::cast_signed).collect(),
        centroids,
        distances,
        sizes,
        iterations,
        converged,
        reseeded,
    }
}

/// A point for each empty cluster: the farthest from its centroid, equal ones by number, but none at its centroid and none that
/// leaves its cluster empty.
fn farthest_points(sizes: &[u32], assignments: &[u32], distances: &[f32]) -> Vec<(usize, usize)> {
    let mut sizes = sizes.to_vec();
    let mut order: Vec<usize> = (0..distances.len()).filter(|point| distances[*point] > 0.0).collect();
    order.sort_unstable_by(|a, b| distances[*b].total_cmp(&distances[*a]).then(a.cmp(b)));
    let mut farthest = order.into_iter();
    let empty: Vec<usize> = (0..sizes.len()).filter(|cluster| sizes[*cluster] == 0).collect();
    let taken = empty.into_iter().map_while(|cluster| {
        let point = farthest.find(|point| sizes[assignments[*point] as usize] > 1)?;
        sizes[assignments[point] as usize] -= 1;
        Some((cluster, point))
    });
    taken.collect()
}

/// The sum and the number of the points of each cluster.
struct Sums {
    dim: usize,
    sums: Vec<f64>,
    sizes: Vec<u32>,
}

impl Sums {
    fn new(clusters: usize, dim: usize) -> Self {
        Self { dim, sums: vec![0.0; clusters * dim], sizes: vec![0; clusters] }
    }

    /// Takes the points that moved out of their old clusters and into their new ones, in the order of their numbers.
    fn shift<S: Screen<'static>>(&mut self, points: &Points<'_, S>, from: &[u32], to: &[u32]) {
        /// Columns that one task adds up, so that few clusters still make many tasks.
        const COLUMNS: usize = 128;
        let mut moves: Vec<(u32, u32, f64)> = Vec::new();
        for (point, (from, to)) in from.iter().zip(to).enumerate().filter(|(_, (from, to))| from != to) {
            if *from != Nearest::NONE {
                moves.push((*from, point as u32, -1.0));
                self.sizes[*from as usize] -= 1;
            }
            moves.push((*to, point as u32, 1.0));
            self.sizes[*to as usize] += 1;
        }
        // A point moves into or out of a cluster, never both, so that cluster and point are a full order.
        moves.par_sort_unstable_by_key(|(cluster, point, _)| (*cluster, *point));
        let dim = self.dim;
        self.sums.par_chunks_mut(dim).enumerate().for_each(|(cluster, sums)| {
            let start = moves.partition_point(|(other, ..)| (*other as usize) < cluster);
            let moves = &moves[start..];
            let moves = &moves[..moves.partition_point(|(other, ..)| *other as usize == cluster)];
            if moves.is_empty() {
                return;
            }
            sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, sums)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (_, point, sign) in moves {
                            let row = &points.row(*point as usize)[chunk * COLUMNS..];
                            for (sum, value) in sums.iter_mut().zip(row) {
                                *sum += sign * f64::from(*value);
                            }
                        }
                    },
                );
            });
        });
    }

    /// Sets each centroid to its mean, but for those of empty clusters; returns how far they moved together.
    fn means(&self, centroids: &mut [f32]) -> f64 {
        let rows = centroids.par_chunks_mut(self.dim).zip(self.sums.par_chunks(self.dim)).zip(&self.sizes);
        let moved = rows.map(|((centroid, sums), &size)| {
            if size == 0 {
                return 0.0;
            }
            let mut moved = 0.0;
            for (value, sum) in centroid.iter_mut().zip(sums) {
                let mean = (sum / f64::from(size)) as f32;
                moved += (f64::from(mean) - f64::from(*value)).powi(2);
                *value = mean;
            }
            moved
        });
        moved.collect::<Vec<f64>>().into_iter().sum::<f64>().sqrt()
    }
}

fn spread<S: Screen<'static>>(points: &[f32], dim: usize, k: usize, seed: u64) -> Vec<f32> {
    const BATCHES: usize = 64;
    let points = Points::<S>::new(points, dim);
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut nearest = Nearest::unknown(points.len());
    let mut drawn: Vec<usize> = Vec::new();
    let mut centroids = Vec::with_capacity(k * dim);
    while drawn.len() < k {
        // Before the first all are equally far.
        let batch = if drawn.is_empty() { 1 } else { k.div_ceil(BATCHES).min(k - drawn.len()) };
        let first = drawn.len();
        drawn.extend(race(&nearest.limits, batch, &drawn, &mut stream));
        drawn[first..].iter().for_each(|point| centroids.extend_from_slice(points.row(*point)));
        points.approach(&centroids[first * dim..], first, true, &mut nearest);
    }
    centroids
}

/// Draws `count` points without replacement, with probabilities proportional to their weights: each gets an exponential waiting
/// time at the rate of its weight, and the first win (Efraimidis and Spirakis, 2006). Those of weight 0 come last, by number.
fn race(weights: &[f32], count: usize, drawn: &[usize], stream: &mut ChaCha8Rng) -> Vec<usize> {
    let mut times: Vec<(f64, usize)> = weights
        .iter()
        .enumerate()
        .map(|(point, weight)| {
            // In (0, 1], so that the logarithm is finite.
            let uniform = ((stream.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
            let time = -uniform.ln() / f64::from(weight.min(f32::MAX));
            (if time.is_nan() { f64::INFINITY } else { time }, point)
        })
        .collect();
    drawn.iter().for_each(|point| times[*point].0 = f64::NAN);
    // NaN sorts behind infinity, and `count` is at most the number of points that are left.
    let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    times.select_nth_unstable_by(count - 1, order);
    times.truncate(count);
    times.sort_unstable_by(order);
    times.into_iter().map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use linfa::{DatasetBase, traits::Fit};
    use linfa_clustering::{KMeans, KMeansInit};
    use ndarray::Array2;
    use proptest::prelude::*;
    use rand_chacha::rand_core::RngCore;

    use super::*;

    const PATIENT: Stop = Stop { iterations: 300, tolerance: 0.0 };

    fn go_on(_: usize, _: f64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Points around `groups` centres.
    fn clouds(count: usize, dim: usize, groups: usize, spread: f32, seed: u64) -> Vec<f32> {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        let mut next = move || (stream.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        let centres: Vec<f32> = (0..groups * dim).map(|_| next()).collect();
        (0..count * dim).map(|i| centres[i / dim % groups * dim + i % dim] + spread * next()).collect()
    }

    /// Lloyd's iterations by their definition, in double precision; no cluster may become empty.
    fn slow(points: &[f32], dim: usize, start: &[f32], iterations: usize) -> (Vec<i32>, f64) {
        let mut centroids: Vec<f64> = start.iter().map(|value| f64::from(*value)).collect();
        let nearest = |centroids: &[f64], point: &[f32]| {
            let distance = |centroid: &[f64]| -> f64 {
                centroid.iter().zip(point).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum()
            };
            let distances = centroids.chunks_exact(dim).map(distance).zip(0..);
            distances.fold((f64::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best })
        };
        for _ in 0..iterations {
            let (mut sums, mut sizes) = (vec![0.0; centroids.len()], vec![0.0; centroids.len() / dim]);
            for point in points.chunks_exact(dim) {
                let (_, cluster) = nearest(&centroids, point);
                sizes[cluster as usize] += 1.0;
                for (sum, value) in sums[cluster as usize * dim..].iter_mut().zip(point) {
                    *sum += f64::from(*value);
                }
            }
            centroids = sums.iter().enumerate().map(|(i, sum)| sum / sizes[i / dim]).collect();
        }
        let found: Vec<(f64, i32)> = points.chunks_exact(dim).map(|point| nearest(&centroids, point)).collect();
        (found.iter().map(|(_, cluster)| *cluster).collect(), found.iter().map(|(distance, _)| distance).sum())
    }

    #[test]
    fn agrees_with_a_loop_in_double_precision() {
        for (count, dim, k, iterations) in [(900, 5, 3, 4), (700, 33, 20, 7), (2000, 16, 150, 3), (400, 70, 400, 1)] {
            let points = clouds(count, dim, 12, 0.3, 1);
            let start = &points[..k * dim];
            let found = lloyd(&points, dim, start, Stop { iterations, tolerance: 0.0 }, go_on).expect("well formed");
            let (assignments, inertia) = slow(&points, dim, start, iterations);
            let different = assignments.iter().zip(&found.assignments).filter(|(a, b)| a != b).count();
            assert!(different <= count / 500, "{different} of {count} assignments differ");
            assert!((found.inertia - inertia).abs() <= 1e-5 * inertia.max(1e-3), "{} is not {inertia}", found.inertia);
        }
    }

    #[test]
    fn reaches_the_inertia_of_linfa_from_the_same_start() {
        for (dim, k, spread) in [(8, 4, 0.4), (24, 12, 0.5), (16, 30, 0.2)] {
            let points = clouds(1500, dim, k, spread, 2);
            let start = plus_plus(&points, dim, k, 3).expect("well formed");
            let found = lloyd(&points, dim, &start, PATIENT, go_on).expect("well formed");
            let matrix = |rows: &[f32]| {
                Array2::from_shape_vec((rows.len() / dim, dim), rows.to_vec()).expect("a whole number of rows")
            };
            let theirs = KMeans::params(k)
                .init_method(KMeansInit::Precomputed(matrix(&start)))
                .n_runs(1)
                .max_n_iterations(3000)
                .tolerance(1e-7)
                .fit(&DatasetBase::from(matrix(&points)))
                .expect("linfa clusters finite points");
            let inertia = f64::from(theirs.inertia()) * 1500.0;
            assert!(found.converged && (found.inertia - inertia).abs() < 1e-4 * inertia, "{} {inertia}", found.inertia);
        }
    }

    #[test]
    fn threads_and_screens_do_not_change_a_bit() {
        for (dim, k) in [(40, 6), (9, 300)] {
            let points = clouds(3000, dim, 25, 0.6, 4);
            let results = [1, 2, 5].into_iter().flat_map(|threads| {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
                pool.install(|| {
                    let seeds = spread::<Float>(&points, dim, k, 5);
                    let mut all = vec![iterate::<Float>(&points, dim, &seeds, PATIENT, go_on)];
                    if int8::available(dim) {
                        assert_eq!(seeds, spread::<Int8>(&points, dim, k, 5));
                        all.push(iterate::<Int8>(&points, dim, &seeds, PATIENT, go_on));
                    }
                    all
                })
            });
            let results: Vec<Clustering> = results.collect();
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }

    #[test]
    fn an_empty_cluster_gets_the_farthest_point_and_is_told() {
        // Nobody is nearest to the centroid at 100; 9 is farthest from its own.
        let points = [0.0f32, 1.0, 2.0, 9.0];
        let found = lloyd(&points, 1, &[1.0, 100.0], PATIENT, go_on).expect("well formed");
        assert_eq!(found.reseeded, [Reseeded { iteration: 1, cluster: 1, point: 3 }]);
        assert_eq!((found.assignments, found.centroids), (vec![0, 0, 0, 1], vec![1.0, 9.0]));
        assert_eq!((found.sizes, found.inertia), (vec![3, 1], 2.0));
    }

    #[test]
    fn fewer_distinct_points_than_clusters_leave_clusters_empty() {
        let points = [1.0f32, 1.0, 1.0, 5.0];
        let start = plus_plus(&points, 1, 3, 0).expect("well formed");
        let found = lloyd(&points, 1, &start, PATIENT, go_on).expect("well formed");
        assert_eq!(found.inertia, 0.0);
        assert!(found.converged && found.sizes.contains(&0) && found.sizes.iter().sum::<u32>() == 4);
    }

    #[test]
    fn can_be_broken_off() {
        let points = clouds(500, 4, 9, 1.0, 6);
        let stop_at_two =
            |iteration, _| if iteration == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let broken = lloyd(&points, 4, &points[..36], PATIENT, stop_at_two).expect("well formed");
        let two = Stop { iterations: 2, tolerance: 0.0 };
        assert_eq!(broken, lloyd(&points, 4, &points[..36], two, go_on).expect("well formed"));
    }

    #[test]
    fn seeds_are_distinct_points_that_spread() {
        let points = clouds(4000, 12, 40, 0.05, 7);
        let seeds = plus_plus(&points, 12, 40, 8).expect("well formed");
        let groups: std::collections::BTreeSet<usize> = seeds
            .chunks_exact(12)
            .map(|seed| points.chunks_exact(12).position(|point| point == seed).expect("a seed is a point") % 40)
            .collect();
        // One by one at random about 25 of 40 groups would be met.
        assert!(groups.len() >= 36, "{} of 40 groups", groups.len());
        let all = plus_plus(&points, 12, 4000, 9).expect("well formed");
        let mut rows: Vec<&[f32]> = all.chunks_exact(12).collect();
        rows.sort_by(|a, b| a.partial_cmp(b).expect("finite"));
        rows.dedup();
        assert_eq!(rows.len(), 4000);
    }

    #[test]
    fn refuses_what_cannot_be_clustered() {
        let check = |points: &[f32], centroids: &[f32], expected: &str| {
            let error = lloyd(points, 1, centroids, PATIENT, go_on).expect_err("malformed");
            assert_eq!(error.to_string(), format!("Cannot run `lloyd`: {expected}"));
        };
        check(&[0.0], &[], "0 clusters of 1 points");
        check(&[0.0], &[0.0, 1.0], "2 clusters of 1 points");
        check(&[0.0, f32::INFINITY], &[0.0], "row 1 of `points` is not finite or too large");
        assert_eq!(
            plus_plus(&[0.0], 1, 2, 0).expect_err("malformed").to_string(),
            "Cannot run `k-means++`: 2 clusters of 1 points"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_point_is_with_its_nearest_centroid(
            dim in 1usize..20, count in 1usize..400, share in 0.0f64..1.0, spread in 0.0f32..1.0, seed: u64
        ) {
            let k = ((count as f64 * share) as usize).max(1);
            let points = clouds(count, dim, 10, spread, seed);
            let start = plus_plus(&points, dim, k, seed).expect("well formed");
            let found = lloyd(&points, dim, &start, Stop { iterations: 3, tolerance: 0.0 }, go_on).expect("well formed");
            for (point, (cluster, distance)) in
                points.chunks_exact(dim).zip(found.assignments.iter().zip(&found.distances))
            {
                let all = found.centroids.chunks_exact(dim).map(|centroid| distance::squared(point, centroid));
                let nearest = all.zip(0..).fold((f32::INFINITY, -1), |best, next| if next.0 < best.0 { next } else { best });
                prop_assert_eq!(nearest, (*distance, *cluster));
            }
        }
    }
}
