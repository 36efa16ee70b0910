//! Fixed masks: zeros and ones; on doubling each parent's ones are halved between its two children.
//!
//! Source: DC21. From one learner on they begin as slices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Slice, Subspaces, check_learners, dimension};
use crate::error::Result;
use crate::parameters::Role;

/// Masks of zeros and ones that are halved when the learners double.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FixedMask {}

impl Subspaces for FixedMask {
    fn begin(&self, learners: usize, dimension: usize) -> Result<Vec<Vec<f32>>> {
        Slice {}.begin(learners, dimension)
    }

    fn double(&self, parents: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let mut children = Vec::with_capacity(2 * parents.len());
        for parent in parents {
            check_learners(2, dimension(parent))?;
            let half = dimension(parent) / 2;
            let mut passed = 0;
            let first: Vec<f32> = parent
                .iter()
                .map(|&weight| {
                    passed += usize::from(weight > 0.0);
                    if passed <= half { weight } else { 0.0 }
                })
                .collect();
            let second = parent.iter().zip(&first).map(|(parent, first)| parent - first).collect();
            children.extend([first, second]);
        }
        Ok(children)
    }

    fn role(&self, _: usize) -> Role {
        Role::Constant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_halve_the_ones_of_their_parent() {
        let children = FixedMask {}.double(&[vec![0.0, 1.0, 0.0, 1.0, 1.0], vec![1.0, 0.0, 1.0, 0.0, 0.0]]).unwrap();
        assert_eq!(
            children,
            [
                [0.0, 1.0, 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, 1.0, 1.0],
                [1.0, 0.0, 0.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0, 0.0],
            ]
        );
        let error = FixedMask {}.double(&[vec![0.0, 1.0]]).unwrap_err();
        insta::assert_snapshot!(error, @"`learners` cannot be 2: the embedding has 1 coordinates and each learner needs one");
    }
}
