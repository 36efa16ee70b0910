//! k-means for the `cluster` stage.
//!
//! Two implementations: the linfa crate, and Lloyd iterations on matrix products in `dnc_kernels`. linfa's assignment loop
//! and its k-means++ seeding, which takes time quadratic in the number of clusters, are slow for many clusters. By default,
//! linfa therefore only seeds up to [`MAX_LINFA_SEEDS`] clusters and computes their first iteration; the kernels continue
//! with the same iterations, on a GPU if there is one, to the same bits as on the CPU.

use std::ops::ControlFlow;

use dnc_kernels::kmeans::{self, Stop};
use dnc_learn::division::{Clusters, Points, Start};
use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::{KMeans as LinfaKMeans, KMeansInit};
use ndarray::{Array2, ArrayView2};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Context, StageError};

/// Clusters up to which linfa draws the initial centroids; above, the kernels do.
const MAX_LINFA_SEEDS: usize = 8;

/// k-means implementation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Lloyd's algorithm on matrix products. Fast, also for many clusters.
    #[default]
    Lloyd,
    /// The k-means of the linfa crate, for comparison.
    Linfa,
}

/// Error of a k-means run, as `dnc_learn::division` passes it on.
type KMeansError = Box<dyn std::error::Error + Send + Sync>;

/// Settings of k-means.
pub(super) struct KMeans {
    pub(super) algorithm: Algorithm,
    pub(super) iterations: u64,
    pub(super) tolerance: f64,
}

impl KMeans {
    /// Clusters `points` into `count` clusters.
    pub(super) fn run(
        &self,
        context: &Context<'_>,
        points: Points<'_>,
        count: usize,
        start: Start<'_>,
    ) -> Result<Clusters, KMeansError> {
        if self.algorithm == Algorithm::Linfa {
            return self.linfa(points, count, start, self.iterations);
        }
        let prepared = kmeans::Points::on(points.values, points.dimension, context.device()?)?;
        let centroids = match start {
            Start::Centroids(centroids) => centroids.to_vec(),
            Start::Seed(_) if count <= MAX_LINFA_SEEDS => self.linfa(points, count, start, 1)?.centroids,
            Start::Seed(seed) => {
                let stopped = || context.check_cancelled().is_err();
                prepared.plus_plus_unless(count, seed, stopped)?.ok_or(StageError::Cancelled)?
            }
        };
        let stop = Stop { iterations: self.iterations as usize, tolerance: self.tolerance };
        let unless_cancelled = |iteration: usize, _: f64| {
            context.progress(iteration as u64, self.iterations, "iterations");
            if context.check_cancelled().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let clustering = prepared.lloyd(&centroids, stop, unless_cancelled)?;
        context.check_cancelled()?;
        let assignments = clustering.assignments.iter().map(|&cluster| cluster as u32).collect();
        Ok(Clusters { assignments, centroids: clustering.centroids })
    }

    /// One run of linfa's k-means.
    fn linfa(
        &self,
        points: Points<'_>,
        count: usize,
        start: Start<'_>,
        iterations: u64,
    ) -> Result<Clusters, KMeansError> {
        if count > points.count() {
            return Err(format!("{} points cannot form {count} clusters", points.count()).into());
        }
        let (seed, init) = match start {
            Start::Seed(seed) => (seed, KMeansInit::KMeansPlusPlus),
            Start::Centroids(centroids) => {
                (0, KMeansInit::Precomputed(Array2::from_shape_vec((count, points.dimension), centroids.to_vec())?))
            }
        };
        let records = ArrayView2::from_shape((points.count(), points.dimension), points.values)?;
        let dataset = DatasetBase::from(records);
        let model = LinfaKMeans::params_with_rng(count, Xoshiro256Plus::seed_from_u64(seed))
            .init_method(init)
            .n_runs(1)
            .max_n_iterations(iterations)
            .tolerance(self.tolerance as f32)
            .fit(&dataset)?;
        let assignments = model.predict(&records).iter().map(|&cluster| cluster as u32).collect();
        Ok(Clusters { assignments, centroids: model.centroids().iter().copied().collect() })
    }
}
