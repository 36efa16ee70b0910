//! The miner trait, the batch that miners select from, and the choices that several miners share.

use std::cmp::Ordering;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selection::Selection;
use crate::error::Result;
use crate::pairwise::PairwiseMatrix;

/// Selects the pairs or triplets of a batch that a loss is computed on.
pub trait Miner {
    /// Selects from the batch. All randomness comes from `rng`.
    ///
    /// # Errors
    /// If there is not one label per reference.
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection>;

    /// Checks the parameters.
    ///
    /// # Errors
    /// If one is out of range; the error names it.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The input of a miner.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Distances between normalised embeddings, `[batch, references]`. The first references are the images of the batch.
    pub distances: &'a PairwiseMatrix,
    /// The class of each reference.
    pub labels: &'a [u32],
    /// Number of coordinates of the learner's subspace.
    pub dimension: usize,
    /// The distance from which on a negative adds nothing to the loss, if the loss defines one.
    pub max_negative_distance: Option<f64>,
}

/// How the negative for a positive pair is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NegativeChoice {
    /// The nearest negative that is farther than the positive; if there is none, the farthest negative.
    #[default]
    SemiHard,
    /// The nearest negative.
    Hard,
    /// A random negative.
    Random,
}

impl Candidates<'_> {
    /// Other references of the anchor's class, in their order.
    pub(super) fn positives(&self, anchor: usize) -> Vec<usize> {
        (0..self.labels.len()).filter(|&other| other != anchor && self.labels[other] == self.labels[anchor]).collect()
    }

    /// References of other classes, in their order.
    pub(super) fn negatives(&self, anchor: usize) -> Vec<usize> {
        (0..self.labels.len()).filter(|&other| self.labels[other] != self.labels[anchor]).collect()
    }

    /// The image of `others` that is nearest to `anchor`; if several are, the first.
    pub(super) fn nearest(&self, anchor: usize, others: impl IntoIterator<Item = usize>) -> Option<usize> {
        others.into_iter().min_by(|&a, &b| self.by_distance(anchor, a, b))
    }

    /// The image of `others` that is farthest from `anchor`; if several are, the first.
    pub(super) fn farthest(&self, anchor: usize, others: impl IntoIterator<Item = usize>) -> Option<usize> {
        others.into_iter().min_by(|&a, &b| self.by_distance(anchor, b, a))
    }

    pub(super) fn by_distance(&self, anchor: usize, a: usize, b: usize) -> Ordering {
        self.distances.row(anchor)[a].total_cmp(&self.distances.row(anchor)[b])
    }

    /// Chooses a negative for the pair of `anchor` and `positive` from `negatives`.
    pub(super) fn negative(
        &self,
        [anchor, positive]: [usize; 2],
        negatives: &[usize],
        how: NegativeChoice,
        rng: &mut ChaCha8Rng,
    ) -> Option<usize> {
        let all = negatives.iter().copied();
        match how {
            NegativeChoice::Hard => self.nearest(anchor, all),
            NegativeChoice::Random => pick(negatives, rng),
            NegativeChoice::SemiHard => {
                let boundary = self.distances.at(anchor, positive);
                let beyond = all.clone().filter(|&other| self.distances.at(anchor, other) > boundary);
                self.nearest(anchor, beyond).or_else(|| self.farthest(anchor, all))
            }
        }
    }

    /// The triplets that `choose` returns for each anchor, given its positives and negatives. Anchors without either are skipped.
    pub(super) fn triplets(
        &self,
        mut choose: impl FnMut(usize, &[usize], &[usize]) -> Vec<[usize; 2]>,
    ) -> Result<Selection> {
        self.distances.check_column_labels(self.labels)?;
        let mut triplets = Vec::new();
        for anchor in 0..self.distances.rows() {
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

/// One of `choices` at random; `None` if there are none.
pub(super) fn pick(choices: &[usize], rng: &mut ChaCha8Rng) -> Option<usize> {
    (!choices.is_empty()).then(|| choices[rng.random_range(0..choices.len())])
}
