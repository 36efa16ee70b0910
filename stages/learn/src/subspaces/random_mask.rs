//! Random masks: the learners share the coordinates at random, each coordinate belonging to one learner.
//!
//! Masks consist of zeros and ones and are not trained. At first the coordinates are shuffled and divided into K parts. When the
//! number of learners doubles, the coordinates of each parent are shuffled and divided between its two children, so that the
//! children's masks add up to their parent's. The sizes of any two masks differ by at most one.
//! Source: DC19's disjoint subspaces and DC21's doubling, with random coordinates in place of contiguous ones. For an embedding
//! without structure among its coordinates, `slice` is one such draw.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::masks::{Subspaces, check_learners, dimension};
use crate::error::Result;
use crate::spec::Role;
use crate::streams::Streams;

/// Random disjoint sets of coordinates; each is split at random into two halves when the number of learners doubles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomMask {}

impl Subspaces for RandomMask {
    fn begin(&self, learners: usize, dimension: usize, streams: &Streams) -> Result<Vec<Vec<f32>>> {
        check_learners(learners, dimension)?;
        Ok(divide(&vec![1.0; dimension], learners, &streams.named("random mask")))
    }

    fn double(&self, parents: &[Vec<f32>], streams: &Streams) -> Result<Vec<Vec<f32>>> {
        let streams = streams.named("random mask");
        let mut children = Vec::with_capacity(2 * parents.len());
        for (number, parent) in parents.iter().enumerate() {
            check_learners(2, dimension(parent))?;
            children.extend(divide(parent, 2, &streams.at(number as u64)));
        }
        Ok(children)
    }

    fn role(&self, _: usize) -> Role {
        Role::Constant
    }
}

/// Divides the coordinates of `mask` at random into `parts` masks whose sizes differ by at most one.
fn divide(mask: &[f32], parts: usize, streams: &Streams) -> Vec<Vec<f32>> {
    let mut coordinates: Vec<usize> = (0..mask.len()).filter(|&coordinate| mask[coordinate] > 0.0).collect();
    coordinates.shuffle(&mut streams.rng());
    let mut masks = vec![vec![0.0; mask.len()]; parts];
    for (position, coordinate) in coordinates.into_iter().enumerate() {
        masks[position % parts][coordinate] = 1.0;
    }
    masks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks that `masks` are disjoint, add up to `whole` and have sizes that differ by at most one.
    fn check_division(masks: &[Vec<f32>], whole: &[f32]) -> Result<(), TestCaseError> {
        prop_assert!(masks.iter().flatten().all(|&weight| weight == 0.0 || weight == 1.0));
        let sum: Vec<f32> = (0..whole.len()).map(|i| masks.iter().map(|mask| mask[i]).sum()).collect();
        prop_assert_eq!(&sum, whole);
        let sizes: Vec<usize> = masks.iter().map(|mask| dimension(mask)).collect();
        let (smallest, largest) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        prop_assert!(*smallest > 0 && largest - smallest <= 1, "{sizes:?}");
        Ok(())
    }

    proptest! {
        #[test]
        fn masks_divide_the_coordinates_and_children_their_parent(
            learners in 1usize..9,
            extra in 0usize..40,
            seed in any::<u64>(),
        ) {
            let (dimension, streams) = (4 * learners + extra, Streams::new(seed));
            let mut masks = RandomMask {}.begin(learners, dimension, &streams).unwrap();
            check_division(&masks, &vec![1.0; dimension])?;
            prop_assert_eq!(&masks, &RandomMask {}.begin(learners, dimension, &Streams::new(seed)).unwrap());
            for round in 1..3 {
                let streams = streams.at(round);
                let children = RandomMask {}.double(&masks, &streams).unwrap();
                prop_assert_eq!(children.len(), 2 * masks.len());
                check_division(&children, &vec![1.0; dimension])?;
                for (children, parent) in children.chunks_exact(2).zip(&masks) {
                    check_division(children, parent)?;
                }
                prop_assert_eq!(&children, &RandomMask {}.double(&masks, &streams).unwrap());
                masks = children;
            }
        }
    }

    #[test]
    fn masks_depend_on_the_seed_and_are_not_slices() {
        let begin = |seed| RandomMask {}.begin(2, 64, &Streams::new(seed)).unwrap();
        assert_ne!(begin(0), begin(1));
        let changes = |mask: &[f32]| mask.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes(&begin(0)[0]) > 10);
        let double = |seed| RandomMask {}.double(&begin(0), &Streams::new(seed)).unwrap();
        assert_ne!(double(0), double(1));
    }

    #[test]
    fn too_few_coordinates_are_an_error() {
        let error = RandomMask {}.double(&[vec![0.0, 1.0]], &Streams::new(0)).unwrap_err();
        insta::assert_snapshot!(error, @"`learners` cannot be 2: each learner needs at least one coordinate, and there are 1");
        assert!(RandomMask {}.begin(3, 2, &Streams::new(0)).is_err());
    }
}
