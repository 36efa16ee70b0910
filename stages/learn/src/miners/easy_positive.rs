//! Easy positive: for each anchor, its nearest positive, so that a class may spread instead of collapsing to a point.
//!
//! Source: Xuan et al. 2020, "Improved Embeddings with Easy Positive Triplet Mining", arXiv 1904.04370, section 3.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner, NegativeChoice};
use super::selection::Selection;
use crate::error::Result;

/// Easy positive: for each anchor, its nearest positive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EasyPositive {
    /// How the negative is chosen.
    pub negative: NegativeChoice,
}

impl Miner for EasyPositive {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let positive = batch.nearest(anchor, positives.iter().copied());
            let triplet = positive.and_then(|positive| {
                Some([positive, batch.negative([anchor, positive], negatives, self.negative, rng)?])
            });
            triplet.into_iter().collect()
        })
    }
}
