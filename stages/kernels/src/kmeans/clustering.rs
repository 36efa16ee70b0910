//! When k-means stops, and its result.

/// Stopping criterion.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Maximum number of iterations.
    pub iterations: usize,
    /// Stop once the centroids together move less than this, ‖μ′ − μ‖₂ over all of them; with 0, once no point changes its cluster.
    pub tolerance: f64,
}

/// An empty cluster that received the point farthest from its centroid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reseeded {
    /// The iteration, starting at 1.
    pub iteration: usize,
    /// The empty cluster.
    pub cluster: usize,
    /// The point that became its centroid.
    pub point: usize,
}

/// Result of k-means.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// Centroids, `[k, dim]`.
    pub centroids: Vec<f32>,
    /// The nearest centroid of each point, `[n]`.
    pub assignments: Vec<i32>,
    /// The squared distance of each point to its centroid, `[n]`.
    pub distances: Vec<f32>,
    /// Number of points in each cluster, `[k]`; 0 only if there are fewer distinct points than clusters or the last iteration moved the
    /// last point away.
    pub sizes: Vec<u32>,
    /// The sum of `distances`.
    pub inertia: f64,
    /// Number of iterations.
    pub iterations: usize,
    /// Whether the tolerance was reached or no point changed its cluster.
    pub converged: bool,
    /// Clusters that became empty during the iterations.
    pub reseeded: Vec<Reseeded>,
}
