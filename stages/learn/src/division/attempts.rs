//! Repeats k-means with different seeds until every cluster can be trained.

use std::collections::BTreeMap;

use super::clusters::{Clusters, KMeans, Points, Start};
use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Number of seeds that k-means is tried with before the division fails.
pub const MAX_TRIES: usize = 30;

/// A k-means problem that may be tried several times.
pub(super) struct Attempts<'a, 'k> {
    pub(super) points: Points<'a>,
    /// The classes of the points.
    pub(super) labels: &'a [u32],
    pub(super) clusters: usize,
    /// Number of trainable parts that each cluster must be divisible into: one, or two if it is split afterwards.
    pub(super) parts: usize,
    /// Where the first try starts, if not from a seed.
    pub(super) centroids: Option<&'a [f32]>,
    pub(super) streams: &'a Streams,
    pub(super) kmeans: &'a mut KMeans<'k>,
}

/// A cluster that cannot be trained.
struct Untrainable {
    cluster: usize,
    images: usize,
    classes: usize,
}

/// The first result of k-means of which every cluster can be trained.
pub(super) fn cluster(attempts: Attempts<'_, '_>) -> Result<Clusters> {
    let Attempts { points, labels, clusters: count, parts, centroids, streams, kmeans } = attempts;
    let mut worst = None;
    // A single cluster is the same with every seed.
    let tries = if count == 1 { 1 } else { MAX_TRIES };
    for attempt in 0..tries {
        let start = match centroids {
            Some(centroids) if attempt == 0 => Start::Centroids(centroids),
            _ => Start::Seed(streams.at(attempt as u64).seed()),
        };
        let clusters = if count == 1 {
            whole(points)
        } else {
            kmeans(points, count, start).map_err(|source| LearnError::KMeans {
                points: points.count(),
                clusters: count,
                source,
            })?
        };
        worst = untrainable(&clusters.assignments, labels, count, parts);
        if worst.is_none() {
            return Ok(clusters);
        }
    }
    let Untrainable { cluster, images, classes } =
        worst.expect("another try is made only after an untrainable cluster");
    Err(match parts {
        1 => LearnError::Cluster { cluster, clusters: count, images, classes, tries },
        _ => LearnError::Split { cluster, clusters: count, images, tries },
    })
}

/// All points as one cluster.
fn whole(points: Points<'_>) -> Clusters {
    let mut sums = vec![0.0f64; points.dimension];
    for row in points.values.chunks_exact(points.dimension) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let count = points.count().max(1) as f64;
    let centroids = sums.into_iter().map(|sum| (sum / count) as f32).collect();
    Clusters { assignments: vec![0; points.count()], centroids }
}

/// The first cluster that cannot be divided into `parts` with two classes of at least two images each. A class can serve as many
/// parts as it has pairs of images.
fn untrainable(assignments: &[u32], labels: &[u32], clusters: usize, parts: usize) -> Option<Untrainable> {
    let mut sizes = vec![BTreeMap::<u32, usize>::new(); clusters];
    for (&cluster, &label) in assignments.iter().zip(labels) {
        *sizes[cluster as usize].entry(label).or_default() += 1;
    }
    sizes.into_iter().enumerate().find_map(|(cluster, sizes)| {
        let classes = sizes.values().map(|&images| parts.min(images / 2)).sum();
        (classes < 2 * parts).then(|| Untrainable { cluster, images: sizes.values().sum(), classes })
    })
}
