//! Batch-all: every triplet and every pair of the batch.
//!
//! Source: Hermans et al. 2017, arXiv 1703.07737, section 2.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Selection};
use crate::error::Result;

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchAll {}

impl Miner for BatchAll {
    fn mine(&self, batch: &Candidates<'_>, _: &mut ChaCha8Rng) -> Result<Selection> {
        batch.distances.check_labels(batch.labels)?;
        Ok(Selection::Everything)
    }
}
