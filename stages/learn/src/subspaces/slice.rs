//! Slices: learner k trains the coordinates `[k·⌈d/K⌉, (k+1)·⌈d/K⌉)`.
//!
//! When the number of learners doubles, the slices are recomputed.
//! Source: DC19.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::masks::{Subspaces, check_learners};
use crate::error::Result;
use crate::spec::Role;
use crate::streams::Streams;

/// Contiguous slices of the coordinates, of equal width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slice {}

impl Subspaces for Slice {
    fn begin(&self, learners: usize, dimension: usize, _: &Streams) -> Result<Vec<Vec<f32>>> {
        check_learners(learners, dimension)?;
        let width = dimension.div_ceil(learners);
        // If K does not divide d, slices of ⌈d/K⌉ coordinates can leave nothing for the last learners.
        check_learners(learners, dimension.div_ceil(width))?;
        let mask = |learner| (0..dimension).map(|i| if i / width == learner { 1.0 } else { 0.0 }).collect();
        Ok((0..learners).map(mask).collect())
    }

    fn double(&self, parents: &[Vec<f32>], streams: &Streams) -> Result<Vec<Vec<f32>>> {
        self.begin(2 * parents.len(), parents[0].len(), streams)
    }

    fn role(&self, _: usize) -> Role {
        Role::Constant
    }
}
