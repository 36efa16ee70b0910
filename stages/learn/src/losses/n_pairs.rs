//! N-pairs loss: the similarity of an anchor to its positive against those to the positives of all other classes.
//!
//! Formula: `1/N Σ_i ln(1 + Σ_j exp(σ (s_{a_i p_j} − s_{a_i p_i})))` over the N pairs (a_i, p_i) of the batch, where j runs over
//! the pairs of other classes and s is the cosine. A triplet (a_i, p_i, p_j) counts as informative if p_j is more similar to the
//! anchor than p_i is.
//! Shapes: embeddings `[batch, dim]`.
//! Source: Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", section 3.2.
//! Deviation: Sohn uses inner products of unnormalised embeddings and penalises their norms. Here, as in all losses, the
//! embeddings are normalised, and the scale σ takes the place of the norms. A class with more than two images in the batch
//! forms several pairs (first and second image, third and fourth, …), which are not negatives of each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Loss, LossOutput, log_one_plus_sum_exp};
use crate::checks::check_scale;
use crate::error::Result;
use crate::miners::Selection;
use crate::pairwise::{PairwiseMatrix, scalar};

/// N-pairs loss: the similarity of one positive against those of one positive of every other class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NPairs {
    /// σ: factor of the cosine similarities.
    pub scale: f64,
}

impl Default for NPairs {
    fn default() -> Self {
        Self { scale: 16.0 }
    }
}

impl Loss for NPairs {
    fn uses_miner(&self) -> bool {
        false
    }

    fn forward(&self, batch: &Batch<'_>, _: &Selection) -> Result<LossOutput> {
        let similarities = PairwiseMatrix::similarities(batch.embeddings, batch.embeddings)?;
        similarities.check_row_labels(batch.labels)?;
        let pairs = pairs_of(batch.labels);
        let mut derivatives = similarities.zero_derivatives();
        let (mut value, mut terms, mut informative) = (0.0, 0, 0);
        let weight = 1.0 / pairs.len().max(1) as f64;
        for &[anchor, positive] in &pairs {
            let near = similarities.at(anchor, positive);
            let negatives: Vec<usize> =
                pairs.iter().map(|pair| pair[1]).filter(|&other| batch.labels[other] != batch.labels[anchor]).collect();
            let exponents: Vec<f64> =
                negatives.iter().map(|&negative| self.scale * (similarities.at(anchor, negative) - near)).collect();
            terms += exponents.len();
            informative += exponents.iter().filter(|&&exponent| exponent > 0.0).count();
            let (term, weights) = log_one_plus_sum_exp(&exponents);
            value += weight * term;
            for (&negative, share) in negatives.iter().zip(weights) {
                derivatives.add(anchor, negative, weight * self.scale * share);
                derivatives.add(anchor, positive, -weight * self.scale * share);
            }
        }
        let objective = scalar(value, &[similarities.with(&derivatives)])?;
        Ok(LossOutput { objective, value, terms, informative })
    }

    fn check(&self) -> Result<()> {
        check_scale("scale", self.scale)
    }
}

/// The images of each class in pairs, in the order of the batch; an unpaired image is left out.
fn pairs_of(labels: &[u32]) -> Vec<[usize; 2]> {
    let mut waiting = std::collections::BTreeMap::new();
    let mut pairs = Vec::new();
    for (image, label) in labels.iter().enumerate() {
        match waiting.remove(label) {
            Some(anchor) => pairs.push([anchor, image]),
            None => _ = waiting.insert(label, image),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_paired_within_their_class() {
        assert_eq!(pairs_of(&[7, 3, 7, 3, 7, 7, 3, 9]), [[0, 2], [1, 3], [4, 5]]);
        assert!(pairs_of(&[1, 2]).is_empty());
    }
}
