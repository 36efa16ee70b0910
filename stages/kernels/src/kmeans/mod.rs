//! k-means by Lloyd's algorithm, exact and for any number of clusters: 8 for a division, 11,316 for an NMI.
//!
//! **Formula** Repeat: assign every point to its nearest centroid (equal distances: the first), aᵢ = argmin_c D(xᵢ, μ_c); move every
//! centroid to the mean of its points. Inertia is Σᵢ D(xᵢ, μ_{aᵢ}).
//!
//! **Algorithm** Assignment scores blocks of points against the centroids with a prefilter ([`crate::prefilter`]), so a point costs
//! only a few exact distances, and with few centroids mostly none. The sums of the centroids are kept in `f64` and updated only with
//! points that change their cluster, in the order of their indices; iterations become cheap as the assignment converges, and no bit
//! depends on the number of threads.
//!
//! **GPU** With [`Points::on`], a GPU holds the points and finds nearest centroids and distances, by a product in TF32 with a bound on
//! its error, and exact distances where that does not decide; the CPU updates the sums. The result has the same bits.
//!
//! **Shapes** points `[n, dim]`, centroids `[k, dim]` as slices.
//!
//! **Source** Lloyd, *Least squares quantization in PCM*, 1982; seeding by Arthur and Vassilvitskii, *k-means++*, 2007.
//!
//! **Reading order** this file, [`clustering`], [`assignment`], [`iterations`], [`seeding`].

mod assignment;
mod clustering;
mod iterations;
mod seeding;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use candle_core::Device;

use crate::{
    distance::check_rows,
    error::{Result, shape_error},
    prefilter::{
        float::FloatPrefilter,
        int8::{self, Int8Prefilter},
    },
};
use assignment::PreparedPoints;
pub use clustering::{Clustering, Reseeded, Stop};
use iterations::iterate;
use seeding::seed_plus_plus;

/// Points to cluster, prepared for any number of seedings and iterations.
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
    prepared: AnyPrepared<'p>,
}

enum AnyPrepared<'p> {
    Int8(PreparedPoints<'p, Int8Prefilter>),
    Float(PreparedPoints<'p, FloatPrefilter<'static>>),
}

impl<'p> Points<'p> {
    /// Prepares `points`, `[n, dim]`.
    ///
    /// # Errors
    /// If `points` is not a whole number of finite rows of `dim`.
    pub fn new(points: &'p [f32], dim: usize) -> Result<Self> {
        Self::on(points, dim, &Device::Cpu)
    }

    /// Prepares `points`, `[n, dim]`, for `device`. A GPU gives the same results; on any other device than an NVIDIA GPU, or if that has
    /// too little memory, this is [`Points::new`].
    ///
    /// # Errors
    /// As for [`Points::new`], or if the GPU fails.
    pub fn on(points: &'p [f32], dim: usize, device: &Device) -> Result<Self> {
        Self::prepare(points, dim, int8::available(dim), device)
    }

    #[cfg(test)]
    fn with_prefilter(points: &'p [f32], dim: usize, integers: bool) -> Result<Self> {
        Self::prepare(points, dim, integers, &Device::Cpu)
    }

    fn prepare(points: &'p [f32], dim: usize, integers: bool, device: &Device) -> Result<Self> {
        check_rows(OPERATION, "points", points, dim)?;
        let prepared = match integers {
            true => AnyPrepared::Int8(PreparedPoints::on(points, dim, device)?),
            false => AnyPrepared::Float(PreparedPoints::on(points, dim, device)?),
        };
        Ok(Self { dim, count: points.len() / dim, prepared })
    }

    /// Runs Lloyd's algorithm from `centroids`, `[k, dim]`.
    ///
    /// `progress` is called after each iteration with its number and the distance that the centroids moved, and can stop the run.
    ///
    /// # Errors
    /// If `centroids` is not a whole number of finite rows of `dim`, is empty, or has more rows than there are points, or if the GPU
    /// fails.
    pub fn lloyd(
        &self,
        centroids: &[f32],
        stop: Stop,
        progress: impl FnMut(usize, f64) -> ControlFlow<()>,
    ) -> Result<Clustering> {
        check_rows(OPERATION, "centroids", centroids, self.dim)?;
        self.check_clusters(centroids.len() / self.dim)?;
        match &self.prepared {
            AnyPrepared::Int8(points) => iterate(points, centroids, stop, progress),
            AnyPrepared::Float(points) => iterate(points, centroids, stop, progress),
        }
    }

    /// `k` of the points, `[k, dim]`, as initial centroids: each is drawn with a probability proportional to its squared distance to
    /// the nearest one drawn before.
    ///
    /// Deviation: more than 64 centroids are drawn in 64 batches rather than one by one, using the distances to earlier batches (as
    /// in k-means‖, Bahmani et al. 2012, without its oversampling): one pass over the points per batch rather than per centroid.
    ///
    /// # Errors
    /// If `k` is 0 or more than there are points, or if the GPU fails.
    pub fn plus_plus(&self, k: usize, seed: u64) -> Result<Vec<f32>> {
        Ok(self.plus_plus_unless(k, seed, || false)?.expect("nothing stops it"))
    }

    /// As [`Points::plus_plus`], but gives up once `stopped`, which it asks before each batch: for many clusters, drawing takes as long
    /// as an iteration.
    ///
    /// # Errors
    /// As [`Points::plus_plus`].
    pub fn plus_plus_unless(&self, k: usize, seed: u64, stopped: impl Fn() -> bool) -> Result<Option<Vec<f32>>> {
        self.check_clusters(k)?;
        match &self.prepared {
            AnyPrepared::Int8(points) => seed_plus_plus(points, k, seed, stopped),
            AnyPrepared::Float(points) => seed_plus_plus(points, k, seed, stopped),
        }
    }

    fn check_clusters(&self, clusters: usize) -> Result<()> {
        if clusters == 0 || clusters > self.count || clusters > i32::MAX as usize {
            return Err(shape_error(
                OPERATION,
                format!("{clusters} clusters of {} points: expected at least 1 and at most one per point", self.count),
            ));
        }
        Ok(())
    }
}

const OPERATION: &str = "k-means";
