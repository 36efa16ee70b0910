//! Multi-similarity mining: negatives more similar to the anchor than its least similar positive, and positives less similar
//! than its most similar negative, both with a tolerance of ε.
//!
//! Formula: select negative n of anchor i if `s_in > min_p s_ip − ε`, positive p if `s_ip < max_n s_in + ε`, with the cosine
//! `s = 1 − d²/2`.
//! Source: Wang et al. 2019, arXiv 1904.06627, equations 11 and 12.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner};
use super::selection::{Pairs, Selection};
use crate::checks::check_weight;
use crate::error::Result;

/// Pairs that are harder than the easiest pair of the other kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultiSimilarity {
    /// ε: tolerance in cosine similarity by which a pair may be easier.
    pub epsilon: f64,
}

impl Default for MultiSimilarity {
    fn default() -> Self {
        Self { epsilon: 0.1 }
    }
}

impl Miner for MultiSimilarity {
    fn mine(&self, batch: &Candidates<'_>, _: &mut ChaCha8Rng) -> Result<Selection> {
        batch.distances.check_column_labels(batch.labels)?;
        let mut pairs = Pairs::default();
        for anchor in 0..batch.distances.rows() {
            let similarity = |other: usize| 1.0 - batch.distances.at(anchor, other).powi(2) / 2.0;
            let (positives, negatives) = (batch.positives(anchor), batch.negatives(anchor));
            let hardest_positive = positives.iter().map(|&p| similarity(p)).fold(f64::INFINITY, f64::min);
            let hardest_negative = negatives.iter().map(|&n| similarity(n)).fold(f64::NEG_INFINITY, f64::max);
            let pair = |other: usize| [anchor as u32, other as u32];
            let hard_positives = positives.into_iter().filter(|&p| similarity(p) < hardest_negative + self.epsilon);
            pairs.positives.extend(hard_positives.map(pair));
            let hard_negatives = negatives.into_iter().filter(|&n| similarity(n) > hardest_positive - self.epsilon);
            pairs.negatives.extend(hard_negatives.map(pair));
        }
        Ok(Selection::Pairs(pairs))
    }

    fn check(&self) -> Result<()> {
        check_weight("epsilon", self.epsilon)
    }
}
