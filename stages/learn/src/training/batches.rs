//! The batches of one epoch: the learners take turns, one batch each, in a fixed order.
//!
//! An epoch has as many batches as the training images fill, however they are divided and however many were pruned.
//! Which batches a learner gets, and every random draw in its steps, depends on the seed, the epoch and the learner alone. A
//! learner that is trained on its own (schedule `parallel`) therefore sees the same batches as among the others (schedule
//! `interleaved`), and with a single learner both schedules are the same computation.

use crate::error::Result;
use crate::samplers::{BatchSampler, batches_in};
use crate::streams::Streams;

/// A batch of one learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerBatch {
    /// Position in the epoch, counted over the batches of all learners.
    pub step: u32,
    /// The learner.
    pub learner: u32,
    /// Position among the batches of this learner.
    pub nth: u32,
    /// The images of the batch, as rows among the training images.
    pub images: Vec<u32>,
}

/// The batches of one epoch in their order. `learners` holds the images of each learner as rows among the training images,
/// `labels` the class of every training image. With `only`, returns the batches of that learner alone, which are the same as
/// among the others.
///
/// # Errors
/// If no batch can be drawn from a learner's images.
pub fn epoch_batches(
    learners: &[Vec<u32>],
    labels: &[u32],
    sampler: &dyn BatchSampler,
    streams: &Streams,
    only: Option<usize>,
) -> Result<Vec<LearnerBatch>> {
    // Each learner has at least one batch in every epoch, however few images there are.
    let total = batches_in(labels.len(), sampler.batch()).max(learners.len());
    let mut batches = Vec::with_capacity(total);
    for (learner, rows) in learners.iter().enumerate().filter(|(learner, _)| only.is_none_or(|only| only == *learner)) {
        let mut nth = (learner..total).step_by(learners.len()).enumerate().peekable();
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row as usize]).collect();
        let mut pass = 0;
        while nth.peek().is_some() {
            let drawn = sampler.epoch(&labels, &streams.named("batches").at(learner as u64).at(pass))?;
            for (batch, (nth, step)) in drawn.into_iter().zip(&mut nth) {
                let images = batch.into_iter().map(|index| rows[index as usize]).collect();
                batches.push(LearnerBatch { step: step as u32, learner: learner as u32, nth: nth as u32, images });
            }
            pass += 1;
        }
    }
    batches.sort_by_key(|batch| batch.step);
    Ok(batches)
}
