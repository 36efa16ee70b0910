//! Recall@1 in each learner's subspace: how good a subspace is by itself, and how much they differ.

use candle_core::{Device, Tensor};
use dnc_learn::subspaces::project;
use dnc_tables::{Split, model};

use super::embedded::EmbeddedImages;
use super::parameters::Evaluate;
use super::results::Results;
use super::vector_source::VectorSource;
use super::{retrieval, search};
use crate::api::{Context, StageError};

/// Adds Recall@1 in each learner's subspace. Adds nothing if the model has no masks, as before the first division.
pub(super) fn add_metrics(
    stage: &Evaluate,
    context: &Context<'_>,
    source: &VectorSource<'_>,
    embedded: &EmbeddedImages,
    split: Split,
    results: &mut Results,
) -> Result<(), StageError> {
    let Some(stored) = context.input_if_any("model") else {
        return Err(StageError::InputNotConnected { port: "model", purpose: "evaluate `subspaces`".to_owned() });
    };
    let stored = model::Model::open(stored)?;
    let Some(masks) = stored.masks() else { return Ok(()) };
    let failed = |source| StageError::compute("project the embeddings to the learners' subspaces", source);
    let unmerged = source.unmerged(context, embedded)?;
    let masks = masks.to_tensor(&Device::Cpu).map_err(failed)?; // [learners, dim]
    let shape = (unmerged.ids.len(), unmerged.dim);
    let whole = Tensor::from_slice(&unmerged.vectors, shape, &Device::Cpu).map_err(|source| failed(source.into()))?;
    for learner in 0..masks.dim(0).map_err(|source| failed(source.into()))? {
        let part = project(&whole, &masks, learner).map_err(failed)?;
        let vectors = part.flatten_all().and_then(|part| part.to_vec1()).map_err(|source| failed(source.into()))?;
        let searches = search::searches(stage, context, &unmerged.with_vectors((vectors, unmerged.dim)), split)?;
        if let Some(recall) = retrieval::recall_at_1(&retrieval::nearest(context, &searches)?) {
            results.add(split, "subspace_recall", Some(learner as u32), recall);
        }
    }
    Ok(())
}
