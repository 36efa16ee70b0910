//! Nearest beyond a cutoff: the nearest negatives that are not suspiciously near.
//!
//! Formula: an anchor's negatives with d ≥ cutoff from near to far, then those below it from far to near; its i-th positive
//! gets the i-th of them.
//! Source: what DC19's published code does where its paper says distance-weighted sampling.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Selection};
use crate::checks::check_range;
use crate::error::Result;

/// The nearest negatives that are not too near.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NearestBeyond {
    /// A negative nearer than this is taken only when there is no other.
    pub cutoff: f64,
}

impl Default for NearestBeyond {
    fn default() -> Self {
        Self { cutoff: 0.5 }
    }
}

impl Miner for NearestBeyond {
    fn mine(&self, batch: &Candidates<'_>, _: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let (mut beyond, mut below): (Vec<usize>, Vec<usize>) =
                negatives.iter().partition(|&&negative| batch.distances.at(anchor, negative) >= self.cutoff);
            beyond.sort_by(|&a, &b| batch.by_distance(anchor, a, b));
            below.sort_by(|&a, &b| batch.by_distance(anchor, b, a));
            let ordered = beyond.iter().chain(&below).copied().cycle();
            positives.iter().zip(ordered).map(|(&positive, negative)| [positive, negative]).collect()
        })
    }

    fn check(&self) -> Result<()> {
        check_range("cutoff", self.cutoff, 0.0..=2.0)
    }
}
