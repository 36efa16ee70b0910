//! Division: assigns the training images to the learners.
//!
//! ```text
//! k-means on the features, with as many clusters as in the previous round
//!   → re-assignment, so that each learner keeps the cluster most similar to its previous one
//!   → if the number of learners doubles: every cluster c is split by 2-means into 2c and 2c + 1
//!   → pruning of images that are the only one of their class in their cluster
//! ```
//!
//! Shapes: points `[images, dim]`, assignments `[images]` (−1 = pruned), centroids `[clusters, dim]`.
//! Source: DC19; DC21 for the doubling. The caller provides the k-means implementation.
//!
//! **Reading order** `clusters`, then [`divide`] and the steps in its order: `attempts`, `reassignment`, `doubling`, `pruning`.

mod attempts;
mod clusters;
mod doubling;
mod pruning;
mod reassignment;

pub use attempts::MAX_TRIES;
pub use clusters::{Clusters, KMeans, Points, Start};
pub use pruning::PRUNED;
pub use reassignment::reassignment;

use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// The division of the previous round.
#[derive(Clone, Copy, Debug)]
pub struct PreviousDivision<'a> {
    /// The cluster of each image; [`PRUNED`] if it had none.
    pub assignments: &'a [i32],
    /// Number of learners.
    pub learners: usize,
    /// Its centroids, if k-means is to start from them instead of new ones.
    pub centroids: Option<&'a [f32]>,
}

/// The training images divided among the learners.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// The cluster of each image, or [`PRUNED`].
    pub assignments: Vec<i32>,
    /// The distance of each image to the centroid of its cluster; for a pruned image, of the cluster that it was pruned from.
    pub distances: Vec<f32>,
    /// `[learners, dim]`.
    pub centroids: Vec<f32>,
}

/// Divides images among `learners` learners. With fewer learners than in the previous round, or after a single learner, the
/// division starts from scratch.
///
/// # Errors
/// If k-means failed; if after [`MAX_TRIES`] seeds some cluster lacks two classes with two images each, or cannot be split in
/// two that have them; or if there are more learners than in the previous round, which had several, but not twice as many.
pub fn divide(
    points: Points<'_>,
    labels: &[u32],
    learners: usize,
    previous: Option<PreviousDivision<'_>>,
    kmeans: &mut KMeans<'_>,
    streams: &Streams,
) -> Result<Partition> {
    check_shapes(points, labels, previous)?;
    let previous = previous.filter(|previous| previous.learners > 1 && learners >= previous.learners);
    let base = match previous {
        Some(previous) if previous.learners == learners || previous.learners * 2 == learners => previous.learners,
        None => learners,
        Some(previous) => {
            let reason = format!("after {} learners there can be as many, twice as many or fewer", previous.learners);
            return Err(LearnError::Config { parameter: "learners", value: learners.to_string(), reason });
        }
    };

    let mut clusters = attempts::cluster(attempts::Attempts {
        points,
        labels,
        clusters: base,
        parts: learners / base,
        centroids: previous.and_then(|previous| previous.centroids),
        streams: &streams.named("division"),
        kmeans,
    })?;
    if let Some(previous) = previous {
        let new_numbers = reassignment(&clusters.assignments, previous.assignments, base);
        clusters = clusters.renumbered(&new_numbers, points.dimension);
    }
    if base != learners {
        clusters = doubling::double(points, labels, &clusters, base, kmeans, &streams.named("doubling"))?;
    }

    let distances = clusters.distances(points);
    let assignments = pruning::prune(&clusters.assignments, labels);
    Ok(Partition { assignments, distances, centroids: clusters.centroids })
}

