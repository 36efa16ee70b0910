//! Attributes that mislead: by how much Recall@1 drops where every image is changed by something that has nothing to do with its
//! class.

use super::embedded::{Compared, Embedded};
use super::rows::Rows;
use super::{Evaluate, retrieval, search};
use crate::context::Context;
use crate::error::StageError;
use crate::tables::Split;
use crate::views::nuisance::Changes;

/// Notes the drop for each nuisance, from the Recall@1 of the images as they are.
pub(super) fn judge(
    stage: &Evaluate,
    context: &Context<'_>,
    compared: &Compared<'_>,
    embedded: &Embedded,
    split: Split,
    recall_at_1: f64,
    rows: &mut Rows,
) -> Result<(), StageError> {
    for &nuisance in &stage.nuisances {
        let changes = Changes::new(nuisance, &context.streams()?.named("evaluate"));
        let within = [split, Split::Gallery].map(|split| embedded.rows(split));
        let judged = if split == Split::Query { within.concat() } else { within[0].clone() };
        let changed = compared.changed(context, &embedded.only(&judged), &changes)?;
        let searches = search::searches(stage, context, &changed, split)?;
        let drop = recall_at_1 - retrieval::recall_at_1(context, &searches)?;
        rows.metric(split, format!("drop_{}", nuisance.name()), Some(1), drop);
    }
    Ok(())
}
