//! `cluster`: divides the training images among the learners.
//!
//! The method is `dnc_learn::division`; k-means is linfa's. Its assignment loop and its seeding, which compares every point
//! with every centroid drawn before, are slow for many clusters: by default linfa seeds up to [`LINFA_SEEDS`] clusters and
//! makes the first iteration, and `dnc_kernels` goes on from there with the same iterations on matrix products.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dnc_kernels::kmeans::{self, Stop};
use dnc_learn::division::{self, Clusters, Last, PRUNED, Points, Start};
use dnc_learn::error::LearnError;
use dnc_learn::metrics::nmi;
use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::{KMeans, KMeansInit};
use ndarray::{Array2, ArrayView2};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::Split;
use crate::tables::assignments::{self, Assignments, Centroids};
use crate::tables::embeddings::Embeddings;

/// linfa's k-means++ takes time quadratic in the number of clusters; beyond so many the kernels' own seeds.
pub const LINFA_SEEDS: usize = 8;

/// Divides the training images among the learners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Iterations of k-means at most.
    pub iterations: u64,
    /// k-means stops as soon as its centroids together move less than this.
    pub tolerance: f64,
    /// Who iterates.
    pub algorithm: Algorithm,
    /// Begins at last round's centroids instead of new ones, where there are any.
    pub carry_centroids: bool,
}

/// Who iterates k-means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The kernels, on matrix products.
    #[default]
    Lloyd,
    /// linfa, from beginning to end.
    Linfa,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { iterations: 50, tolerance: 1e-4, algorithm: Algorithm::Lloyd, carry_centroids: false }
    }
}

impl Stage for Cluster {
    const NAME: &'static str = "cluster";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Divides the training images among the learners";

