//! Triplet loss: each positive closer to its anchor than the negative, by a margin α.
//!
//! Formula: mean of `[d_ap − d_an + α]₊` over the triplets where it is above zero; soft: mean of `ln(1 + exp(d_ap − d_an))` over
//! all triplets, where a triplet counts as informative if its negative is closer than its positive.
//! Shapes: embeddings `[batch, dim]`.
//! Source: Schroff et al. 2015 (FaceNet), arXiv 1503.03832, equation 3; soft: Hermans et al. 2017, arXiv 1703.07737,
//! section 2.
//! Deviation: distances are not squared (as in DC21 and Hermans; squared ones collapse more easily), and triplets that are
//! already satisfied do not count in the mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Loss, LossOutput, log_one_plus_sum_exp};
use crate::checks::check_range;
use crate::error::Result;
use crate::miners::{MinerConfig, Selection, SemiHard};
use crate::pairwise::scalar;

/// Triplet loss: each positive closer to its anchor than the negative, by a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Triplet {
    /// α: margin by which a positive must be closer than the negative; not used if `soft` is set.
    pub margin: f64,
    /// Whether the hinge is replaced by the smooth `ln(1 + exp(…))`, whose gradient never vanishes.
    pub soft: bool,
}

impl Default for Triplet {
    fn default() -> Self {
        Self { margin: 0.2, soft: false }
    }
}

impl Loss for Triplet {
    fn default_miner(&self) -> MinerConfig {
        MinerConfig::SemiHard(SemiHard {})
    }

    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        batch.distances.check_column_labels(batch.labels)?;
        let triplets = selection.triplets(batch.labels);
        let mut derivatives = batch.distances.zero_derivatives();
        let (mut sum, mut terms, mut informative) = (0.0, 0, 0);
        for &[anchor, positive, negative] in triplets.iter() {
            let [anchor, positive, negative] = [anchor as usize, positive as usize, negative as usize];
            let gap = batch.distances.at(anchor, positive) - batch.distances.at(anchor, negative);
            let (term, derivative) = self.term(gap);
            if term > 0.0 {
                sum += term;
                terms += 1;
                informative += usize::from(!self.soft || gap > 0.0);
                derivatives.add(anchor, positive, derivative);
                derivatives.add(anchor, negative, -derivative);
            }
        }
        let count = terms.max(1) as f64;
        derivatives.divide(count);
        let value = sum / count;
        let objective = scalar(value, &[batch.distances.with(&derivatives)])?;
        Ok(LossOutput { objective, value, terms: triplets.len(), informative })
    }

    fn check(&self) -> Result<()> {
        check_range("margin", self.margin, 0.0..=2.0)
    }
}

impl Triplet {
    /// The term of a triplet and its derivative with respect to `gap = d_ap − d_an`.
    fn term(&self, gap: f64) -> (f64, f64) {
        if self.soft {
            let (term, weights) = log_one_plus_sum_exp(&[gap]);
            (term, weights[0])
        } else {
            (gap + self.margin, 1.0)
        }
    }
}
