//! Division: which training images each learner gets.
//!
//! ```text
//! k-means on the features into last round's number of clusters
//!   → re-assignment, so that each learner keeps the cluster most like its last one
//!   → on doubling: every cluster split in two by 2-means, cluster c into 2c and 2c + 1
//!   → pruning of images that are the only one of their class in their cluster
//! ```
//!
//! Shapes: points `[images, dim]`, assignments `[images]` (−1 = pruned), centroids `[clusters, dim]`.
//! Source: DC19; DC21 for the doubling. k-means itself is the caller's.

mod attempts;
mod doubling;
mod pruning;
mod reassignment;

pub use attempts::MAX_TRIES;
pub use pruning::PRUNED;
pub use reassignment::reassignment;

use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Points in rows of equal length.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// One row after another.
    pub values: &'a [f32],
    /// Length of a row.
    pub dimension: usize,
}

/// Where k-means begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start<'a> {
    /// At centroids that are drawn from this seed.
    Seed(u64),
    /// At these, `[clusters, dim]`.
    Centroids(&'a [f32]),
}

/// What k-means answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of each point.
    pub assignments: Vec<u32>,
    /// `[clusters, dim]`.
    pub centroids: Vec<f32>,
}

/// k-means on points, into so many clusters, from a start.
pub type KMeans<'a> =
    dyn FnMut(Points<'_>, usize, Start<'_>) -> Result<Clusters, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// The division of the last round.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// The cluster of each image; [`PRUNED`] where it had none.
    pub assignments: &'a [i32],
    /// How many learners there were.
    pub learners: usize,
    /// Its centroids, where k-means shall begin at them and not at new ones.
    pub centroids: Option<&'a [f32]>,
}

/// Which training images each learner gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// The cluster of each image, or [`PRUNED`].
    pub assignments: Vec<i32>,
    /// The distance of each image to the centroid of its cluster; of a pruned one, of the cluster that it was pruned from.
    pub distances: Vec<f32>,
    /// `[learners, dim]`.
    pub centroids: Vec<f32>,
}

/// Divides images among `learners` learners. Fewer than last round, or after a single one, begin anew.
///
/// # Errors
/// k-means failed; or after [`MAX_TRIES`] seeds some cluster has no two classes with two images each, or cannot be split in two
/// that have; or there are
/// more learners than last round, which had several, but not twice as many.
pub fn divide(
    points: Points<'_>,
    labels: &[u32],
    learners: usize,
    last: Option<Last<'_>>,
    kmeans: &mut KMeans<'_>,
    streams: &Streams,
) -> Result<Division> {
    check_shapes(points, labels, last)?;
    let last = last.filter(|last| last.learners > 1 && learners >= last.learners);
    let base = match last {
        Some(last) if last.learners == learners || last.learners * 2 == learners => last.learners,
        None => learners,
        Some(last) => {
            let reason = format!("after {} learners there can be as many, twice as many or fewer", last.learners);
            return Err(LearnError::Config { parameter: "learners", value: learners.to_string(), reason });
        }
    };

    let mut clusters = attempts::cluster(attempts::Attempts {
        points,
        labels,
        clusters: base,
        parts: learners / base,
        centroids: last.and_then(|last| last.centroids),
        streams: &streams.named("division"),
        kmeans,
    })?;
    if let Some(last) = last {
        let new_names = reassignment(&clusters.assignments, last.assignments, base);
        clusters = clusters.renamed(&new_names, points.dimension);
    }
    if base != learners {
        clusters = doubling::double(points, labels, &clusters, base, kmeans, &streams.named("doubling"))?;
    }

    let distances = clusters.distances(points);
    let assignments = pruning::prune(&clusters.assignments, labels);
    Ok(Division { assignments, distances, centroids: clusters.centroids })
}

impl<'a> Points<'a> {
    /// How many points there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.dimension.max(1)
    }

    /// One point.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dimension..][..self.dimension]
    }

    /// The points of these rows, one after another.
    fn gather(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&index| self.row(index)).copied().collect()
    }
}

impl Clusters {
    /// The same clusters, each called by its new name.
    fn renamed(&self, new_names: &[usize], dimension: usize) -> Self {
        let assignments = self.assignments.iter().map(|&cluster| new_names[cluster as usize] as u32).collect();
        let mut centroids = vec![0.0; self.centroids.len()];
        for (centroid, &new) in self.centroids.chunks_exact(dimension).zip(new_names) {
            centroids[new * dimension..][..dimension].copy_from_slice(centroid);
        }
        Self { assignments, centroids }
    }

    /// The Euclidean distance of each point to its centroid.
    fn distances(&self, points: Points<'_>) -> Vec<f32> {
        let centroids = Points { values: &self.centroids, dimension: points.dimension };
        let distance = |(index, &cluster): (usize, &u32)| {
            let pairs = points.row(index).iter().zip(centroids.row(cluster as usize));
            pairs.map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2)).sum::<f64>().sqrt() as f32
        };
        self.assignments.iter().enumerate().map(distance).collect()
    }
}

