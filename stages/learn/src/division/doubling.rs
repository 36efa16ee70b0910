//! Doubling: splits every cluster c into 2c and 2c + 1.

use super::attempts::{Attempts, cluster};
use super::clusters::{Clusters, KMeans, Points};
use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Splits each of the `parents` by 2-means on its own points, until both children can be trained.
pub(super) fn double(
    points: Points<'_>,
    labels: &[u32],
    parents: &Clusters,
    count: usize,
    kmeans: &mut KMeans<'_>,
    streams: &Streams,
) -> Result<Clusters> {
    let mut assignments = vec![0; points.count()];
    let mut centroids = Vec::with_capacity(2 * count * points.dimension);
    for parent in 0..count {
        let members: Vec<usize> =
            (0..points.count()).filter(|&image| parents.assignments[image] as usize == parent).collect();
        let values = points.gather(&members);
        let labels: Vec<u32> = members.iter().map(|&image| labels[image]).collect();
        let children = cluster(Attempts {
            points: Points { values: &values, dimension: points.dimension },
            labels: &labels,
            clusters: 2,
            parts: 1,
            centroids: None,
            streams: &streams.at(parent as u64),
            kmeans: &mut *kmeans,
        })
        .map_err(|error| renumbered(error, parent, count))?;
        for (&image, &child) in members.iter().zip(&children.assignments) {
            assignments[image] = 2 * parent as u32 + child;
        }
        centroids.extend(children.centroids);
    }
    Ok(Clusters { assignments, centroids })
}

/// Renumbers the cluster in the error of a split, which counts two clusters, among the clusters of the whole division.
fn renumbered(error: LearnError, parent: usize, parents: usize) -> LearnError {
    match error {
        LearnError::Cluster { cluster, images, classes, tries, .. } => {
            LearnError::Cluster { cluster: 2 * parent + cluster, clusters: 2 * parents, images, classes, tries }
        }
        other => other,
    }
}
