//! Learned masks: start at ones and are trained with the embedding. When the number of learners doubles, each is copied to both
//! children, which then diverge because of their clusters and the orthogonality penalty.
//!
//! Formula: `L_orth = 1/(K(K−1)) Σ_{i≠j} cos(relu m_i, relu m_j)`, added to the loss with weight λ.
//! Shapes: masks `[learners, dim]`, penalty `[]`.
//! Source: DC21 (λ = 0.01 on SOP; the masks' learning rate is 100 times the backbone's).

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::masks::{Subspaces, check_learners};
use crate::checks::check_weight;
use crate::error::Result;
use crate::spec::Role;
use crate::streams::Streams;

/// Masks over all coordinates that are trained; each is copied to both children when the number of learners doubles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnedMask {
    /// λ: weight of the penalty on the mean cosine similarity between the masks.
    pub orthogonality: f64,
    /// Whether the mask of a single learner stays at ones. Without other masks to differ from, it would only rescale the coordinates.
    pub freeze_single: bool,
}

impl Default for LearnedMask {
    fn default() -> Self {
        Self { orthogonality: 0.01, freeze_single: true }
    }
}

impl Subspaces for LearnedMask {
    fn begin(&self, learners: usize, dimension: usize, _: &Streams) -> Result<Vec<Vec<f32>>> {
        check_learners(learners, dimension)?;
        Ok(vec![vec![1.0; dimension]; learners])
    }

    fn double(&self, parents: &[Vec<f32>], _: &Streams) -> Result<Vec<Vec<f32>>> {
        Ok(parents.iter().flat_map(|parent| [parent.clone(), parent.clone()]).collect())
    }

    fn role(&self, learners: usize) -> Role {
        if learners == 1 && self.freeze_single { Role::Constant } else { Role::Weight }
    }

    fn orthogonality(&self) -> f64 {
        self.orthogonality
    }

    fn check(&self) -> Result<()> {
        check_weight("orthogonality", self.orthogonality)
    }
}

/// Mean cosine similarity between the masks of different learners; 0 for a single learner.
///
/// # Errors
/// If `masks` is not a matrix, or the device fails.
pub fn orthogonality(masks: &Tensor) -> Result<Tensor> {
    let (learners, _) = masks.dims2()?;
    let directions = dnc_kernels::l2_normalise(&masks.relu()?)?; // [learners, dim]
    // Σ_{i≠j} ⟨m_i, m_j⟩ = ‖Σ m_i‖² − Σ ‖m_i‖²
    let all = directions.sum(0)?.sqr()?.sum_all()?;
    let own = directions.sqr()?.sum_all()?;
    let pairs = (learners * learners.saturating_sub(1)).max(1) as f64;
    Ok(((all - own)? / pairs)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_penalty_is_the_mean_cosine_and_falls_along_its_gradient() {
        let rows = [[1.0f32, 1.0, 0.5, -0.3], [1.0, 0.9, -2.0, 0.4], [0.1, 1.2, 0.7, 0.6]];
        let masks = Var::new(&rows, &Device::Cpu).unwrap();
        let penalty = orthogonality(&masks).unwrap();

        let relu = rows.map(|row| row.map(|x| f64::from(x.max(0.0))));
        let dot = |a: &[f64; 4], b: &[f64; 4]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let mut expected = 0.0;
        for (i, a) in relu.iter().enumerate() {
            for (j, b) in relu.iter().enumerate() {
                if i != j {
                    expected += dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() / 6.0;
                }
            }
        }
        let value = f64::from(penalty.to_scalar::<f32>().unwrap());
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");

        let gradients = penalty.backward().unwrap();
        let descended = (masks.as_tensor() - (gradients.get(&masks).unwrap() * 0.5).unwrap()).unwrap();
        assert!(f64::from(orthogonality(&descended).unwrap().to_scalar::<f32>().unwrap()) < expected);
    }

    #[test]
    fn a_single_mask_has_no_penalty_and_is_frozen_by_default() {
        let single = Var::new(&[[1.0f32, 2.0]], &Device::Cpu).unwrap();
        assert!(orthogonality(&single).unwrap().to_scalar::<f32>().unwrap().abs() < 1e-6);
        assert_eq!(LearnedMask::default().role(1), Role::Constant);
        assert_eq!(LearnedMask { freeze_single: false, ..LearnedMask::default() }.role(1), Role::Weight);
    }
}
