//! Subspaces: the part of the embedding space that each learner trains.
//!
//! Formula: the embedding of learner k is `e_k = e ⊙ relu(m_k)`, L2-normalised over all d coordinates. The masks of slices and
//! random masks consist of zeros and ones, so that this is the L2-normalised part of e alone; learned masks start at ones.
//! Shapes: embeddings `[batch, dim]`; masks `[learners, dim]`, the tensor `masks` of the model.
//! Source: DC19 (slices), DC21 (masks); see [the crate](crate) for the papers.
//!
//! **Reading order** `masks`, the trait and the projection; `slice`, `random_mask`, `learned_mask`; `merged`, the embedding
//! that is evaluated.
//!
//! To add a kind of subspace, write its file, and add a line to [`SubspaceConfig`] and one to
//! [`SubspaceConfig::as_subspaces`].

mod learned_mask;
mod masks;
mod merged;
mod random_mask;
mod slice;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use learned_mask::{LearnedMask, orthogonality};
pub use masks::{MASKS, Subspaces, dimension, project};
pub use merged::Merged;
pub use random_mask::RandomMask;
pub use slice::Slice;

use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Kind of subspace and its parameters, as in `{ kind = "learned_mask", orthogonality = 0.01 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SubspaceConfig {
    /// Contiguous slices of the coordinates, of equal width.
    Slice(Slice),
    /// Random disjoint sets of coordinates; each is split at random into two halves when the number of learners doubles.
    RandomMask(RandomMask),
    /// Masks over all coordinates that are trained; each is copied to both children when the number of learners doubles.
    LearnedMask(LearnedMask),
}

impl SubspaceConfig {
    /// The configured subspaces.
    pub fn as_subspaces(&self) -> &dyn Subspaces {
        match self {
            SubspaceConfig::Slice(subspaces) => subspaces,
            SubspaceConfig::RandomMask(subspaces) => subspaces,
            SubspaceConfig::LearnedMask(subspaces) => subspaces,
        }
    }

    /// The masks of `learners` learners, given those of the previous round: the same masks for the same number of learners,
    /// their children if the number doubled, and new ones if there was a single learner or there are fewer now.
    ///
    /// # Errors
    /// If the number of learners changed in another way, or the masks are too small to be split.
    pub fn masks(
        &self,
        previous: Option<&[Vec<f32>]>,
        learners: usize,
        dimension: usize,
        streams: &Streams,
    ) -> Result<Vec<Vec<f32>>> {
        let subspaces = self.as_subspaces();
        match previous {
            Some(masks) if masks.len() == learners => Ok(masks.to_vec()),
            None => subspaces.begin(learners, dimension, streams),
            Some(masks) if masks.len() * 2 == learners => subspaces.double(masks, streams),
            Some(masks) if masks.len() == 1 || masks.len() > learners => subspaces.begin(learners, dimension, streams),
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::spec::Role;

    fn kinds() -> [SubspaceConfig; 3] {
        [
            SubspaceConfig::Slice(Slice {}),
            SubspaceConfig::RandomMask(RandomMask {}),
            SubspaceConfig::LearnedMask(LearnedMask::default()),
        ]
    }

    #[test]
    fn masks_follow_the_number_of_learners() {
        for kind in kinds() {
            let mut previous: Option<Vec<Vec<f32>>> = None;
            for learners in [1, 2, 2, 4, 8, 1, 4, 2, 4] {
                let masks = kind.masks(previous.as_deref(), learners, 8, &Streams::new(0)).unwrap();
                assert_eq!(masks.len(), learners);
                assert!(masks.iter().all(|mask| mask.len() == 8 && dimension(mask) > 0));
                if learners == 1 {
                    assert_eq!(masks, [[1.0; 8]], "{kind:?}: one learner has the whole embedding");
                } else if kind.as_subspaces().role(learners) == Role::Constant {
                    let covered: Vec<f32> = (0..8).map(|i| masks.iter().map(|mask| mask[i]).sum()).collect();
                    assert_eq!(covered, [1.0; 8], "{kind:?}: untrained masks divide the coordinates");
                }
                previous = Some(masks);
            }
            let error = kind.masks(previous.as_deref(), 6, 8, &Streams::new(0)).unwrap_err();
            insta::allow_duplicates! {
                insta::assert_snapshot!(error, @"`learners` cannot be 6: after 4 learners there can be as many, twice as many or fewer");
            }
        }
    }

    #[test]
    fn a_slice_is_normalised_by_itself() {
        let embeddings = Tensor::new(&[[3.0f32, 4.0, 1.0, 9.0], [0.0, 2.0, -6.0, 8.0]], &Device::Cpu).unwrap();
        let masks = Tensor::new(Slice {}.begin(2, 4, &Streams::new(0)).unwrap(), &Device::Cpu).unwrap();
        let first = project(&embeddings, &masks, 0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(first, [[0.6, 0.8, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        let second = project(&embeddings, &masks, 1).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(second[1], [0.0, 0.0, -0.6, 0.8]);
        let error = project(&embeddings, &masks, 2).unwrap_err();
        insta::assert_snapshot!(error, @"`masks` has shape [2, 4], expected a mask of 4 coordinates for learner 2");
    }

    #[test]
    fn an_unknown_kind_is_rejected_with_the_known_ones() {
        let error = serde_json::from_str::<SubspaceConfig>(r#"{ "kind": "fixed_mask" }"#).unwrap_err();
        insta::assert_snapshot!(error, @"unknown variant `fixed_mask`, expected one of `slice`, `random_mask`, `learned_mask` at line 1 column 22");
    }
}
