//! How the embedding uses its space: how near images of one class lie, how evenly all spread, how many directions they use.

use dnc_learn::metrics::{alignment, spectrum, uniformity};

use super::embedded::Embedded;
use super::rows::Rows;
use crate::context::Context;
use crate::error::StageError;
use crate::tables::Split;

/// Images that uniformity is estimated from, taken at equal steps: all pairs of them are some millions of distances.
const SAMPLE: usize = 4096;

pub(super) fn judge(context: &Context<'_>, split: Split, images: &Embedded, rows: &mut Rows) -> Result<(), StageError> {
    context.check_cancelled()?;
    let failed = |source| StageError::compute(format!("judge the shape of the split `{split}`"), source);
    let step = images.ids.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<usize> = (0..images.ids.len()).step_by(step).collect();
    let sample = images.only(&sample);
    let (vectors, dim) = (&images.vectors, images.dim);
    rows.metric(split, "alignment", None, alignment(vectors, dim, &images.labels).map_err(failed)?);
    rows.metric(split, "uniformity", None, uniformity(&sample.vectors, dim).map_err(failed)?);
    let spectrum = spectrum(vectors, dim).map_err(failed)?;
    rows.metric(split, "spectral_decay", None, spectrum.decay);
    rows.metric(split, "effective_rank", None, spectrum.effective_rank);
    Ok(())
}
