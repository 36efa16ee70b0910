//! Multi-similarity loss: each pair weighted by its similarity relative to the other pairs of its anchor.
//!
//! Formula: `1/B Σ_i { 1/α · ln(1 + Σ_{p ∈ P_i} e^{−α(s_ip − λ)}) + 1/β · ln(1 + Σ_{n ∈ N_i} e^{β(s_in − λ)}) }`, with P_i
//! and N_i the selected positives and negatives of image i and s the cosine. The derivative with respect to s is minus the
//! softmax weight of a positive and plus that of a negative. A pair on the wrong side of λ counts as informative.
//! Shapes: embeddings `[batch, dim]`.
//! Source: Wang et al. 2019, arXiv 1904.06627, equation 15; its miner is [`miners::MultiSimilarity`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Loss, LossOutput, log_one_plus_sum_exp};
use crate::checks::{check_range, check_scale};
use crate::error::Result;
use crate::miners::{self, MinerConfig, Selection};
use crate::pairwise::{PairwiseMatrix, scalar};

/// Multi-similarity loss: pairs weighted by their similarity relative to the anchor's other pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultiSimilarity {
    /// α: scale of the positives; the larger, the more the least similar positives dominate.
    pub alpha: f64,
    /// β: scale of the negatives; the larger, the more the most similar negatives dominate.
    pub beta: f64,
    /// λ: cosine similarity that separates positives from negatives.
    pub base: f64,
}

impl Default for MultiSimilarity {
    fn default() -> Self {
        Self { alpha: 2.0, beta: 50.0, base: 0.5 }
    }
}

impl Loss for MultiSimilarity {
    fn default_miner(&self) -> MinerConfig {
        MinerConfig::MultiSimilarity(miners::MultiSimilarity::default())
    }

    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        let similarities = PairwiseMatrix::similarities(batch.embeddings, batch.embeddings)?;
        similarities.check_row_labels(batch.labels)?;
        let images = batch.labels.len();
        let pairs = selection.pairs(batch.labels);
        let mut derivatives = similarities.zero_derivatives();
        let (mut value, mut informative) = (0.0, 0);
        for (pairs, scale) in [(&pairs.positives, -self.alpha), (&pairs.negatives, self.beta)] {
            let mut others_of = vec![Vec::new(); images];
            pairs.iter().for_each(|&[anchor, other]| others_of[anchor as usize].push(other as usize));
            for (anchor, others) in others_of.iter().enumerate() {
                let exponents: Vec<f64> =
                    others.iter().map(|&other| scale * (similarities.at(anchor, other) - self.base)).collect();
                informative += exponents.iter().filter(|&&exponent| exponent > 0.0).count();
                let (term, weights) = log_one_plus_sum_exp(&exponents);
                value += term / scale.abs() / images as f64;
                for (&other, weight) in others.iter().zip(weights) {
                    derivatives.add(anchor, other, scale.signum() * weight / images as f64);
                }
            }
        }
        let objective = scalar(value, &[similarities.with(&derivatives)])?;
        Ok(LossOutput { objective, value, terms: pairs.len(), informative })
    }

    fn check(&self) -> Result<()> {
        check_scale("alpha", self.alpha)?;
        check_scale("beta", self.beta)?;
        check_range("base", self.base, -1.0..=1.0)
    }
}
