//! Nearest beyond a cutoff: the nearest negatives that are not suspiciously close.
//!
//! Formula: sort an anchor's negatives: first those with d ≥ cutoff from near to far, then the others from far to near. Its i-th
//! positive gets the i-th of them.
//! Source: DC19's published code, although the paper describes distance-weighted sampling.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner};
use super::selection::Selection;
use crate::checks::check_range;
use crate::error::Result;

/// The nearest negatives beyond a cutoff distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NearestBeyond {
    /// Distance below which a negative is selected only if there is no other.
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
