//! Random: the images in random order, cut into batches; each batch has at least two classes.
//!
//! Images that do not fill a last batch are left out of the epoch. If a batch happens to have only one class, its last image
//! is replaced by one of another class.

use rand::Rng;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::{BatchSampler, batches_in, check_batch_size};
use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// Random images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Random {
    /// B: batch size.
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
            let (classes, reason) = (labels.len().min(1), "a metric cannot be learned from a single class".to_owned());
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
            return check_batch_size(self.batch);
        }
        let reason = "a batch needs at least two images".to_owned();
        Err(LearnError::Config { parameter: "batch", value: self.batch.to_string(), reason })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_epoch_has_each_image_once_in_its_own_order() {
        let labels: Vec<u32> = (0..103).map(|image| image % 7).collect();
        let epoch = |seed| Random { batch: 20 }.epoch(&labels, &Streams::new(seed)).unwrap();
        let shown: Vec<u32> = epoch(0).concat();
        assert_eq!(epoch(0).iter().map(Vec::len).collect::<Vec<_>>(), [20; 5], "three images are left out");
        assert_eq!(BTreeSet::from_iter(&shown).len(), 100);
        assert_ne!(epoch(1).concat(), shown);
        // In random order, the mean of a batch's image numbers is near 51, with a standard deviation of 30 / √20.
        for batch in epoch(0) {
            let mean = f64::from(batch.iter().sum::<u32>()) / 20.0;
            assert!((mean - 51.0).abs() < 5.0 * 30.0 / 20f64.sqrt(), "{mean}");
        }
    }

    #[test]
    fn a_batch_of_one_class_gets_an_image_of_another_class() {
        // One image in a hundred is of the other class, so most batches have none of it.
        let labels: Vec<u32> = (0..100).map(|image| u32::from(image == 50)).collect();
        for batch in (Random { batch: 10 }).epoch(&labels, &Streams::new(0)).unwrap() {
            assert_eq!(batch.len(), 10);
            assert_eq!(batch.iter().filter(|&&image| image == 50).count(), 1);
        }
    }
}
