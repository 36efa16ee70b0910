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

mod iterations;
mod points;
mod seeding;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use crate::{
    error::{Result, misfit},
    neighbours::check,
    screen::{float::Float, int8, int8::Int8},
};
use iterations::iterate;
use seeding::spread;

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
