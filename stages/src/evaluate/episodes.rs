//! Few-shot accuracy: classification of images of unseen classes, given a few labelled images of each.

use dnc_learn::metrics::{FewShot, few_shot_unless};
use dnc_tables::Split;

use super::embedded::EmbeddedImages;
use super::parameters::Episodes;
use super::results::Results;
use crate::api::{Context, StageError};

/// Adds the accuracy for each number of shots, and the half-width of its 95 % interval.
pub(super) fn add_metrics(
    episodes: &Episodes,
    context: &Context<'_>,
    split: Split,
    images: &EmbeddedImages,
    results: &mut Results,
) -> Result<(), StageError> {
    let streams = context.streams()?.named("evaluate").named("few shot");
    for &shots in &episodes.shots {
        context.check_cancelled()?;
        let plan = FewShot {
            ways: episodes.ways as usize,
            shots: shots as usize,
            queries: episodes.queries as usize,
            episodes: episodes.episodes as usize,
        };
        let (vectors, stopped) = ((&*images.vectors, images.dim), context.cancelled());
        let accuracy = few_shot_unless(vectors, &images.labels, plan, &streams.at(shots.into()), stopped)
            .map_err(|source| StageError::compute(format!("compute `few_shot` on the split `{split}`"), source))?
            .ok_or(StageError::Cancelled)?;
        let name = format!("few_shot_{}_way", episodes.ways);
        results.add(split, format!("{name}_half_width"), Some(shots), accuracy.interval.half_width);
        results.add(split, name, Some(shots), accuracy.interval.mean);
    }
    Ok(())
}
