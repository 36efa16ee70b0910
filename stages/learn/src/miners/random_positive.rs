//! Random positives: for every anchor one positive by chance.
//!
//! Source: the middle between the easy positives of Xuan et al. 2020, arXiv 1904.04370, and batch-hard's.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Negative, Selection, random};
use crate::error::Result;

/// For every anchor a positive by chance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomPositive {
    /// Which negative goes with it.
    pub negative: Negative,
}

impl Miner for RandomPositive {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let triplet = random::pick(positives, rng).and_then(|positive| {
                Some([positive, batch.negative([anchor, positive], negatives, self.negative, rng)?])
            });
            triplet.into_iter().collect()
        })
    }
}
