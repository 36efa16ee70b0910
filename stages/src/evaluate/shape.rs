//! Shape of the embedding: how close images of one class are, how evenly all images spread, how many directions they use.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use dnc_learn::error::LearnError;
use dnc_learn::metrics::{Spectrum, alignment_unless, spectrum, uniformity_unless};
use dnc_tables::Split;

use super::embedded::EmbeddedImages;
use super::results::Results;
use crate::api::{Context, StageError};

/// Images from which uniformity is estimated, taken at equal steps. All pairs of them are already eight million distances.
const SAMPLE: usize = 4096;

/// Images from which the spectrum is computed, taken at equal steps, if there are more dimensions than this. Its cost grows with the
/// cube of the smaller of both: seconds for 2,048, minutes for the raw pixels of a few thousand images.
const SPECTRUM_SAMPLE: usize = 2048;

/// How often a stage that waits looks whether it was stopped.
const CHECK_FOR_STOP: Duration = Duration::from_millis(50);

/// Adds alignment, uniformity, spectral decay and effective rank.
pub(super) fn add_metrics(
    context: &Context<'_>,
    split: Split,
    images: &EmbeddedImages,
    results: &mut Results,
) -> Result<(), StageError> {
    context.check_cancelled()?;
    let failed = |source| StageError::compute(format!("compute the shape metrics of the split `{split}`"), source);
    let dim = images.dim;
    let stopped = context.cancelled();
    let alignment = alignment_unless(&images.vectors, dim, &images.labels, stopped).map_err(failed)?;
    results.add(split, "alignment", None, alignment.ok_or(StageError::Cancelled)?);
    let uniformity = uniformity_unless(&sample(images, SAMPLE).vectors, dim, stopped).map_err(failed)?;
    results.add(split, "uniformity", None, uniformity.ok_or(StageError::Cancelled)?);
    let vectors = if dim > SPECTRUM_SAMPLE { sample(images, SPECTRUM_SAMPLE).vectors } else { images.vectors.clone() };
    let spectrum = spectrum_unless_stopped(context, vectors, dim)?.map_err(failed)?;
    results.add(split, "spectral_decay", None, spectrum.decay);
    results.add(split, "effective_rank", None, spectrum.effective_rank);
    Ok(())
}

/// At most `most` of the images, at equal steps.
fn sample(images: &EmbeddedImages, most: usize) -> EmbeddedImages {
    let step = images.ids.len().div_ceil(most).max(1);
    let rows: Vec<usize> = (0..images.ids.len()).step_by(step).collect();
    images.select(&rows)
}

/// The spectrum, computed on a thread of its own: the decomposition takes seconds and cannot be interrupted. If the stage is stopped,
/// the thread ends unheard.
fn spectrum_unless_stopped(
    context: &Context<'_>,
    vectors: Vec<f32>,
    dim: usize,
) -> Result<Result<Spectrum, LearnError>, StageError> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(spectrum(&vectors, dim))));
    loop {
        match receiver.recv_timeout(CHECK_FOR_STOP) {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Timeout) => context.check_cancelled()?,
            Err(RecvTimeoutError::Disconnected) => panic!("the spectrum's thread panicked; its message is above"),
        }
    }
}
