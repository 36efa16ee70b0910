//! Stochastic depth: while training, a residual block is skipped for some of the images.
//!
//! Formula: of L blocks, block l (from 0) is skipped with probability `p_l = p l / L`, and where it is not, what it adds
//! to its input counts `1 / (1 − p_l)` times, so that the mean stays.
//! Shapes: what a block adds `[batch, height, width, channels]`, one draw an image.
//! Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv 1603.09382, section 3; EfficientNets are
//! published with p = 0.2 and the probabilities above.

use candle_core::Tensor;
use rand::Rng;

use crate::error::Result;
use crate::streams::Streams;

/// How deep a network is for each image of a batch.
#[derive(Clone, Copy, Debug)]
pub struct StochasticDepth<'a> {
    /// p: the probability with which a block after the last would be skipped.
    pub rate: f64,
    /// The stream of this step; each block has its own.
    pub streams: &'a Streams,
}

impl StochasticDepth<'_> {
    /// What block `block` of `blocks` adds, with the images that skip it at zero.
    pub(super) fn thin(&self, added: &Tensor, block: usize, blocks: usize) -> Result<Tensor> {
        let skipped = self.rate * block as f64 / blocks as f64;
        if skipped == 0.0 {
            return Ok(added.clone());
        }
        let (batch, height, width, channels) = added.dims4()?;
        let mut rng = self.streams.named("stochastic depth").at(block as u64).rng();
        let counts = (1.0 / (1.0 - skipped)) as f32;
        let counts: Vec<f32> = (0..batch).map(|_| if rng.random::<f64>() < skipped { 0.0 } else { counts }).collect();
        let counts = Tensor::from_vec(counts, (batch, 1), added.device())?;
        let flat = added.reshape((batch, height * width * channels))?;
        Ok(flat.broadcast_mul(&counts)?.reshape(added.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn later_blocks_are_skipped_more_often_and_the_mean_stays() {
        let ones = Tensor::ones((4000, 1, 1, 2), DType::F32, &Device::Cpu).unwrap();
        let streams = Streams::new(5);
        let depth = StochasticDepth { rate: 0.4, streams: &streams };
        for (block, expected) in [(0, 0.0), (5, 0.2), (9, 0.36)] {
            let rows: Vec<Vec<f32>> = depth.thin(&ones, block, 10).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
            assert!(rows.iter().all(|row| row[0] == row[1]), "an image is skipped as a whole");
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
