//! Class balanced: B/P classes per batch, P images per class.
//!
//! Classes are dealt from a shuffled deck, so that all are drawn about equally often in an epoch; the same holds for the images of
//! each class. The images of a class with fewer than P images are repeated. If there are fewer than B/P classes, batches are
//! smaller; [`AdaptiveClassBalanced`](super::AdaptiveClassBalanced) fills them.
//! Source: DC19; Wu et al. 2017, arXiv 1706.07567.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deck::Deck;
use super::sampler::{BatchSampler, batches_in, check_batch, pairable_classes};
use crate::error::Result;
use crate::streams::Streams;

/// The same number of images from each class of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassBalanced {
    /// B: batch size.
    pub batch: usize,
    /// P: images per class.
    pub per_class: usize,
}

impl Default for ClassBalanced {
    fn default() -> Self {
        Self { batch: 80, per_class: 4 }
    }
}

impl BatchSampler for ClassBalanced {
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>> {
        let mut images: Vec<Deck> = pairable_classes(labels)?.into_iter().map(Deck::new).collect();
        let mut classes = Deck::new((0..images.len() as u32).collect());
        let mut rng = streams.rng();
        let mut batch = || {
            let mut batch = Vec::with_capacity(self.batch);
            for class in classes.deal(self.batch / self.per_class, &mut rng) {
                let hand = images[class as usize].deal(self.per_class, &mut rng);
                batch.extend(hand.iter().cycle().take(self.per_class));
            }
            batch
        };
        Ok((0..batches_in(labels.len(), self.batch)).map(|_| batch()).collect())
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn check(&self) -> Result<()> {
        check_batch(self.batch, self.per_class)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_batch_has_the_same_number_of_images_per_class() {
        // Ten classes of 3 to 12 images, and one with a single image.
        let labels: Vec<u32> = (0..10).flat_map(|class| vec![class; class as usize + 3]).chain([99]).collect();
        let sampler = ClassBalanced { batch: 20, per_class: 4 };
        let batches = sampler.epoch(&labels, &Streams::new(0)).unwrap();
        assert_eq!(batches.len(), labels.len() / 20);
        let mut visits = BTreeMap::<u32, usize>::new();
        for batch in batches {
            let mut images_of = BTreeMap::<u32, Vec<u32>>::new();
            batch.iter().for_each(|&image| images_of.entry(labels[image as usize]).or_default().push(image));
            assert_eq!(images_of.len(), 5);
            for (class, mut images) in images_of {
                *visits.entry(class).or_default() += 1;
                assert_eq!(images.len(), 4, "class {class}");
                images.sort_unstable();
                images.dedup();
                assert_eq!(images.len(), 4.min(class as usize + 3), "class {class} repeats images only if it has to");
            }
        }
        assert!(!visits.contains_key(&99));
        // 3 batches of 5 classes out of 10: each class is drawn once or twice.
        assert_eq!(visits.len(), 10);
    }
}
