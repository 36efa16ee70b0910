//! The merged embedding of all learners, which is used for evaluation.
//!
//! Formula: plain `e`; weighted `e ⊙ Σ_k relu(m_k)`; normalised weighted `e ⊙ Σ_k relu(m_k) / ‖relu(m_k)‖₁`; then L2-normalised.
//! Shapes: embeddings `[batch, dim]`, masks `[learners, dim]`, result `[batch, dim]`.
//! Source: DC21.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Lower bound on the sum of a mask's weights when it is normalised, so that an empty mask contributes nothing instead of NaN.
const MASK_SUM_FLOOR: f32 = 1e-12;

/// How the learners' subspaces are merged into one embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merged {
    /// The full embedding, without masks.
    #[default]
    Plain,
    /// Each coordinate is multiplied by the sum of the masks.
    Masks,
    /// As `masks`, but each mask is first divided by its sum, so that a large one does not outweigh the others.
    NormalisedMasks,
}

impl Merged {
    /// The merged embedding, L2-normalised.
    ///
    /// # Errors
    /// If the masks have another width, or the device fails.
    pub fn embedding(self, embeddings: &Tensor, masks: &Tensor) -> Result<Tensor> {
        match self.weights(masks)? {
            None => Ok(dnc_kernels::l2_normalise(embeddings)?),
            Some(weights) => Ok(dnc_kernels::l2_normalise(&embeddings.broadcast_mul(&weights)?)?),
        }
    }

    /// The weight of each coordinate, `[1, dim]`; `None` if none is weighted.
    ///
    /// # Errors
    /// If the masks do not have two axes, or the device fails.
    pub fn weights(self, masks: &Tensor) -> Result<Option<Tensor>> {
        Ok(match self {
            Merged::Plain => None,
            Merged::Masks => Some(masks.relu()?.sum_keepdim(0)?),
            Merged::NormalisedMasks => {
                let masks = masks.relu()?;
                let sums = masks.sum_keepdim(1)?.maximum(MASK_SUM_FLOOR)?; // [learners, 1]
                Some(masks.broadcast_div(&sums)?.sum_keepdim(0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn weights_are_the_sums_of_the_masks() {
        let embeddings = Tensor::new(&[[3.0f32, 4.0]], &Device::Cpu).unwrap();
        let masks = Tensor::new(&[[1.0f32, -5.0], [3.0, 1.0]], &Device::Cpu).unwrap();
        let check = |merged: Merged, x: f32, y: f32| {
            let found = merged.embedding(&embeddings, &masks).unwrap().to_vec2::<f32>().unwrap();
            let norm = (x * x + y * y).sqrt();
            assert!(
                (found[0][0] - x / norm).abs() < 1e-6 && (found[0][1] - y / norm).abs() < 1e-6,
                "{merged:?} {found:?}"
            );
        };
        check(Merged::Plain, 3.0, 4.0);
        check(Merged::Masks, 3.0 * 4.0, 4.0 * 1.0);
        check(Merged::NormalisedMasks, 3.0 * 1.75, 4.0 * 0.25);
    }
}
