//! Miners: which triplets or pairs of a batch a loss is summed over.
//!
//! Read [`distance_weighted`] first, the papers' own. A miner sees distances and labels and returns indices into the batch,
//! a [`Selection`]; every loss takes every selection. Where a choice is drawn, it comes from the stream that the caller
//! hands in; where distances tie, the image that comes first in the batch is chosen.
//!
//! To add one: write its file, add a line to [`MinerConfig`] and to [`MinerConfig::as_miner`].

mod batch_all;
mod distance_weighted;
mod easy_positive;
mod hard;
mod multi_similarity;
mod nearest_beyond;
mod random;
mod random_positive;
mod selection;
mod semi_hard;

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use batch_all::BatchAll;
pub use distance_weighted::DistanceWeighted;
pub use easy_positive::EasyPositive;
pub use hard::Hard;
pub use multi_similarity::MultiSimilarity;
pub use nearest_beyond::NearestBeyond;
pub use random::Random;
pub use random_positive::RandomPositive;
pub use selection::{Pairs, Selection};
pub use semi_hard::SemiHard;

use crate::comparisons::Comparisons;
use crate::error::Result;

/// A miner and its parameters, as in `{ kind = "distance_weighted", cutoff = 0.5 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MinerConfig {
    /// Negatives drawn so that all distances are equally likely.
    DistanceWeighted(DistanceWeighted),
    /// The nearest negatives that are not too near.
    NearestBeyond(NearestBeyond),
    /// Everything.
    BatchAll(BatchAll),
    /// For every positive pair a negative just beyond the positive.
    SemiHard(SemiHard),
    /// For every anchor its farthest positive and its nearest negative.
    Hard(Hard),
    /// For every anchor its nearest positive.
    EasyPositive(EasyPositive),
    /// For every anchor a positive by chance.
    RandomPositive(RandomPositive),
    /// For every positive pair a negative by chance.
    Random(Random),
    /// Pairs that are harder than the easiest of the other kind, for the multi-similarity loss.
    MultiSimilarity(MultiSimilarity),
}

/// A batch as a miner sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Distances between normalised embeddings, `[batch, batch]`.
    pub distances: &'a Comparisons,
    /// The class of each image.
    pub labels: &'a [u32],
    /// How many coordinates the learner's subspace has.
    pub dimension: usize,
    /// From which distance on the loss does not push a negative, where it says so.
    pub reach: Option<f64>,
}

/// Which triplets or pairs of a batch a loss is summed over.
pub trait Miner {
    /// Chooses among the batch; chances come from `rng` alone.
    ///
    /// # Errors
    /// There is not one label an image.
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection>;

    /// Refuses parameters that cannot be meant.
    ///
    /// # Errors
    /// Names the parameter.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// How the negative of a chosen positive pair is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Negative {
    /// The nearest that is farther than the positive, else the farthest.
    #[default]
    SemiHard,
    /// The nearest.
    Hard,
    /// Any.
    Random,
}

impl MinerConfig {
    /// The miner that is configured.
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

impl Candidates<'_> {
    /// Other images of the anchor's class, in the batch's order.
    fn positives(&self, anchor: usize) -> Vec<usize> {
        (0..self.labels.len()).filter(|&other| other != anchor && self.labels[other] == self.labels[anchor]).collect()
    }

    /// Images of other classes, in the batch's order.
    fn negatives(&self, anchor: usize) -> Vec<usize> {
        (0..self.labels.len()).filter(|&other| self.labels[other] != self.labels[anchor]).collect()
    }

    /// The nearest to `anchor` of `others`.
    fn nearest(&self, anchor: usize, others: impl IntoIterator<Item = usize>) -> Option<usize> {
        others.into_iter().min_by(|&a, &b| self.by_distance(anchor, a, b))
    }

    /// The farthest from `anchor` of `others`; of equally far ones the first.
    fn farthest(&self, anchor: usize, others: impl IntoIterator<Item = usize>) -> Option<usize> {
        others.into_iter().min_by(|&a, &b| self.by_distance(anchor, b, a))
    }

    fn by_distance(&self, anchor: usize, a: usize, b: usize) -> Ordering {
        self.distances.row(anchor)[a].total_cmp(&self.distances.row(anchor)[b])
    }

    /// A negative for the pair of `anchor` and `positive`, out of `negatives`.
    fn negative(
        &self,
        [anchor, positive]: [usize; 2],
        negatives: &[usize],
        how: Negative,
        rng: &mut ChaCha8Rng,
    ) -> Option<usize> {
        let all = negatives.iter().copied();
        match how {
            Negative::Hard => self.nearest(anchor, all),
            Negative::Random => random::pick(negatives, rng),
            Negative::SemiHard => {
                let boundary = self.distances.at(anchor, positive);
                let beyond = all.clone().filter(|&other| self.distances.at(anchor, other) > boundary);
                self.nearest(anchor, beyond).or_else(|| self.farthest(anchor, all))
            }
        }
    }

    /// For every anchor that has negatives, the triplets that `choose` makes of its positives and negatives.
    fn triplets(&self, mut choose: impl FnMut(usize, &[usize], &[usize]) -> Vec<[usize; 2]>) -> Result<Selection> {
        self.distances.check_labels(self.labels)?;
        let mut triplets = Vec::new();
        for anchor in 0..self.labels.len() {
            let (positives, negatives) = (self.positives(anchor), self.negatives(anchor));
            if positives.is_empty() || negatives.is_empty() {
                continue;
            }
            let chosen = choose(anchor, &positives, &negatives);
            triplets.extend(
                chosen.into_iter().map(|[positive, negative]| [anchor as u32, positive as u32, negative as u32]),
            );
        }
        Ok(Selection::Triplets(triplets))
    }
}