fn check_shapes(points: Points<'_>, labels: &[u32], last: Option<Last<'_>>) -> Result<()> {
    let count = labels.len();
    let misfit = |name: &str, found: usize| {
        let wanted = format!("one entry for each of {count} images");
        Err(LearnError::Shape { name: name.into(), wanted, found: vec![found] })
    };
    if points.dimension == 0 || points.values.len() != count * points.dimension {
        return misfit("points", points.count());
    }
    match last {
        Some(last) if last.assignments.len() != count => misfit("last assignments", last.assignments.len()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lloyd's algorithm from a start, small and slow. A seed picks which points are the first centroids.
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

    /// Points in a row, eight about each of the numbers 0, 10, 20 …; two classes share each number.
    fn line(groups: usize) -> (Vec<f32>, Vec<u32>) {
        let values = (0..8 * groups).map(|i| (i / 8 * 10) as f32 + (i % 4) as f32 * 0.1 + (i % 8 / 4) as f32).collect();
        (values, (0..8 * groups as u32).map(|i| i / 4).collect())
    }

    #[test]
    fn rounds_double_and_keep_their_learners() {
        let (values, labels) = line(4);
        let points = Points { values: &values, dimension: 1 };
        let mut last: Option<(Division, usize)> = None;
        for (round, learners) in [1, 2, 2, 4, 4, 1, 4, 2, 4].into_iter().enumerate() {
            let given = last.as_ref().map(|(division, learners)| Last {
                assignments: &division.assignments,
                learners: *learners,
                centroids: None,
            });
            let streams = Streams::new(0).at(round as u64);
            let division = divide(points, &labels, learners, given, &mut lloyd, &streams).unwrap();
            let used: std::collections::BTreeSet<i32> = division.assignments.iter().copied().collect();
            assert_eq!(used, (0..learners as i32).collect(), "round {round}");
            if let Some((before, count)) = &last {
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
            last = Some((division, learners));
        }
    }

    #[test]
    fn centroids_can_be_carried_over() {
        let (values, labels) = line(2);
        let points = Points { values: &values, dimension: 1 };
        let first = divide(points, &labels, 2, None, &mut lloyd, &Streams::new(0)).unwrap();
        let last = Last { assignments: &first.assignments, learners: 2, centroids: Some(&first.centroids) };
        let mut starts = 0;
        let mut carried = |points: Points<'_>, count: usize, start: Start<'_>| {
            assert_eq!(start, Start::Centroids(&first.centroids));
            starts += 1;
            lloyd(points, count, start)
        };
        assert_eq!(divide(points, &labels, 2, Some(last), &mut carried, &Streams::new(1)).unwrap(), first);
        assert_eq!(starts, 1);
    }

    #[test]
    fn a_second_seed_helps_where_the_first_cannot_be_trained() {
        let (values, labels) = line(2);
        let points = Points { values: &values, dimension: 1 };
        let mut seeds = Vec::new();
        let mut stubborn = |points: Points<'_>, count: usize, start: Start<'_>| {
            let Start::Seed(seed) = start else { unreachable!("nothing is carried over") };
            seeds.push(seed);
            // The first three answers put everything in one cluster.
            if seeds.len() <= 3 {
                return Ok(Clusters { assignments: vec![0; points.count()], centroids: vec![0.0; count] });
            }
            lloyd(points, count, start)
        };
        let division = divide(points, &labels, 2, None, &mut stubborn, &Streams::new(0)).unwrap();
        assert_eq!(division.assignments.iter().filter(|&&cluster| cluster == 0).count(), 8);
        assert_eq!(seeds.len(), 4);
        seeds.dedup();
        assert_eq!(seeds.len(), 4, "every try has a seed of its own");
    }

    #[test]
    fn a_second_seed_helps_where_the_first_cannot_be_split() {
        let (values, labels) = line(4);
        let points = Points { values: &values, dimension: 1 };
        let halves: Vec<i32> = (0..32).map(|i| i / 16).collect();
        let last = Last { assignments: &halves, learners: 2, centroids: None };
        let mut tries = [0, 0];
        let mut stubborn = |points: Points<'_>, count: usize, start: Start<'_>| {
            // All images are divided first, then each half of them.
            let tries = if points.count() == 32 { &mut tries[0] } else { &mut tries[1] };
            *tries += 1;
            // The first three answers of each kind leave one image alone.
            if *tries <= 3 {
                let assignments = (0..points.count()).map(|i| u32::from(i == 0)).collect();
                return Ok(Clusters { assignments, centroids: vec![0.0; count] });
            }
            lloyd(points, count, start)
        };
        let division = divide(points, &labels, 4, Some(last), &mut stubborn, &Streams::new(0)).unwrap();
        assert!(division.assignments.iter().zip(&halves).all(|(new, old)| new / 2 == *old));
        assert_eq!(tries, [4, 4 + 1], "the second half is split at once");
    }

    #[test]
    fn what_cannot_be_divided_is_told() {
        let (values, labels) = line(3);
        let points = Points { values: &values, dimension: 1 };
        let check = |learners, last: Option<(Vec<i32>, usize)>| {
            let last = last.as_ref().map(|(a, learners)| Last { assignments: a, learners: *learners, centroids: None });
            divide(points, &labels, learners, last, &mut lloyd, &Streams::new(0)).unwrap_err()
        };
        let thirds: Vec<i32> = (0..24).map(|i| i / 8).collect();
        insta::assert_snapshot!(check(4, Some((thirds.clone(), 3))), @"`learners` cannot be 4: after 3 learners there can be as many, twice as many or fewer");
        insta::assert_snapshot!(check(6, Some((thirds, 3))), @"No learner can be trained on cluster 0 of 6: it has 4 images, and 1 of its classes have two or more where two such classes are needed (k-means was tried with 30 seeds)");
        let one_each = Points { values: &values[..6], dimension: 1 };
        let last = Last { assignments: &[0, 0, 0, 1, 1, 1], learners: 2, centroids: None };
        let error = divide(one_each, &[0, 0, 1, 1, 2, 2], 4, Some(last), &mut lloyd, &Streams::new(0)).unwrap_err();
        insta::assert_snapshot!(error, @"Cluster 0 of 2 cannot be split in two: it has 4 images, and each half needs two of its classes with two images or more (k-means was tried with 30 seeds)");
        insta::assert_snapshot!(check(3, Some((vec![0; 5], 3))), @"`last assignments` has shape [5], but one entry for each of 24 images is wanted");
    }
}
