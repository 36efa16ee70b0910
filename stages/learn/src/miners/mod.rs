//! Miners: select the pairs or triplets of a batch that a loss is computed on.
//!
//! A miner sees distances and labels and returns indices into the batch, a [`Selection`], which every loss accepts. Random
//! choices come from the stream that the caller passes in; if distances tie, the image that comes first in the batch is chosen.
//!
//! **Reading order** `miner`, the trait; `selection`; [`distance_weighted`], the miner of DC21; then its siblings.
//!
//! To add a miner, write its file, and add a line to [`MinerConfig`] and one to [`MinerConfig::as_miner`].

mod batch_all;
mod distance_weighted;
mod easy_positive;
mod hard;
mod miner;
mod multi_similarity;
mod nearest_beyond;
mod random;
mod random_positive;
mod selection;
mod semi_hard;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use batch_all::BatchAll;
pub use distance_weighted::DistanceWeighted;
pub use easy_positive::EasyPositive;
pub use hard::Hard;
pub use miner::{Candidates, Miner, NegativeChoice};
pub use multi_similarity::MultiSimilarity;
pub use nearest_beyond::NearestBeyond;
pub use random::Random;
pub use random_positive::RandomPositive;
pub use selection::{Pairs, Selection};
pub use semi_hard::SemiHard;

/// Miner and its parameters, as in `{ kind = "distance_weighted", cutoff = 0.5 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MinerConfig {
    /// Distance-weighted sampling: negatives drawn such that all distances are equally likely.
    DistanceWeighted(DistanceWeighted),
    /// The nearest negatives beyond a cutoff distance.
    NearestBeyond(NearestBeyond),
    /// All triplets and all pairs of the batch.
    BatchAll(BatchAll),
    /// Semi-hard: for each positive pair, the nearest negative that is farther than the positive.
    SemiHard(SemiHard),
    /// Batch-hard: for each anchor, its farthest positive and its nearest negative.
    Hard(Hard),
    /// Easy positive: for each anchor, its nearest positive.
    EasyPositive(EasyPositive),
    /// For each anchor, a random positive.
    RandomPositive(RandomPositive),
    /// For each positive pair, a random negative.
    Random(Random),
    /// Pairs that are harder than the easiest pair of the other kind; the miner of the multi-similarity loss.
    MultiSimilarity(MultiSimilarity),
}

impl MinerConfig {
    /// The configured miner.
    pub fn as_miner(&self) -> &dyn Miner {
        match self {
            MinerConfig::DistanceWeighted(miner) => miner,
            MinerConfig::NearestBeyond(miner) => miner,
            MinerConfig::BatchAll(miner) => miner,
            MinerConfig::SemiHard(miner) => miner,
            MinerConfig::Hard(miner) => miner,
            MinerConfig::EasyPositive(miner) => miner,
            MinerConfig::RandomPositive(miner) => miner,
            MinerConfig::Random(miner) => miner,
            MinerConfig::MultiSimilarity(miner) => miner,
        }
    }
}

impl Default for MinerConfig {
    fn default() -> Self {
        MinerConfig::DistanceWeighted(DistanceWeighted::default())
    }
}
