//! Batch-all: all triplets and all pairs of the batch.
//!
//! Source: Hermans et al. 2017, arXiv 1703.07737, section 2.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner};
use super::selection::{Pairs, Selection};
use crate::error::Result;

/// Batch-all: all triplets and all pairs of the batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchAll {}

impl Miner for BatchAll {
    fn mine(&self, batch: &Candidates<'_>, _: &mut ChaCha8Rng) -> Result<Selection> {
        batch.distances.check_column_labels(batch.labels)?;
        if batch.distances.rows() == batch.labels.len() {
            return Ok(Selection::Everything);
        }
        let mut pairs = Pairs::default();
        for anchor in 0..batch.distances.rows() {
            let pair = |other: usize| [anchor as u32, other as u32];
            pairs.positives.extend(batch.positives(anchor).into_iter().map(pair));
            pairs.negatives.extend(batch.negatives(anchor).into_iter().map(pair));
        }
        Ok(Selection::Pairs(pairs))
    }
}
