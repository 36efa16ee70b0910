//! Random: the images in a random order, cut into batches; each batch has at least two classes.
//!
//! The images that do not fill a last batch are left out of the epoch. A batch that happens to have one class only gets an
//! image of another in its last place.

use rand::Rng;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BatchSampler, batches_in};
use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Any images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Random {
    /// B: images a batch.
    pub batch: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { batch: 80 }
    }
}

impl BatchSampler for Random {
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>> {
        if labels.iter().all(|&label| label == labels[0]) {
            let (classes, reason) = (labels.len().min(1), "a metric needs two classes".to_owned());
            return Err(LearnError::Batches { images: labels.len(), classes, reason });
        }
        let mut rng = streams.rng();
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.shuffle(&mut rng);
        let mut batches: Vec<Vec<u32>> =
            order.chunks(self.batch).take(batches_in(labels.len(), self.batch)).map(<[u32]>::to_vec).collect();
        let label = |image: u32| labels[image as usize];
        for batch in &mut batches {
            let class = label(batch[0]);
            if batch.iter().all(|&image| label(image) == class) {
                let others: Vec<u32> = order.iter().copied().filter(|&image| label(image) != class).collect();
                *batch.last_mut().expect("chunks are not empty") = others[rng.random_range(0..others.len())];
            }
        }
        Ok(batches)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn check(&self) -> Result<()> {
        if self.batch >= 2 {
            return Ok(());
        }
        let reason = "a batch needs two images".to_owned();
        Err(LearnError::Config { parameter: "batch", value: self.batch.to_string(), reason })
    }
}
