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
mod screened;
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
use screened::Screened;
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

/// Points that are clustered.
///
/// ```
/// use dnc_kernels::kmeans::{Points, Stop};
/// let points = Points::new(&[0.0, 1.0, 8.0, 9.0], 1)?;
/// let start = points.plus_plus(2, 7)?;
/// let stop = Stop { iterations: 10, tolerance: 0.0 };
/// let found = points.lloyd(&start, stop, |_, _| std::ops::ControlFlow::Continue(()))?;
/// assert_eq!((found.sizes, found.inertia), (vec![2, 2], 1.0));
/// # Ok::<(), dnc_kernels::Error>(())
/// ```
pub struct Points<'p> {
    dim: usize,
    count: usize,
    screened: Prepared<'p>,
}

enum Prepared<'p> {
    Int8(Screened<'p, Int8>),
    Float(Screened<'p, Float<'static>>),
}

impl<'p> Points<'p> {
    /// Prepares `points`, `[n, dim]`, for any number of seedings and iterations.
    ///
    /// # Errors
    /// If `points` is not a whole number of finite rows of `dim`.
    pub fn new(points: &'p [f32], dim: usize) -> Result<Self> {
        Self::screened(points, dim, int8::available(dim))
    }

    fn screened(points: &'p [f32], dim: usize, integers: bool) -> Result<Self> {
        check(OPERATION, "points", points, dim)?;
        let screened = match integers {
            true => Prepared::Int8(Screened::new(points, dim)),
            false => Prepared::Float(Screened::new(points, dim)),
        };
        Ok(Self { dim, count: points.len() / dim, screened })
    }

    /// Moves `centroids`, `[k, dim]`, by Lloyd's iterations.
    ///
    /// `progress` is told the number of each iteration and how far the centroids moved in it, and may break off.
    ///
    /// # Errors
    /// If `centroids` is not a whole number of finite rows of `dim`, there is none, or there are more than points.
    pub fn lloyd(
        &self,
        centroids: &[f32],
        stop: Stop,
        progress: impl FnMut(usize, f64) -> ControlFlow<()>,
    ) -> Result<Clustering> {
        check(OPERATION, "centroids", centroids, self.dim)?;
        self.check_clusters(centroids.len() / self.dim)?;
        Ok(match &self.screened {
            Prepared::Int8(points) => iterate(points, centroids, stop, progress),
            Prepared::Float(points) => iterate(points, centroids, stop, progress),
        })
    }

    /// `k` of the points, `[k, dim]`, far from each other, to start Lloyd's iterations from: each is drawn with a probability
    /// proportional to its squared distance to the nearest that was drawn before.
    ///
    /// `Deviation:` beyond 64 centroids they are drawn in 64 batches rather than one by one, with distances to the earlier batches
    /// (as in k-means‖, Bahmani et al. 2012, whose oversampling is left out): one pass over the points a batch, not a centroid.
    ///
    /// # Errors
    /// If `k` is 0 or more than there are points.
    pub fn plus_plus(&self, k: usize, seed: u64) -> Result<Vec<f32>> {
        self.check_clusters(k)?;
        Ok(match &self.screened {
            Prepared::Int8(points) => spread(points, k, seed),
            Prepared::Float(points) => spread(points, k, seed),
        })
    }

    fn check_clusters(&self, clusters: usize) -> Result<()> {
        if clusters == 0 || clusters > self.count || clusters > i32::MAX as usize {
            return Err(misfit(OPERATION, format!("{clusters} clusters of {} points", self.count)));
        }
        Ok(())
    }
}

const OPERATION: &str = "k-means";
