//! `evaluate`: computes retrieval metrics on images of unseen classes.
//!
//! **Reading order** [`parameters`]. [`vector_source`]: the vectors that are compared, from a model, from a table of embeddings,
//! or raw pixels, a baseline that every model must beat. [`search`]: queries and their galleries. [`retrieval`]: metrics and a
//! row for each query. Then the metrics that are computed on request: [`clusters`], [`episodes`], [`shape`], [`subspaces`],
//! [`nuisances`]. The metrics themselves, each with its formula, are in [`dnc_learn::metrics`].

mod clusters;
mod embedded;
mod episodes;
mod error;
mod nuisances;
mod parameters;
mod results;
mod retrieval;
mod search;
mod shape;
mod subspaces;
#[cfg(test)]
mod tests;
mod vector_source;

use dnc_tables::embeddings::{self, EmbeddingRows};
use dnc_tables::{Split, metrics, model, nuisances as nuisance_table, queries};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Measure, Output, ParamError, Ports, Resources, Stage,
    StageError, Threads,
};

pub use error::EvaluateError;
pub use parameters::{Episodes, Evaluate};

use embedded::EmbeddedImages;
use results::Results;
use vector_source::VectorSource;

/// The metric that says that images of the query's camera were counted although images have cameras.
const SAME_CAMERA_COUNTED: &str = "same_camera_counted";

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 6;
    const SUMMARY: &'static str = "Compute retrieval metrics for a model, for embeddings, or for raw pixels";

    fn ports(&self) -> Ports {
        let images = ["id", "label", "split", "camera", "height", "width", "pixels"];
        let mut outputs =
            vec![Output::new("metrics", ArtifactKind::Metrics), Output::new("queries", ArtifactKind::Queries)];
        if self.embeddings {
            outputs.push(Output::new("embeddings", ArtifactKind::Embeddings).optional());
        }
        if !self.nuisances.is_empty() {
            outputs.push(Output::new("nuisances", ArtifactKind::Nuisances));
        }
        Ports {
            inputs: vec![
                Input::new("images", ArtifactKind::Images, &images).optional(),
                Input::new("model", ArtifactKind::Model, &[model::PARAMETERS]).optional(),
                Input::new("embeddings", ArtifactKind::Embeddings, &["id", "label", "split", "vector"]).optional(),
            ],
            outputs,
        }
    }

    fn ambient(&self) -> Ambient {
        let draws =
            self.nmi || self.random_galleries.is_some() || self.few_shot.is_some() || !self.nuisances.is_empty();
        Ambient { seed: draws, round: true, learners: true, arithmetic: Arithmetic::Both, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        self.check_values()
    }

    fn measures(&self, split: Split) -> Option<Vec<Measure>> {
        Some(self.measures_of(split))
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let source = VectorSource::open(self, context)?;
        let embedded = source.embedded(context)?;
        let mut results = Results::new(context, source.learners(context)?);
        for split in [Split::Train, Split::Validation, Split::Test, Split::Query] {
            if !self.includes(split) || embedded.rows_of(split).is_empty() {
                continue;
            }
            let rows = embedded.rows_of(split);
            if embedded.are_equal(&rows) {
                context.warn(format!(
                    "all {} vectors of the split `{split}` are equal, so the metrics are meaningless; the model has collapsed, or the \
                     images are equal",
                    rows.len()
                ));
            }
            let searched = if split == Split::Query { embedded.rows_of(Split::Gallery) } else { rows };
            if searched.len() > 1 && embedded.have_one_class(&searched) {
                context.warn(format!(
                    "all {} images that the split `{split}` is searched in are of one class, so that every neighbour is right or every one \
                     is wrong and the metrics say nothing; images of at least two classes are needed",
                    searched.len()
                ));
            }
            if source.ignores_cameras()? {
                results.add(split, SAME_CAMERA_COUNTED, None, 1.0);
            }
            let searches = search::searches(self, context, &embedded, split)?;
            let recall_at_1 = retrieval::add_metrics(self, context, &searches, &mut results)?;
            self.add_requested_metrics(context, &source, &embedded, split, recall_at_1, &mut results)?;
        }
        if results.metrics.is_empty() {
            let has_images = embedded.splits.iter().any(|&split| split != Split::Gallery && self.includes(split));
            let error = if has_images { EvaluateError::NoQueries } else { EvaluateError::NothingToEvaluate };
            return Err(error.into());
        }
        metrics::write(context.output("metrics")?, results.metrics)?;
        queries::write(context.output("queries")?, &results.queries)?;
        if !self.nuisances.is_empty() {
            nuisance_table::write(context.output("nuisances")?, &results.nuisances)?;
        }
        if self.embeddings && source.is_model(context) {
            let EmbeddedImages { ids, labels, splits, vectors, dim, .. } = &embedded;
            let rows = EmbeddingRows { ids, labels, splits, vectors, dim: *dim };
            embeddings::write(context.output("embeddings")?, rows)?;
        }
        Ok(())
    }
}

impl Evaluate {
    /// Adds the metrics of a split that are computed only on request. For queries, clusters, episodes and shape are those of
    /// the gallery that they are searched in.
    fn add_requested_metrics(
        &self,
        context: &Context<'_>,
        source: &VectorSource<'_>,
        embedded: &EmbeddedImages,
        split: Split,
        recall_at_1: Option<f64>,
        results: &mut Results,
    ) -> Result<(), StageError> {
        if self.nmi || self.shape || self.few_shot.is_some() {
            let within = if split == Split::Query { Split::Gallery } else { split };
            let images = embedded.select(&embedded.rows_of(within));
            if self.nmi {
                clusters::add_metrics(context, split, &images, results)?;
            }
            if self.shape {
                shape::add_metrics(context, split, &images, results)?;
            }
            if let Some(few_shot) = &self.few_shot {
                episodes::add_metrics(few_shot, context, split, &images, results)?;
            }
        }
        if self.subspaces {
            subspaces::add_metrics(self, context, source, embedded, split, results)?;
        }
        nuisances::add_metrics(self, context, source, embedded, split, recall_at_1, results)
    }
}
