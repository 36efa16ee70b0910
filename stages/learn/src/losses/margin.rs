//! Margin loss: positives closer than a boundary β and negatives farther, each by a margin α.
//!
//! Formula: `( Σ [d_ap − β_a + α]₊ + [β_a − d_an + α]₊ ) / (number of terms above zero) + ν ‖β‖`, summed over the selected
//! triplets (a, p, n). `‖β‖` is `|β|` if β is shared. If each class has its own, it is `Σ |β_a| / (number of terms above
//! zero)` over the triplets, so that the β of classes absent from the batch do not change.
//! Shapes: embeddings `[batch, dim]`, β `[1]` or `[classes]`.
//! Source: Wu et al. 2017, arXiv 1706.07567, section 4.2, with the penalty as implemented by pytorch-metric-learning 2.9. The
//! loss of DC19 and DC21.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Learned, Loss, LossOutput};
use crate::checks::check_range;
use crate::error::{LearnError, Result};
use crate::miners::{DistanceWeighted, MinerConfig, Selection};
use crate::pairwise::scalar;

/// Margin loss: positives closer and negatives farther than a boundary β, which may be learned, each by a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Margin {
    /// β: distance that separates positives from negatives; the initial value if `learn_beta` is set.
    pub beta: f64,
    /// α: margin on the correct side of β beyond which a pair adds no loss.
    pub margin: f64,
    /// Whether β is learned, and if so, whether all classes share it. Its learning rate is `optimiser.loss.lr`.
    pub learn_beta: Beta,
    /// ν: weight of the penalty on a learned β.
    pub nu: f64,
}

/// Whether the boundary β of the margin loss is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Beta {
    /// β keeps its configured value, as in DC19's published code, although the paper says otherwise.
    #[default]
    No,
    /// One β for all classes is learned.
    Shared,
    /// One β per class is learned.
    PerClass,
}

impl Default for Margin {
    fn default() -> Self {
        Self { beta: 1.2, margin: 0.2, learn_beta: Beta::No, nu: 0.0 }
    }
}

impl Loss for Margin {
    fn learned(&self, classes: usize, _: usize) -> Option<Learned> {
        match self.learn_beta {
            Beta::No => None,
            Beta::Shared => Some(Learned::coefficients("loss.beta", 1, self.beta)),
            Beta::PerClass => Some(Learned::coefficients("loss.beta", classes, self.beta)),
        }
    }

    fn default_miner(&self) -> MinerConfig {
        MinerConfig::DistanceWeighted(DistanceWeighted::default())
    }

    fn max_negative_distance(&self) -> Option<f64> {
        Some(self.beta + self.margin)
    }

    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        batch.distances.check_column_labels(batch.labels)?;
        let learned = match self.learn_beta {
            Beta::No => None,
            Beta::Shared | Beta::PerClass => Some(batch.learned("loss.beta")?),
        };
        let betas: Vec<f32> = learned.map_or_else(|| Ok(vec![self.beta as f32]), |beta| beta.detach().to_vec1())?;

        let row_of = |anchor: u32| if betas.len() == 1 { 0 } else { batch.labels[anchor as usize] as usize };

        let triplets = selection.triplets(batch.labels);
        let mut derivatives = batch.distances.zero_derivatives();
        let mut beta_derivatives = vec![0.0; betas.len()];
        let (mut sum, mut penalty, mut terms, mut informative) = (0.0, 0.0, 0, 0);
        for &[anchor, positive, negative] in triplets.iter() {
            let row = row_of(anchor);
            let beta = f64::from(betas[row]);
            let terms_before = terms;
            // `side` is the derivative of a term with respect to d, and minus the one with respect to β.
            for (other, side) in [(positive, 1.0), (negative, -1.0)] {
                let (anchor, other) = (anchor as usize, other as usize);
                let term = side * (batch.distances.at(anchor, other) - beta) + self.margin;
                if term > 0.0 {
                    sum += term;
                    terms += 1;
                    derivatives.add(anchor, other, side);
                    beta_derivatives[row] -= side;
                }
            }
            informative += usize::from(terms > terms_before);
            penalty += beta.abs();
        }
        let terms_above_zero = terms.max(1) as f64;
        derivatives.divide(terms_above_zero);
        beta_derivatives.iter_mut().for_each(|derivative| *derivative /= terms_above_zero);
        let mut value = sum / terms_above_zero;

        let mut parts = vec![batch.distances.with(&derivatives)];
        if let Some(learned) = learned {
            let weight = match self.learn_beta {
                Beta::PerClass if terms == 0 => 0.0,
                Beta::PerClass => self.nu / terms_above_zero,
                Beta::No | Beta::Shared => self.nu / triplets.len().max(1) as f64,
            };
            value += weight * penalty;
            for &[anchor, ..] in triplets.iter() {
                let row = row_of(anchor);
                beta_derivatives[row] += weight * f64::from(betas[row]).signum();
            }
            parts.push((learned, &beta_derivatives));
        }
        Ok(LossOutput { objective: scalar(value, &parts)?, value, terms: triplets.len(), informative })
    }

    fn check(&self) -> Result<()> {
        check_range("beta", self.beta, 0.0..=2.0)?;
        check_range("margin", self.margin, 0.0..=2.0)?;
        check_range("nu", self.nu, 0.0..=1.0)?;
        if self.nu > 0.0 && self.learn_beta == Beta::No {
            let reason = "it is the weight of the penalty on a learned β, so `learn_beta` must be set too".to_owned();
            return Err(LearnError::Config { parameter: "nu", value: self.nu.to_string(), reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::pairwise::PairwiseMatrix;

    #[test]
    fn a_penalty_on_a_fixed_boundary_is_rejected() {
        let loss = |learn_beta| Margin { nu: 0.1, learn_beta, ..Margin::default() };
        assert!(loss(Beta::Shared).check().is_ok() && loss(Beta::PerClass).check().is_ok());
        let error = loss(Beta::No).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`nu` cannot be 0.1: it is the weight of the penalty on a learned β, so `learn_beta` must be set too"
        );
    }

    #[test]
    fn a_triplet_is_informative_if_one_of_its_terms_is_above_zero() {
        // From the anchor: positives at 1.1 and 0.9, negatives at 1.3 and 1.5; only 1.1 and 1.3 lie within 0.2 of 1.2.
        let mut matrix = [1.0f32; 25];
        matrix[1..5].copy_from_slice(&[1.1, 0.9, 1.3, 1.5]);
        let embeddings = Tensor::from_slice(&matrix, (5, 5), &Device::Cpu).unwrap();
        let distances = PairwiseMatrix::of(embeddings.clone()).unwrap();
        let batch = Batch { embeddings: &embeddings, distances: &distances, labels: &[0, 0, 0, 1, 1], learned: None };
        let check = |triplets: &[[u32; 3]], expected: (usize, usize)| {
            let output = Margin::default().forward(&batch, &Selection::Triplets(triplets.to_vec())).unwrap();
            assert_eq!((output.informative, output.terms), expected, "{triplets:?}");
            let value = if expected.0 == 0 { 0.0 } else { 0.1 };
            assert!((output.value - value).abs() < 1e-6, "{triplets:?}: {}", output.value);
        };
        check(&[[0, 1, 3]], (1, 1));
        check(&[[0, 1, 4]], (1, 1));
        check(&[[0, 2, 4]], (0, 1));
        check(&[[0, 1, 3], [0, 1, 4], [0, 2, 3], [0, 2, 4]], (3, 4));
    }
}
