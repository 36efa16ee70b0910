//! Stochastic depth: during training, a residual block is skipped for some of the images.
//!
//! Formula: block l of L (counted from 0) is skipped with probability `p_l = p l / L`; otherwise its residual is multiplied by
//! `1 / (1 − p_l)`, so that the mean is unchanged.
//! Shapes: residual `[batch, height, width, channels]`, one draw per image.
//! Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv 1603.09382, section 3; published
//! EfficientNets use p = 0.2.

use candle_core::Tensor;
use rand::Rng;

use crate::error::Result;
use crate::streams::Streams;

/// Stochastic depth in one training step.
#[derive(Clone, Copy, Debug)]
pub struct StochasticDepth<'a> {
    /// p: the skip probability that a block after the last one would have.
    pub rate: f64,
    /// Random stream of this step; each block has its own branch.
    pub streams: &'a Streams,
}

impl StochasticDepth<'_> {
    /// The residual of block `block` of `blocks`, set to zero for the images that skip the block.
    pub(super) fn thin(&self, residual: &Tensor, block: usize, blocks: usize) -> Result<Tensor> {
        let skipped = self.rate * block as f64 / blocks as f64;
        if skipped == 0.0 {
            return Ok(residual.clone());
        }
        let (batch, height, width, channels) = residual.dims4()?;
        let mut rng = self.streams.named("stochastic depth").at(block as u64).rng();
        let kept = (1.0 / (1.0 - skipped)) as f32;
        let factors: Vec<f32> = (0..batch).map(|_| if rng.random::<f64>() < skipped { 0.0 } else { kept }).collect();
        let factors = Tensor::from_vec(factors, (batch, 1), residual.device())?.to_dtype(residual.dtype())?;
        let flat = residual.reshape((batch, height * width * channels))?;
        Ok(flat.broadcast_mul(&factors)?.reshape(residual.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn later_blocks_are_skipped_more_often_and_the_mean_is_unchanged() {
        let ones = Tensor::ones((4000, 1, 1, 2), DType::F32, &Device::Cpu).unwrap();
        let streams = Streams::new(5);
        let depth = StochasticDepth { rate: 0.4, streams: &streams };
        for (block, expected) in [(0, 0.0), (5, 0.2), (9, 0.36)] {
            let rows: Vec<Vec<f32>> = depth.thin(&ones, block, 10).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
            assert!(rows.iter().all(|row| row[0] == row[1]), "a block is skipped for a whole image");
            let skipped = rows.iter().filter(|row| row[0] == 0.0).count() as f64 / 4000.0;
            assert!((skipped - expected).abs() < 0.03, "block {block}: {skipped}");
            let mean = rows.iter().map(|row| f64::from(row[0])).sum::<f64>() / 4000.0;
            assert!((mean - 1.0).abs() < 0.05, "block {block}: {mean}");
        }
        let again = |streams: &Streams| -> Vec<f32> {
            let thin = StochasticDepth { rate: 0.4, streams }.thin(&ones, 9, 10).unwrap();
            thin.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(again(&streams), again(&Streams::new(5)));
        assert_ne!(again(&streams), again(&Streams::new(6)));
    }
}
