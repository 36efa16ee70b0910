//! The iterations of Lloyd's algorithm: assign, update the sums, move the centroids, reseed empty clusters.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::assignment::{Nearest, PreparedPoints};
use super::clustering::{Clustering, Reseeded, Stop};
use crate::{error::Result, prefetch::prefetch, prefilter::Prefilter, vectorise::vectorised};

pub(super) fn iterate<P: Prefilter<'static>>(
    points: &PreparedPoints<'_, P>,
    start: &[f32],
    stop: Stop,
    mut progress: impl FnMut(usize, f64) -> ControlFlow<()>,
) -> Result<Clustering> {
    let dim = points.dim();
    let mut centroids = start.to_vec();
    let mut sums = Sums::new(centroids.len() / dim, dim);
    let mut assignments = vec![Nearest::NONE; points.len()];
    let mut reseeded = Vec::new();
    let (mut iterations, mut settled, mut converged) = (0, false, false);
    while iterations < stop.iterations && !converged {
        let mut next = points.assign(&centroids, (iterations > 0).then_some(&assignments))?;
        sums.update(points, &assignments, &next);
        if sums.sizes.contains(&0) {
            let before = next.clone();
            for (cluster, point) in farthest_points(&sums.sizes, &next, &points.distances(&centroids, &next)?) {
                next[point] = cluster as u32;
                reseeded.push(Reseeded { iteration: iterations + 1, cluster, point });
            }
            sums.update(points, &before, &next);
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
    // If no point changed its cluster, the centroids are unchanged and the assignments are already theirs.
    if !settled {
        assignments = points.assign(&centroids, (iterations > 0).then_some(&assignments))?;
    }
    let distances = points.distances(&centroids, &assignments)?;
    let mut sizes = vec![0; centroids.len() / dim];
    assignments.iter().for_each(|cluster| sizes[*cluster as usize] += 1);
    Ok(Clustering {
        inertia: distances.iter().map(|distance| f64::from(*distance)).sum(),
        assignments: assignments.into_iter().map(u32::cast_signed).collect(),
        centroids,
        distances,
        sizes,
        iterations,
        converged,
        reseeded,
    })
}

/// A point for each empty cluster: the farthest from its centroid, equal distances by index. Points at their centroid and the only
/// point of a cluster are not taken.
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

/// Sum and number of the points of each cluster.
struct Sums {
    dim: usize,
    sums: Vec<f64>,
    sizes: Vec<u32>,
}

impl Sums {
    fn new(clusters: usize, dim: usize) -> Self {
        Self { dim, sums: vec![0.0; clusters * dim], sizes: vec![0; clusters] }
    }

    /// Moves the points that changed their cluster from the old sums to the new ones, in the order of their indices.
    fn update<P: Prefilter<'static>>(&mut self, points: &PreparedPoints<'_, P>, from: &[u32], to: &[u32]) {
        /// Columns per task: long enough for sequential reads, short enough that few clusters still give several tasks.
        const COLUMNS: usize = 512;
        /// A point is prefetched this many moves before it is read.
        const PREFETCH_DISTANCE: usize = 6;
        let mut moves: Vec<(u32, u32, f64)> = Vec::new();
        for (point, (from, to)) in from.iter().zip(to).enumerate().filter(|(_, (from, to))| from != to) {
            if *from != Nearest::NONE {
                moves.push((*from, point as u32, -1.0));
                self.sizes[*from as usize] -= 1;
            }
            moves.push((*to, point as u32, 1.0));
            self.sizes[*to as usize] += 1;
        }
        // A point moves into a cluster or out of it, never both, so cluster and point determine the order completely.
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
                        let row = |point: u32| {
                            let row = &points.row(point as usize)[chunk * COLUMNS..];
                            &row[..row.len().min(COLUMNS)]
                        };
                        for (number, (_, point, sign)) in moves.iter().enumerate() {
                            if let Some((_, later, _)) = moves.get(number + PREFETCH_DISTANCE) {
                                prefetch(row(*later));
                            }
                            for (sum, value) in sums.iter_mut().zip(row(*point)) {
                                *sum += sign * f64::from(*value);
                            }
                        }
                    },
                );
            });
        });
    }

    /// Moves the centroids of non-empty clusters to their means; returns the Euclidean norm of the change of all centroids together.
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
