//! Semi-hard: for each positive pair, the nearest negative that is farther than the positive; if there is none, the farthest
//! negative.
//!
//! Source: Schroff et al. 2015 (FaceNet), arXiv 1503.03832, section 3.2.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner, NegativeChoice};
use super::selection::Selection;
use crate::error::Result;

/// Semi-hard: for each positive pair, the nearest negative that is farther than the positive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SemiHard {}

impl Miner for SemiHard {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let negative =
                |positive, rng: &mut _| batch.negative([anchor, positive], negatives, NegativeChoice::SemiHard, rng);
            positives.iter().filter_map(|&positive| Some([positive, negative(positive, rng)?])).collect()
        })
    }
}
