//! What each learner's subspace finds by itself: whether they became as good as the whole, and as each other.

use candle_core::{Device, Tensor};
use dnc_learn::subspaces::{MASKS, project};

use super::embedded::{Compared, Embedded};
use super::rows::Rows;
use super::{Evaluate, retrieval, search};
use crate::context::Context;
use crate::error::StageError;
use crate::tables::{Split, model};

/// Notes Recall@1 in each learner's subspace; nothing of a model whose embedding is not divided.
pub(super) fn judge(
    stage: &Evaluate,
    context: &Context<'_>,
    compared: &Compared<'_>,
    embedded: &Embedded,
    split: Split,
    rows: &mut Rows,
) -> Result<(), StageError> {
    let Some(stored) = context.input_if_any("model") else {
        return Err(StageError::input("`subspaces` are of a model, and there is none"));
    };
    let Some(masks) = model::Model::open(stored)?.parameters.into_iter().find(|tensor| tensor.name == MASKS) else {
        return Ok(());
    };
    let failed = |source| StageError::compute("look at the embedding in the learners' subspaces", source);
    let plain = compared.plain(context, embedded)?;
    let masks = masks.to_tensor(&Device::Cpu).map_err(failed)?; // [learners, dim]
    let shape = (plain.ids.len(), plain.dim);
    let whole = Tensor::from_slice(&plain.vectors, shape, &Device::Cpu).map_err(|source| failed(source.into()))?;
    for learner in 0..masks.dim(0).map_err(|source| failed(source.into()))? {
        let part = project(&whole, &masks, learner).map_err(failed)?;
        let vectors = part.flatten_all().and_then(|part| part.to_vec1()).map_err(|source| failed(source.into()))?;
        let searches = search::searches(stage, context, &plain.with_vectors((vectors, plain.dim)), split)?;
        rows.metric(split, "subspace_recall", Some(learner as u32), retrieval::recall_at_1(context, &searches)?);
    }
    Ok(())
}
