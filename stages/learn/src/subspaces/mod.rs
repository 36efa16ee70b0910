//! Subspaces: the part of the embedding that each learner compares images in.
//!
//! Formula: learner k's embedding is `e_k = e ⊙ relu(m_k)`, L2-normalised over all d coordinates. A slice and a fixed mask
//! are masks of zeros and ones, for which this is the L2-normalised slice itself; a learned mask begins at ones.
//! Shapes: embeddings `[batch, dim]`, masks `[learners, dim]`, a tensor of the model called `masks`.
//! Source: DC19 (slices), DC21 (masks): see [the crate](crate) for the papers.
//!
//! To add a kind: write its file, add a line to [`SubspaceConfig`] and to [`SubspaceConfig::as_subspaces`].

mod fixed_mask;
mod learned_mask;
mod merged;
mod slice;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use fixed_mask::FixedMask;
pub use learned_mask::{LearnedMask, orthogonality};
pub use merged::Merged;
pub use slice::Slice;

use crate::error::{LearnError, Result};
use crate::parameters::Role;

/// The name of the masks among the model's tensors.
pub const MASKS: &str = "masks";

/// A kind of subspace and its parameters, as in `{ kind = "learned_mask", orthogonality = 0.01 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SubspaceConfig {
    /// Contiguous slices of equal width.
    Slice(Slice),
    /// Masks of zeros and ones that are halved when the learners double.
    FixedMask(FixedMask),
    /// Masks that are trained and copied when the learners double.
    LearnedMask(LearnedMask),
}

/// How learners' masks begin, how they divide and whether they are trained.
pub trait Subspaces {
    /// The masks of `learners` learners that have no parents, over `dimension` coordinates.
    ///
    /// # Errors
    /// There are more learners than coordinates.
    fn begin(&self, learners: usize, dimension: usize) -> Result<Vec<Vec<f32>>>;

    /// The masks of two children, `2k` and `2k + 1`, for each parent `k`.
    ///
    /// # Errors
    /// A parent is too small to be divided.
    fn double(&self, parents: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// Whether the masks of so many learners are trained.
    fn role(&self, learners: usize) -> Role;

    /// λ: the weight of the penalty that keeps masks apart.
    fn orthogonality(&self) -> f64 {
        0.0
    }

    /// Refuses parameters that cannot be meant.
    ///
    /// # Errors
    /// Names the parameter.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl SubspaceConfig {
    /// The subspaces that are configured.
    pub fn as_subspaces(&self) -> &dyn Subspaces {
        match self {
            SubspaceConfig::Slice(subspaces) => subspaces,
            SubspaceConfig::FixedMask(subspaces) => subspaces,
            SubspaceConfig::LearnedMask(subspaces) => subspaces,
        }
    }

    /// The masks for `learners` learners, made from those of the last round: the same where their number is the same, their
    /// children where it doubled, new ones where there was a single learner or are fewer now.
    ///
    /// # Errors
    /// The number changed in another way, or the masks cannot be divided so far.
    pub fn masks(&self, last: Option<&[Vec<f32>]>, learners: usize, dimension: usize) -> Result<Vec<Vec<f32>>> {
        let subspaces = self.as_subspaces();
        match last {
            Some(masks) if masks.len() == learners => Ok(masks.to_vec()),
            None => subspaces.begin(learners, dimension),
            Some(masks) if masks.len() * 2 == learners => subspaces.double(masks),
            Some(masks) if masks.len() == 1 || masks.len() > learners => subspaces.begin(learners, dimension),
            Some(masks) => Err(LearnError::Config {
                parameter: "learners",
                value: learners.to_string(),
                reason: format!("after {} learners there can be as many, twice as many or fewer", masks.len()),
            }),
        }
    }
}

impl Default for SubspaceConfig {
    fn default() -> Self {
        SubspaceConfig::LearnedMask(LearnedMask::default())
    }
}

/// One learner's embedding: embeddings `[batch, dim]`, masks `[learners, dim]`, result `[batch, dim]`, L2-normalised.
///
/// # Errors
/// There is no such learner, or the masks have another width.
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

/// The number of coordinates that a mask lets through: the dimension that distance-weighted mining needs.
pub fn dimension(mask: &[f32]) -> usize {
    mask.iter().filter(|&&weight| weight > 0.0).count()
}

/// Refuses more learners than coordinates.
fn check_learners(learners: usize, dimension: usize) -> Result<()> {
    if (1..=dimension).contains(&learners) {
        return Ok(());
    }
    Err(LearnError::Config {
        parameter: "learners",
        value: learners.to_string(),
        reason: format!("the embedding has {dimension} coordinates and each learner needs one"),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn kinds() -> [SubspaceConfig; 3] {
        [
            SubspaceConfig::Slice(Slice {}),
            SubspaceConfig::FixedMask(FixedMask {}),
            SubspaceConfig::LearnedMask(LearnedMask::default()),
        ]
    }

    #[test]
    fn masks_follow_the_number_of_learners() {
        for kind in kinds() {
            let mut last: Option<Vec<Vec<f32>>> = None;
            for learners in [1, 2, 2, 4, 8, 1, 4, 2, 4] {
                let masks = kind.masks(last.as_deref(), learners, 8).unwrap();
                assert_eq!(masks.len(), learners);
                assert!(masks.iter().all(|mask| mask.len() == 8 && dimension(mask) > 0));
                if learners == 1 {
                    assert_eq!(masks, [[1.0; 8]], "{kind:?}: one learner has the whole embedding");
                } else if kind.as_subspaces().role(learners) == Role::Constant {
                    let covered: Vec<f32> = (0..8).map(|i| masks.iter().map(|mask| mask[i]).sum()).collect();
                    assert_eq!(covered, [1.0; 8], "{kind:?}: fixed masks divide the coordinates");
                }
                last = Some(masks);
            }
            let error = kind.masks(last.as_deref(), 6, 8).unwrap_err();
            insta::allow_duplicates! {
                insta::assert_snapshot!(error, @"`learners` cannot be 6: after 4 learners there can be as many, twice as many or fewer");
            }
        }
    }

    #[test]
    fn a_slice_is_normalised_by_itself() {
        let embeddings = Tensor::new(&[[3.0f32, 4.0, 1.0, 9.0], [0.0, 2.0, -6.0, 8.0]], &Device::Cpu).unwrap();
        let masks = Tensor::new(Slice {}.begin(2, 4).unwrap(), &Device::Cpu).unwrap();
        let first = project(&embeddings, &masks, 0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(first, [[0.6, 0.8, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        let second = project(&embeddings, &masks, 1).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(second[1], [0.0, 0.0, -0.6, 0.8]);
        let error = project(&embeddings, &masks, 2).unwrap_err();
        insta::assert_snapshot!(error, @"`masks` has shape [2, 4], but a mask of 4 coordinates for learner 2 is wanted");
    }
}
