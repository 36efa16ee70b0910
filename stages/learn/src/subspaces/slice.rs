//! Slices: learner k has the coordinates `[k·⌈d/K⌉, (k+1)·⌈d/K⌉)`.
//!
//! Source: DC19. When the learners double, the slices are cut anew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Subspaces, check_learners};
use crate::error::Result;
use crate::parameters::Role;

/// Contiguous slices of equal width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slice {}

impl Subspaces for Slice {
    fn begin(&self, learners: usize, dimension: usize) -> Result<Vec<Vec<f32>>> {
        check_learners(learners, dimension)?;
        let width = dimension.div_ceil(learners);
        // With K learners that do not divide d, ⌈d/K⌉ can leave nothing for the last ones.
        check_learners(learners, dimension.div_ceil(width))?;
        let mask = |learner| (0..dimension).map(|i| if i / width == learner { 1.0 } else { 0.0 }).collect();
        Ok((0..learners).map(mask).collect())
    }

    fn double(&self, parents: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        self.begin(2 * parents.len(), parents[0].len())
    }

    fn role(&self, _: usize) -> Role {
        Role::Constant
    }
}
