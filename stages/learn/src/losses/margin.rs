//! Margin loss: positives inside a boundary β, negatives outside, each by a margin α.
//!
//! Formula: `( Σ [d_ap − β_a + α]₊ + [β_a − d_an + α]₊ ) / (number of terms above zero) + ν ‖β‖`, over the selected triplets
//! (a, p, n); the derivative by β counts positives minus negatives above zero. `‖β‖` is `|β|` where β is shared, and
//! `Σ |β_a| / (number of terms above zero)` over the triplets where each class has its own: classes that are absent from the
//! batch stay as they are.
//! Shapes: embeddings `[batch, dim]`, β `[1]` or `[classes]`.
//! Source: Wu et al. 2017, arXiv 1706.07567, section 4.2, whose penalty is read as pytorch-metric-learning 2.9 does; DC19 and
//! DC21 train with this loss.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Batch, Learned, Loss, LossOutput, coefficients};
use crate::checks::check_range;
use crate::comparisons::scalar;
use crate::error::{LearnError, Result};
use crate::miners::{DistanceWeighted, MinerConfig, Selection};

/// Pairs on the right side of a boundary between near and far, which may be learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Margin {
    /// β: the distance between near and far, or its first value where it is learned.
    pub beta: f64,
    /// α: how far on the right side of the boundary a pair must lie to be left alone.
    pub margin: f64,
    /// Whether β is learned, with the rate of the loss's parameter group.
    pub learn_beta: Beta,
    /// ν: weight of the penalty on β, where it is learned.
    pub nu: f64,
}

/// Whether β is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Beta {
    /// It stays as configured. DC19's published code does this, though its paper says otherwise.
    #[default]
    No,
    /// One for all classes.
    Shared,
    /// One for each class.
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
            Beta::Shared => Some(coefficients("loss.beta", 1, self.beta)),
            Beta::PerClass => Some(coefficients("loss.beta", classes, self.beta)),
        }
    }

    fn usual_miner(&self) -> MinerConfig {
        MinerConfig::DistanceWeighted(DistanceWeighted::default())
    }

    fn reach(&self) -> Option<f64> {
        Some(self.beta + self.margin)
    }

    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        batch.distances.check_labels(batch.labels)?;
        let learned = match self.learn_beta {
            Beta::No => None,
            Beta::Shared | Beta::PerClass => Some(batch.learned("loss.beta")?),
        };
        let betas: Vec<f32> = learned.map_or_else(|| Ok(vec![self.beta as f32]), |beta| beta.detach().to_vec1())?;

        let row_of = |anchor: u32| if betas.len() == 1 { 0 } else { batch.labels[anchor as usize] as usize };

        let triplets = selection.triplets(batch.labels);
        let mut slopes = batch.distances.slopes();
        let mut beta_slopes = vec![0.0; betas.len()];
        let (mut sum, mut penalty, mut terms, mut informative) = (0.0, 0.0, 0, 0);
        for &[anchor, positive, negative] in triplets.iter() {
            let row = row_of(anchor);
            let beta = f64::from(betas[row]);
            let terms_before = terms;
            // Positives push the boundary outwards and negatives inwards: `side` is the derivative of a term by d.
            for (other, side) in [(positive, 1.0), (negative, -1.0)] {
                let (anchor, other) = (anchor as usize, other as usize);
                let term = side * (batch.distances.at(anchor, other) - beta) + self.margin;
                if term > 0.0 {
                    sum += term;
                    terms += 1;
                    slopes.add(anchor, other, side);
                    beta_slopes[row] -= side;
                }
            }
            informative += usize::from(terms > terms_before);
            penalty += beta.abs();
        }
        let terms_above_zero = terms.max(1) as f64;
        slopes.divide(terms_above_zero);
        beta_slopes.iter_mut().for_each(|slope| *slope /= terms_above_zero);
        let mut value = sum / terms_above_zero;

        let mut parts = vec![batch.distances.with(&slopes)];
        if let Some(learned) = learned {
            let weight = match self.learn_beta {
                Beta::PerClass if terms == 0 => 0.0,
                Beta::PerClass => self.nu / terms_above_zero,
                Beta::No | Beta::Shared => self.nu / triplets.len().max(1) as f64,
            };
            value += weight * penalty;
            for &[anchor, ..] in triplets.iter() {
                let row = row_of(anchor);
                beta_slopes[row] += weight * f64::from(betas[row]).signum();
            }
            parts.push((learned, &beta_slopes));
        }
        Ok(LossOutput { objective: scalar(value, &parts)?, value, terms: triplets.len(), informative })
    }

    fn check(&self) -> Result<()> {
        check_range("beta", self.beta, 0.0..=2.0)?;
        check_range("margin", self.margin, 0.0..=2.0)?;
        check_range("nu", self.nu, 0.0..=1.0)?;
        if self.nu > 0.0 && self.learn_beta == Beta::No {
            let reason = "it weighs a penalty on a learned β: set `learn_beta`, too".to_owned();
            return Err(LearnError::Config { parameter: "nu", value: self.nu.to_string(), reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::comparisons::Comparisons;

    #[test]
    fn a_penalty_on_what_is_not_learned_is_refused() {
        let loss = |learn_beta| Margin { nu: 0.1, learn_beta, ..Margin::default() };
        assert!(loss(Beta::Shared).check().is_ok() && loss(Beta::PerClass).check().is_ok());
        let error = loss(Beta::No).check().unwrap_err();
        assert_eq!(error.to_string(), "`nu` cannot be 0.1: it weighs a penalty on a learned β: set `learn_beta`, too");
    }

    #[test]
    fn a_triplet_is_informative_if_either_of_its_terms_is_above_zero() {
        // From the anchor: positives at 1.1 and 0.9, negatives at 1.3 and 1.5; only 1.1 and 1.3 lie within 0.2 of 1.2.
        let mut matrix = [1.0f32; 25];
        matrix[1..5].copy_from_slice(&[1.1, 0.9, 1.3, 1.5]);
        let embeddings = Tensor::from_slice(&matrix, (5, 5), &Device::Cpu).unwrap();
        let distances = Comparisons::of(embeddings.clone()).unwrap();
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