fn check_shapes(points: Points<'_>, labels: &[u32], previous: Option<PreviousDivision<'_>>) -> Result<()> {
    let count = labels.len();
    let mismatch = |name: &str, found: usize| {
        let wanted = format!("one entry for each of {count} images");
        Err(LearnError::Shape { name: name.into(), wanted, found: vec![found] })
    };
    if points.dimension == 0 || points.values.len() != count * points.dimension {
        return mismatch("points", points.count());
    }
    match previous {
        Some(previous) if previous.assignments.len() != count => {
            mismatch("previous assignments", previous.assignments.len())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small and slow Lloyd's algorithm. The seed determines which points are the initial centroids.
    fn lloyd(
        points: Points<'_>,
        count: usize,
        start: Start<'_>,
    ) -> Result<Clusters, Box<dyn std::error::Error + Send + Sync>> {
        let mut centroids = match start {
            Start::Centroids(centroids) => centroids.to_vec(),
            Start::Seed(seed) => {
                let first = |k: usize| (seed as usize % 7 + k * points.count() / count) % points.count();
                (0..count).flat_map(|k| points.row(first(k)).to_vec()).collect()
            }
        };
        let mut assignments = vec![0; points.count()];
        for _ in 0..20 {
            for (index, assignment) in assignments.iter_mut().enumerate() {
                let squared = |k: usize| -> f32 {
                    let pairs = points.row(index).iter().zip(&centroids[k * points.dimension..]);
                    pairs.map(|(x, c)| (x - c) * (x - c)).sum()
                };
                *assignment = (0..count).min_by(|&a, &b| squared(a).total_cmp(&squared(b))).unwrap() as u32;
            }
            for (k, centroid) in centroids.chunks_exact_mut(points.dimension).enumerate() {
                let members: Vec<usize> = (0..points.count()).filter(|&i| assignments[i] as usize == k).collect();
                for (axis, value) in centroid.iter_mut().enumerate() {
                    let sum: f32 = members.iter().map(|&i| points.row(i)[axis]).sum();
                    *value = if members.is_empty() { *value } else { sum / members.len() as f32 };
                }
            }
        }
        Ok(Clusters { assignments, centroids })
    }

    /// One-dimensional points, eight around each of 0, 10, 20 …; each of these groups has two classes.
    fn line(groups: usize) -> (Vec<f32>, Vec<u32>) {
        let values = (0..8 * groups).map(|i| (i / 8 * 10) as f32 + (i % 4) as f32 * 0.1 + (i % 8 / 4) as f32).collect();
        (values, (0..8 * groups as u32).map(|i| i / 4).collect())
    }

    #[test]
    fn learners_keep_their_images_and_children_divide_their_parents() {
        let (values, labels) = line(4);
        let points = Points { values: &values, dimension: 1 };
        let mut previous: Option<(Partition, usize)> = None;
        for (round, learners) in [1, 2, 2, 4, 4, 1, 4, 2, 4].into_iter().enumerate() {
            let given = previous.as_ref().map(|(division, learners)| PreviousDivision {
                assignments: &division.assignments,
                learners: *learners,
                centroids: None,
            });
            let streams = Streams::new(0).at(round as u64);
            let division = divide(points, &labels, learners, given, &mut lloyd, &streams).unwrap();
            let used: std::collections::BTreeSet<i32> = division.assignments.iter().copied().collect();
            assert_eq!(used, (0..learners as i32).collect(), "round {round}");
            if let Some((before, count)) = &previous {
                for (new, old) in division.assignments.iter().zip(&before.assignments) {
                    match learners {
                        same if same == *count => assert_eq!(new, old, "round {round}"),
                        double if double == 2 * count && *count > 1 => assert_eq!(new / 2, *old, "round {round}"),
                        _ => {}
                    }
                }
            }
            let nearest = |i: usize| (values[i] - division.centroids[division.assignments[i] as usize]).abs();
            assert!((0..values.len()).all(|i| (division.distances[i] - nearest(i)).abs() < 1e-5));
            previous = Some((division, learners));
        }
    }

    #[test]
    fn k_means_can_start_from_the_previous_centroids() {
        let (values, labels) = line(2);
        let points = Points { values: &values, dimension: 1 };
        let first = divide(points, &labels, 2, None, &mut lloyd, &Streams::new(0)).unwrap();
        let previous =
            PreviousDivision { assignments: &first.assignments, learners: 2, centroids: Some(&first.centroids) };
        let mut starts = 0;
        let mut carried = |points: Points<'_>, count: usize, start: Start<'_>| {
            assert_eq!(start, Start::Centroids(&first.centroids));
            starts += 1;
            lloyd(points, count, start)
        };
        assert_eq!(divide(points, &labels, 2, Some(previous), &mut carried, &Streams::new(1)).unwrap(), first);
        assert_eq!(starts, 1);
    }

    #[test]
    fn another_seed_is_tried_if_a_cluster_cannot_be_trained() {
        let (values, labels) = line(2);
        let points = Points { values: &values, dimension: 1 };
        let mut seeds = Vec::new();
        let mut stubborn = |points: Points<'_>, count: usize, start: Start<'_>| {
            let Start::Seed(seed) = start else { unreachable!("there are no previous centroids") };
            seeds.push(seed);
            // The first three results put everything in one cluster.
            if seeds.len() <= 3 {
                return Ok(Clusters { assignments: vec![0; points.count()], centroids: vec![0.0; count] });
            }
            lloyd(points, count, start)
        };
        let division = divide(points, &labels, 2, None, &mut stubborn, &Streams::new(0)).unwrap();
        assert_eq!(division.assignments.iter().filter(|&&cluster| cluster == 0).count(), 8);
        assert_eq!(seeds.len(), 4);
        seeds.dedup();
        assert_eq!(seeds.len(), 4, "every try has its own seed");
    }

    #[test]
    fn another_seed_is_tried_if_a_cluster_cannot_be_split() {
        let (values, labels) = line(4);
        let points = Points { values: &values, dimension: 1 };
        let halves: Vec<i32> = (0..32).map(|i| i / 16).collect();
        let previous = PreviousDivision { assignments: &halves, learners: 2, centroids: None };
        let mut tries = [0, 0];
        let mut stubborn = |points: Points<'_>, count: usize, start: Start<'_>| {
            // All images are divided first, then each half of them.
            let tries = if points.count() == 32 { &mut tries[0] } else { &mut tries[1] };
            *tries += 1;
            // The first three results of each kind leave one image alone.
            if *tries <= 3 {
                let assignments = (0..points.count()).map(|i| u32::from(i == 0)).collect();
                return Ok(Clusters { assignments, centroids: vec![0.0; count] });
            }
            lloyd(points, count, start)
        };
        let division = divide(points, &labels, 4, Some(previous), &mut stubborn, &Streams::new(0)).unwrap();
        assert!(division.assignments.iter().zip(&halves).all(|(new, old)| new / 2 == *old));
        assert_eq!(tries, [4, 4 + 1], "the second half is split at the first try");
    }

    #[test]
    fn impossible_divisions_are_errors() {
        let (values, labels) = line(3);
        let points = Points { values: &values, dimension: 1 };
        let check = |learners, previous: Option<(Vec<i32>, usize)>| {
            let previous = previous.as_ref().map(|(a, learners)| PreviousDivision {
                assignments: a,
                learners: *learners,
                centroids: None,
            });
            divide(points, &labels, learners, previous, &mut lloyd, &Streams::new(0)).unwrap_err()
        };
        let thirds: Vec<i32> = (0..24).map(|i| i / 8).collect();
        insta::assert_snapshot!(check(4, Some((thirds.clone(), 3))), @"`learners` cannot be 4: after 3 learners there can be as many, twice as many or fewer");
        insta::assert_snapshot!(check(6, Some((thirds, 3))), @"No learner can be trained on cluster 0 of 6: training needs two classes with two or more images, but among its 4 images there are 1 such classes (k-means was tried with 30 seeds)");
        let one_each = Points { values: &values[..6], dimension: 1 };
        let previous = PreviousDivision { assignments: &[0, 0, 0, 1, 1, 1], learners: 2, centroids: None };
        let error = divide(one_each, &[0, 0, 1, 1, 2, 2], 4, Some(previous), &mut lloyd, &Streams::new(0)).unwrap_err();
        insta::assert_snapshot!(error, @"Cluster 0 of 2 cannot be split in two: each half needs two classes with two or more images, and the cluster has 4 images (k-means was tried with 30 seeds)");
        insta::assert_snapshot!(check(3, Some((vec![0; 5], 3))), @"`previous assignments` has shape [5], expected one entry for each of 24 images");
    }
}
