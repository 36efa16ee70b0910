//! Random: for each positive pair, a random negative. The baseline that the other miners have to beat.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner, pick};
use super::selection::Selection;
use crate::error::Result;

/// For each positive pair, a random negative.
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
