//! Random negatives: for every positive pair one negative by chance. The baseline that the other miners must beat.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Selection};
use crate::error::Result;

/// For every positive pair a negative by chance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Random {}

impl Miner for Random {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|_, positives, negatives| {
            positives.iter().filter_map(|&positive| Some([positive, pick(negatives, rng)?])).collect()
        })
    }
}

/// One of `choices`, all equally likely; none where there is none.
pub(super) fn pick(choices: &[usize], rng: &mut ChaCha8Rng) -> Option<usize> {
    (!choices.is_empty()).then(|| choices[rng.random_range(0..choices.len())])
}
