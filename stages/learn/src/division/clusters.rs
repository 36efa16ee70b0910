//! Points, k-means, and the clusters that it returns.

use crate::error::Result;

/// Points as rows of equal length.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// The rows, one after another.
    pub values: &'a [f32],
    /// Length of a row.
    pub dimension: usize,
}

/// Where k-means starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start<'a> {
    /// From centroids that are drawn with this seed.
    Seed(u64),
    /// From these centroids, `[clusters, dim]`.
    Centroids(&'a [f32]),
}

/// Result of k-means.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of each point.
    pub assignments: Vec<u32>,
    /// `[clusters, dim]`.
    pub centroids: Vec<f32>,
}

/// A k-means implementation: takes points, the number of clusters and a start.
pub type KMeans<'a> =
    dyn FnMut(Points<'_>, usize, Start<'_>) -> Result<Clusters, Box<dyn std::error::Error + Send + Sync>> + 'a;

impl<'a> Points<'a> {
    /// Number of points.
    pub fn count(&self) -> usize {
        self.values.len() / self.dimension.max(1)
    }

    /// One point.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dimension..][..self.dimension]
    }

    /// Copies these rows, one after another.
    pub(super) fn gather(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&index| self.row(index)).copied().collect()
    }
}

impl Clusters {
    /// The same clusters under new numbers.
    pub(super) fn renumbered(&self, new_numbers: &[usize], dimension: usize) -> Self {
        let assignments = self.assignments.iter().map(|&cluster| new_numbers[cluster as usize] as u32).collect();
        let mut centroids = vec![0.0; self.centroids.len()];
        for (centroid, &new) in self.centroids.chunks_exact(dimension).zip(new_numbers) {
            centroids[new * dimension..][..dimension].copy_from_slice(centroid);
        }
        Self { assignments, centroids }
    }

    /// The Euclidean distance of each point to its centroid.
    pub(super) fn distances(&self, points: Points<'_>) -> Vec<f32> {
        let centroids = Points { values: &self.centroids, dimension: points.dimension };
        let distance = |(index, &cluster): (usize, &u32)| {
            let pairs = points.row(index).iter().zip(centroids.row(cluster as usize));
            pairs.map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2)).sum::<f64>().sqrt() as f32
        };
        self.assignments.iter().enumerate().map(distance).collect()
    }
}
