//! `cluster`: divides the training images among the learners, one cluster each.
//!
//! The method is in `dnc_learn::division`; it calls k-means, which is in [`k_means`].

mod k_means;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use dnc_learn::division::{self, PRUNED, Points, Start};
use dnc_learn::error::LearnError;
use dnc_learn::metrics::nmi;
use dnc_tables::Split;
use dnc_tables::assignments::{self, Assignments, Centroids};
use dnc_tables::embeddings::Embeddings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Stage, StageError, Threads,
};

pub use k_means::Algorithm;

use k_means::KMeans;

/// Divides the training images among the learners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Maximum number of k-means iterations.
    pub iterations: u64,
    /// k-means stops when one iteration moves the centroids by less than this distance in total.
    pub tolerance: f64,
    /// k-means implementation.
    pub algorithm: Algorithm,
    /// Whether k-means starts from the previous round's centroids, if there are any, instead of new ones.
    pub carry_centroids: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { iterations: 50, tolerance: 1e-4, algorithm: Algorithm::Lloyd, carry_centroids: false }
    }
}

impl Stage for Cluster {
    const NAME: &'static str = "cluster";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Divide the training images among the learners by clustering their embeddings";

    fn ports(&self) -> Ports {
        let previous: &[&str] =
            if self.carry_centroids { &["id", "cluster", "centroids.vector"] } else { &["id", "cluster"] };
        Ports {
            inputs: vec![
                Input::new("embeddings", ArtifactKind::Embeddings, &["id", "label", "split", "vector"]),
                Input::new("previous", ArtifactKind::Assignments, previous).optional(),
            ],
            outputs: vec![Output::new("assignments", ArtifactKind::Assignments)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, learners: true, arithmetic: Arithmetic::Cpu, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.iterations == 0 {
            return Err(ParamError::new("iterations", "`iterations` must be at least 1"));
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return Err(ParamError::new("tolerance", "`tolerance` must be above 0"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        // The bits are those of the CPU on every device, so that the arithmetic is the CPU's.
        Resources { threads: Threads::Many, device: self.algorithm == Algorithm::Lloyd, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = TrainingImages::open(context)?;
        let learners = context.ambient().learners.unwrap_or(1) as usize;
        let previous = context.ambient().previous_learners.map(|count| count as usize);
        let previous = previous.map(|count| self.previous_round(context, &images, count)).transpose()?.flatten();

        let points = Points { values: &images.vectors, dimension: images.dim };
        let k_means = KMeans { algorithm: self.algorithm, iterations: self.iterations, tolerance: self.tolerance };
        let mut cluster = |points: Points<'_>, count: usize, start: Start<'_>| {
            context.check_cancelled()?;
            k_means.run(context, points, count, start)
        };
        let streams = context.streams()?.named(Self::NAME);
        let previous_round = previous.as_ref().map(|round| division::PreviousDivision {
            assignments: &round.assignments,
            learners: round.learners,
            centroids: round.centroids.as_deref(),
        });
        let partition = division::divide(points, &images.labels, learners, previous_round, &mut cluster, &streams);
        let partition = partition.map_err(failed)?;

        let mut sizes = vec![0; learners];
        for cluster in partition.assignments.iter().filter_map(|&cluster| usize::try_from(cluster).ok()) {
            sizes[cluster] += 1;
        }
        let nmi = previous.as_ref().map(|round| agreement(&partition.assignments, &round.assignments)).transpose()?;
        let pruned = partition.assignments.iter().filter(|&&cluster| cluster == PRUNED).count();
        context.log(format!("Clustered {} images: cluster sizes {sizes:?}, {pruned} pruned", images.ids.len()));

        let rows = assignments::ClusterRows {
            ids: &images.ids,
            clusters: &partition.assignments,
            distances: &partition.distances,
            centroids: &partition.centroids,
            sizes: &sizes,
            dim: images.dim,
            nmi,
        };
        Ok(assignments::write(context.output("assignments")?, rows)?)
    }
}

/// Result of the previous round, for the training images of this one.
struct PreviousAssignments {
    assignments: Vec<i32>,
    learners: usize,
    /// Only with `carry_centroids`.
    centroids: Option<Vec<f32>>,
}

impl Cluster {
    /// Reads the previous round's assignments, if there are any. An image that they do not have counts as pruned.
    fn previous_round(
        &self,
        context: &Context<'_>,
        images: &TrainingImages,
        learners: usize,
    ) -> Result<Option<PreviousAssignments>, StageError> {
        let Some(artifact) = context.input_if_any("previous") else { return Ok(None) };
        let table = Assignments::open(artifact)?;
        let clusters: BTreeMap<u32, i32> =
            table.ids()?.iter().copied().zip(table.clusters()?.iter().copied()).collect();
        let assignments = images.ids.iter().map(|id| clusters.get(id).copied().unwrap_or(PRUNED)).collect();
        let mut centroids = None;
        if self.carry_centroids {
            let table = Centroids::open(artifact)?;
            // Centroids of embeddings of another dimension cannot be used.
            centroids = (table.dim()? == images.dim).then(|| table.vectors().map(<[f32]>::to_vec)).transpose()?;
        }
        Ok(Some(PreviousAssignments { assignments, learners, centroids }))
    }
}

/// Embeddings of the training images.
struct TrainingImages {
    ids: Vec<u32>,
    labels: Vec<u32>,
    vectors: Vec<f32>,
    dim: usize,
}

impl TrainingImages {
    fn open(context: &Context<'_>) -> Result<Self, StageError> {
        let table = Embeddings::open(context.input("embeddings")?)?;
        let (ids, labels, splits) = (table.ids()?, table.labels()?, table.splits()?);
        let (dim, vectors) = (table.dim()?, table.vectors()?);
        let mut images = Self { ids: Vec::new(), labels: Vec::new(), vectors: Vec::new(), dim };
        for row in (0..table.len()).filter(|&row| splits[row] == Split::Train) {
            images.ids.push(ids[row]);
            images.labels.push(labels[row]);
            images.vectors.extend_from_slice(&vectors[row * dim..][..dim]);
        }
        if images.ids.is_empty() {
            return Err(StageError::NoTrainingImages { purpose: "cluster" });
        }
        Ok(images)
    }
}

/// NMI between two rounds' assignments, over the images that both assign.
fn agreement(now: &[i32], before: &[i32]) -> Result<f64, StageError> {
    let both = now.iter().zip(before).filter(|&(&now, &before)| now != PRUNED && before != PRUNED);
    let (now, before): (Vec<i32>, Vec<i32>) = both.unzip();
    nmi(&now, &before)
        .map_err(|source| StageError::compute("compare the clusters with those of the previous round", source))
}

/// The error of a failed division. A cancellation during k-means stays a cancellation.
fn failed(error: LearnError) -> StageError {
    match error {
        LearnError::KMeans { source, .. } if matches!(source.downcast_ref(), Some(StageError::Cancelled)) => {
            StageError::Cancelled
        }
        other => StageError::compute("divide the training images among the learners", other),
    }
}