    fn ports(&self) -> Ports {
        let previous: &[&str] =
            if self.carry_centroids { &["id", "cluster", "centroids.vector"] } else { &["id", "cluster"] };
        Ports {
            inputs: vec![
                Input::new("embeddings", Kind::Embeddings, &["id", "label", "split", "vector"]),
                Input::new("previous", Kind::Assignments, previous).optional(),
            ],
            outputs: vec![Output::new("assignments", Kind::Assignments)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, learners: true, arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.iterations == 0 {
            return Err(ParamError::new("iterations", "k-means needs at least one iteration"));
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return Err(ParamError::new("tolerance", "The tolerance must be above 0"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Training::open(context)?;
        let learners = context.ambient().learners.unwrap_or(1) as usize;
        let last = context.ambient().previous_learners.map(|count| count as usize);
        let last = last.map(|count| self.last(context, &images, count)).transpose()?.flatten();

        let points = Points { values: &images.vectors, dimension: images.dim };
        let mut kmeans = |points: Points<'_>, count: usize, start: Start<'_>| {
            context.check_cancelled()?;
            self.k_means(context, points, count, start)
        };
        let streams = context.streams()?.named(Self::NAME);
        let given = last.as_ref().map(|(assignments, learners, centroids)| Last {
            assignments,
            learners: *learners,
            centroids: centroids.as_deref(),
        });
        let division = division::divide(points, &images.labels, learners, given, &mut kmeans, &streams);
        let division = division.map_err(failed)?;

        let mut sizes = vec![0; learners];
        for cluster in division.assignments.iter().filter_map(|&cluster| usize::try_from(cluster).ok()) {
            sizes[cluster] += 1;
        }
        let nmi = last.as_ref().map(|(before, ..)| agreement(&division.assignments, before)).transpose()?;
        let pruned = division.assignments.iter().filter(|&&cluster| cluster == PRUNED).count();
        context.log(format!("{} images in clusters of {sizes:?}, {pruned} pruned", images.ids.len()));

        let division = assignments::Division {
            ids: &images.ids,
            clusters: &division.assignments,
            distances: &division.distances,
            centroids: &division.centroids,
            sizes: &sizes,
            dim: images.dim,
            nmi,
        };
        assignments::write(context, "assignments", division)
    }
}

/// Assignments of the training images in the last round, how many learners it had, and its centroids if they are wanted.
type LastRound = (Vec<i32>, usize, Option<Vec<f32>>);

impl Cluster {
    fn last(&self, context: &Context<'_>, images: &Training, learners: usize) -> Result<Option<LastRound>, StageError> {
        let Some(artifact) = context.input_if_any("previous") else { return Ok(None) };
        let table = Assignments::open(artifact)?;
        let clusters: BTreeMap<u32, i32> =
            table.ids()?.iter().copied().zip(table.clusters()?.iter().copied()).collect();
        let assignments = images.ids.iter().map(|id| clusters.get(id).copied().unwrap_or(PRUNED)).collect();
        let mut centroids = None;
        if self.carry_centroids {
            let table = Centroids::open(artifact)?;
            // A model of another width has nothing to carry over.
            centroids = (table.dim()? == images.dim).then(|| table.vectors().map(<[f32]>::to_vec)).transpose()?;
        }
        Ok(Some((assignments, learners, centroids)))
    }

    /// k-means on `points` from a start.
    fn k_means(
        &self,
        context: &Context<'_>,
        points: Points<'_>,
        count: usize,
        start: Start<'_>,
    ) -> Result<Clusters, Box<dyn std::error::Error + Send + Sync>> {
        if self.algorithm == Algorithm::Linfa {
            return linfa_k_means(points, count, start, self.iterations, self.tolerance);
        }
        let prepared = kmeans::Points::new(points.values, points.dimension)?;
        let centroids = match start {
            Start::Centroids(centroids) => centroids.to_vec(),
            Start::Seed(_) if count <= LINFA_SEEDS => linfa_k_means(points, count, start, 1, self.tolerance)?.centroids,
            Start::Seed(seed) => prepared.plus_plus(count, seed)?,
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
}

/// linfa's k-means, one run from a start.
fn linfa_k_means(
    points: Points<'_>,
    count: usize,
    start: Start<'_>,
    iterations: u64,
    tolerance: f64,
) -> Result<Clusters, Box<dyn std::error::Error + Send + Sync>> {
    if count > points.count() {
        return Err(format!("{} points cannot make {count} clusters", points.count()).into());
    }
    let (seed, init) = match start {
        Start::Seed(seed) => (seed, KMeansInit::KMeansPlusPlus),
        Start::Centroids(centroids) => {
            (0, KMeansInit::Precomputed(Array2::from_shape_vec((count, points.dimension), centroids.to_vec())?))
        }
    };
    let records = ArrayView2::from_shape((points.count(), points.dimension), points.values)?;
    let dataset = DatasetBase::from(records);
    let model = KMeans::params_with_rng(count, Xoshiro256Plus::seed_from_u64(seed))
        .init_method(init)
        .n_runs(1)
        .max_n_iterations(iterations)
        .tolerance(tolerance as f32)
        .fit(&dataset)?;
    let assignments = model.predict(&records).iter().map(|&cluster| cluster as u32).collect();
    Ok(Clusters { assignments, centroids: model.centroids().iter().copied().collect() })
}

/// The training images among the embeddings.
struct Training {
    ids: Vec<u32>,
    labels: Vec<u32>,
    vectors: Vec<f32>,
    dim: usize,
}

impl Training {
    fn open(context: &Context<'_>) -> Result<Self, StageError> {
        let table = Embeddings::open(context.input("embeddings")?)?;
        let (ids, labels, splits) = (table.ids()?, table.labels()?, table.splits()?);
        let (dim, vectors) = (table.dim()?, table.vectors()?);
        let mut training = Self { ids: Vec::new(), labels: Vec::new(), vectors: Vec::new(), dim };
        for row in (0..table.len()).filter(|&row| splits[row] == Split::Train) {
            training.ids.push(ids[row]);
            training.labels.push(labels[row]);
            training.vectors.extend_from_slice(&vectors[row * dim..][..dim]);
        }
        if training.ids.is_empty() {
            return Err(StageError::input("There are no embeddings of training images to be divided"));
        }
        Ok(training)
    }
}

/// NMI of two divisions over the images that both assign.
fn agreement(now: &[i32], before: &[i32]) -> Result<f64, StageError> {
    let both = now.iter().zip(before).filter(|&(&now, &before)| now != PRUNED && before != PRUNED);
    let (now, before): (Vec<i32>, Vec<i32>) = both.unzip();
    nmi(&now, &before).map_err(|source| StageError::compute("compare the division with the last round's", source))
}

/// A failed division; a cancellation that k-means met on its way comes out as what it is.
fn failed(error: LearnError) -> StageError {
    match error {
        LearnError::KMeans { source, .. } if matches!(source.downcast_ref(), Some(StageError::Cancelled)) => {
            StageError::Cancelled
        }
        other => StageError::compute("divide the images", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::InputArtifact;
    use crate::tables::embeddings::EmbeddingRows;
    use crate::testing::{Outputs, Workshop, artifact, check_known_bytes, digest, on_threads};

    const DIM: usize = 6;

    /// Eight classes of eight images in four groups of two; a ninth class of test images; and one lone image of a tenth.
    fn embeddings(workshop: &Workshop, turn: usize) -> InputArtifact {
        let (mut labels, mut splits, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
        for image in 0..73_usize {
            let class = if image == 72 { 9 } else { image / 8 };
            labels.push(class as u32);
            splits.push(if class == 8 { Split::Test } else { Split::Train });
            let group = if class == 9 { 0 } else { (class / 2 + turn) % 4 };
            // Groups 0 and 1 lie near each other, and so do 2 and 3: two clusters and four are both plain to see, and
            // two images of a group are so near that no seeding takes them both.
            for axis in 0..DIM {
                let noise = ((image * 31 + axis * 17) % 13) as f32 / 5000.0;
                let place = if axis == group { 1.0 } else { 0.0 } + if axis == 4 + group / 2 { 2.0 } else { 0.0 };
                vectors.push(place + noise);
            }
        }
        let ids: Vec<u32> = (0..73).collect();
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: DIM };
        let write = |context: &mut Context<'_>| crate::tables::embeddings::write(context, "embeddings", rows);
        workshop.write(Kind::Embeddings, "embeddings", write).unwrap().0
    }

    fn divide(
        workshop: &mut Workshop,
        stage: &Cluster,
        turn: usize,
        learners: u32,
        previous: Option<(&InputArtifact, u32)>,
    ) -> Outputs {
        workshop.ambient.learners = Some(learners);
        workshop.ambient.previous_learners = previous.map(|(_, learners)| learners);
        let embeddings = embeddings(workshop, turn);
        let mut inputs = vec![("embeddings", &embeddings)];
        inputs.extend(previous.map(|(artifact, _)| ("previous", artifact)));
        workshop.run(stage, &inputs).unwrap()
    }

    fn opened(outputs: &Outputs) -> InputArtifact {
        artifact(Kind::Assignments, &outputs["assignments"].folder)
    }

    fn clusters(artifact: &InputArtifact) -> Vec<i32> {
        Assignments::open(artifact).unwrap().clusters().unwrap().to_vec()
    }

    #[test]
    fn rounds_double_and_learners_keep_their_images() {
        for stage in [
            Cluster::default(),
            Cluster { carry_centroids: true, ..Cluster::default() },
            Cluster { algorithm: Algorithm::Linfa, ..Cluster::default() },
        ] {
            let mut workshop = Workshop::new();
            let one = opened(&divide(&mut workshop, &stage, 0, 1, None));
            let table = Assignments::open(&one).unwrap();
            assert_eq!(table.ids().unwrap().len(), 65, "test images are not divided");
            assert_eq!(clusters(&one).iter().filter(|&&cluster| cluster == PRUNED).count(), 1);

            let two = opened(&divide(&mut workshop, &stage, 0, 2, Some((&one, 1))));
            let four = opened(&divide(&mut workshop, &stage, 0, 4, Some((&two, 2))));
            for (parent, child) in clusters(&two).into_iter().zip(clusters(&four)) {
                assert!(parent == PRUNED || child / 2 == parent, "cluster {child} descends from {parent}");
            }
            assert_eq!(Centroids::open(&four).unwrap().sizes().unwrap(), [16; 4]);
            // The groups move on by one, which permutes k-means' names; the learners keep their images.
            let again = opened(&divide(&mut workshop, &stage, 1, 4, Some((&four, 4))));
            assert_eq!(clusters(&again), clusters(&four), "{stage:?}");
            assert!((assignments::nmi(&again).unwrap().unwrap() - 1.0).abs() < 1e-9);
            assert_eq!(assignments::nmi(&one).unwrap(), None);
        }
    }

    #[test]
    fn the_kernels_and_linfa_agree_and_threads_change_nothing() {
        let mut workshop = Workshop::new();
        let linfa = Cluster { algorithm: Algorithm::Linfa, ..Cluster::default() };
        let [ours, theirs] = [Cluster::default(), linfa].map(|stage| divide(&mut workshop, &stage, 0, 4, None));
        assert_eq!(clusters(&opened(&ours)), clusters(&opened(&theirs)));
        let distances = |outputs: &Outputs| -> f32 {
            Assignments::open(&opened(outputs)).unwrap().distances().unwrap().iter().map(|d| d * d).sum()
        };
        assert!((distances(&ours) / distances(&theirs) - 1.0).abs() < 1e-4);
        let digests = [1, 3].map(|threads| {
            on_threads(threads, || digest(&divide(&mut Workshop::new(), &Cluster::default(), 0, 4, None)))
        });
        assert_eq!(digests, [digest(&ours), digest(&ours)]);
    }

    #[test]
    fn what_cannot_be_divided_is_told() {
        let mut workshop = Workshop::new();
        workshop.ambient.learners = Some(40);
        let embeddings = embeddings(&workshop, 0);
        let error = workshop.run(&Cluster::default(), &[("embeddings", &embeddings)]).err().unwrap();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("No learner can be trained on cluster "), "{source}");
    }

    /// Law 3: whoever changes these bytes raises [`Cluster::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let mut workshop = Workshop::new();
        let two = opened(&divide(&mut workshop, &Cluster::default(), 0, 2, None));
        let four = divide(&mut workshop, &Cluster::default(), 1, 4, Some((&two, 2)));
        check_known_bytes((Cluster::VERSION, &four), (1, "d1b690acf3efa8e3"));
    }
}
