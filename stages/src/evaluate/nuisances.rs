//! Robustness: the drop in Recall@1 when images are perturbed in ways that are unrelated to their class, and what each query then finds.

use dnc_tables::Split;
use dnc_tables::nuisances::NuisanceRow;
use dnc_tables::pictures::nuisance::Changes;

use super::embedded::EmbeddedImages;
use super::parameters::Evaluate;
use super::results::Results;
use super::retrieval::Nearest;
use super::vector_source::VectorSource;
use super::{retrieval, search};
use crate::api::{Context, StageError};

/// Adds a row for each query and nuisance, and the drop for each nuisance, from `recall_at_1`, the value without perturbations.
pub(super) fn add_metrics(
    stage: &Evaluate,
    context: &Context<'_>,
    source: &VectorSource<'_>,
    embedded: &EmbeddedImages,
    split: Split,
    recall_at_1: Option<f64>,
    results: &mut Results,
) -> Result<(), StageError> {
    for &nuisance in &stage.nuisances {
        let changes = Changes::new(nuisance, &context.streams()?.named("evaluate"));
        let [mut rows, gallery] = [split, Split::Gallery].map(|split| embedded.rows_of(split));
        if split == Split::Query {
            rows.extend(gallery);
        }
        let perturbed = source.perturbed(context, &embedded.select(&rows), &changes)?;
        let searches = search::searches(stage, context, &perturbed, split)?;
        let found = retrieval::nearest(context, &searches)?;
        if let (Some(before), Some(after)) = (recall_at_1, retrieval::recall_at_1(&found)) {
            results.add(split, format!("drop_{}", nuisance.name()), Some(1), before - after);
        }
        results.nuisances.extend(found.into_iter().map(|Nearest { id, nearest, hit }| NuisanceRow {
            nuisance: nuisance.name().to_owned(),
            id,
            split,
            nearest,
            hit,
        }));
    }
    Ok(())
}
