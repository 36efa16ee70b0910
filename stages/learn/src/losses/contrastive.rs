//! Contrastive loss: positives closer than one distance, negatives farther than another.
//!
//! Formula: `mean [d_p − m₊]₊ᵉ + mean [m₋ − d_n]₊ᵉ`, each mean over the pairs with a term above zero; e = 1, or 2 if `squared`.
//! Shapes: embeddings `[batch, dim]`.
//! Source: Hadsell et al. 2006, "Dimensionality Reduction by Learning an Invariant Mapping", equation 4.
//! Deviation: not squared by default, and without Hadsell's factors ½, as in pytorch-metric-learning, so that the baseline is
//! comparable with published figures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Loss, LossOutput};
use crate::checks::check_range;
use crate::error::Result;
use crate::miners::Selection;
use crate::pairwise::scalar;

/// Contrastive loss: positives closer than one distance, negatives farther than another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contrastive {
    /// m₊: distance below which a positive pair adds no loss.
    pub positive_margin: f64,
    /// m₋: distance above which a negative pair adds no loss.
    pub negative_margin: f64,
    /// Whether each term is squared.
    pub squared: bool,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { positive_margin: 0.0, negative_margin: 1.0, squared: false }
    }
}

impl Loss for Contrastive {
    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        batch.distances.check_column_labels(batch.labels)?;
        let pairs = selection.pairs(batch.labels);
        let mut derivatives = batch.distances.zero_derivatives();
        let (mut value, mut informative) = (0.0, 0);
        for (pairs, boundary, side) in
            [(&pairs.positives, self.positive_margin, 1.0), (&pairs.negatives, self.negative_margin, -1.0)]
        {
            let excess =
                |&[row, column]: &[u32; 2]| side * (batch.distances.at(row as usize, column as usize) - boundary);
            let count = pairs.iter().filter(|&pair| excess(pair) > 0.0).count();
            informative += count;
            let weight = 1.0 / count.max(1) as f64;
            for pair in pairs.iter().filter(|&pair| excess(pair) > 0.0) {
                let excess = excess(pair);
                let (term, derivative) = if self.squared { (excess * excess, 2.0 * excess) } else { (excess, 1.0) };
                value += term * weight;
                derivatives.add(pair[0] as usize, pair[1] as usize, side * derivative * weight);
            }
        }
        let objective = scalar(value, &[batch.distances.with(&derivatives)])?;
        Ok(LossOutput { objective, value, terms: pairs.len(), informative })
    }

    fn check(&self) -> Result<()> {
        check_range("positive_margin", self.positive_margin, 0.0..=2.0)?;
        check_range("negative_margin", self.negative_margin, 0.0..=2.0)
    }
}
