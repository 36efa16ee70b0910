//! The masks that define the learners' subspaces: how they start, how they are split and how they are applied.

use candle_core::Tensor;

use crate::error::{LearnError, Result};
use crate::spec::Role;
use crate::streams::Streams;

/// Name of the masks among the model's tensors.
pub const MASKS: &str = "masks";

/// How the masks of the learners start, how they are split and whether they are trained.
pub trait Subspaces {
    /// The masks of `learners` learners without parents, over `dimension` coordinates. Random draws come from `streams`.
    ///
    /// # Errors
    /// If there are more learners than coordinates.
    fn begin(&self, learners: usize, dimension: usize, streams: &Streams) -> Result<Vec<Vec<f32>>>;

    /// The masks of two children, `2k` and `2k + 1`, of each parent `k`. Random draws come from `streams`.
    ///
    /// # Errors
    /// If a parent is too small to be split.
    fn double(&self, parents: &[Vec<f32>], streams: &Streams) -> Result<Vec<Vec<f32>>>;

    /// Whether the masks of `learners` learners are trained.
    fn role(&self, learners: usize) -> Role;

    /// λ: weight of the penalty on the similarity of the masks.
    fn orthogonality(&self) -> f64 {
        0.0
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// If one is out of range; the error names it.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Projects embeddings onto the subspace of one learner: embeddings `[batch, dim]`, masks `[learners, dim]`, result
/// `[batch, dim]`, L2-normalised.
///
/// # Errors
/// If there is no such learner, or the masks have another width.
pub fn project(embeddings: &Tensor, masks: &Tensor, learner: usize) -> Result<Tensor> {
    let (_, dimension) = embeddings.dims2()?;
    let (learners, width) = masks.dims2()?;
    if learner >= learners || width != dimension {
        let wanted = format!("a mask of {dimension} coordinates for learner {learner}");
        return Err(LearnError::Shape { name: MASKS.into(), wanted, found: masks.dims().to_vec() });
    }
    let mask = masks.narrow(0, learner, 1)?.relu()?; // [1, dim]
    Ok(dnc_kernels::l2_normalise(&embeddings.broadcast_mul(&mask)?)?)
}

/// Dimension of the subspace of a mask: the number of coordinates with a positive weight.
pub fn dimension(mask: &[f32]) -> usize {
    mask.iter().filter(|&&weight| weight > 0.0).count()
}

/// Checks that there are no more learners than coordinates.
pub(super) fn check_learners(learners: usize, dimension: usize) -> Result<()> {
    if (1..=dimension).contains(&learners) {
        return Ok(());
    }
    Err(LearnError::Config {
        parameter: "learners",
        value: learners.to_string(),
        reason: format!("each learner needs at least one coordinate, and there are {dimension}"),
    })
}
