//! Batch-hard: for each anchor, its farthest positive and its nearest negative.
//!
//! Source: Hermans et al. 2017, arXiv 1703.07737, equation 5.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner};
use super::selection::Selection;
use crate::error::Result;

/// Batch-hard: for each anchor, its farthest positive and its nearest negative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hard {}

impl Miner for Hard {
    fn mine(&self, batch: &Candidates<'_>, _: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let positive = batch.farthest(anchor, positives.iter().copied());
            let negative = batch.nearest(anchor, negatives.iter().copied());
            positive.zip(negative).map(|(positive, negative)| [positive, negative]).into_iter().collect()
        })
    }
}
