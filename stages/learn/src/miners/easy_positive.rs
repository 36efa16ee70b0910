//! Easy positives: for every anchor its nearest positive, so that a class may spread instead of collapsing into a point.
//!
//! Source: Xuan et al. 2020, "Improved Embeddings with Easy Positive Triplet Mining", arXiv 1904.04370, section 3.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Negative, Selection};
use crate::error::Result;

/// For every anchor its nearest positive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EasyPositive {
    /// Which negative goes with it.
    pub negative: Negative,
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
