//! Random positive: for each anchor, a random positive.
//!
//! Source: a compromise between the easy positives of Xuan et al. 2020, arXiv 1904.04370, and those of batch-hard.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner, NegativeChoice, pick};
use super::selection::Selection;
use crate::error::Result;

/// For each anchor, a random positive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomPositive {
    /// How the negative is chosen.
    pub negative: NegativeChoice,
}

impl Miner for RandomPositive {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let triplet = pick(positives, rng).and_then(|positive| {
                Some([positive, batch.negative([anchor, positive], negatives, self.negative, rng)?])
            });
            triplet.into_iter().collect()
        })
    }
}
