//! Shape of the embedding: how close images of one class are, how evenly all images spread, how many directions they use.

use dnc_learn::metrics::{alignment, spectrum, uniformity};
use dnc_tables::Split;

use super::embedded::EmbeddedImages;
use super::results::Results;
use crate::api::{Context, StageError};

/// Images from which uniformity is estimated, taken at equal steps. All pairs of them are already eight million distances.
const SAMPLE: usize = 4096;

/// Adds alignment, uniformity, spectral decay and effective rank.
pub(super) fn add_metrics(
    context: &Context<'_>,
    split: Split,
    images: &EmbeddedImages,
    results: &mut Results,
) -> Result<(), StageError> {
    context.check_cancelled()?;
    let failed = |source| StageError::compute(format!("compute the shape metrics of the split `{split}`"), source);
    let step = images.ids.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<usize> = (0..images.ids.len()).step_by(step).collect();
    let sample = images.select(&sample);
    let (vectors, dim) = (&images.vectors, images.dim);
    results.add(split, "alignment", None, alignment(vectors, dim, &images.labels).map_err(failed)?);
    results.add(split, "uniformity", None, uniformity(&sample.vectors, dim).map_err(failed)?);
    let spectrum = spectrum(vectors, dim).map_err(failed)?;
    results.add(split, "spectral_decay", None, spectrum.decay);
    results.add(split, "effective_rank", None, spectrum.effective_rank);
    Ok(())
}
