//! Adaptive class balanced: like class balanced, but if a cluster has fewer than B/P classes, more images of each are drawn, so
//! that the batch stays full.
//!
//! Source: DC21, whose clusters may hold few classes.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deck::Deck;
use super::sampler::{BatchSampler, batches_in, check_batch, pairable_classes};
use crate::error::Result;
use crate::streams::Streams;

/// The same number of images from each class of the batch; batches stay full if a cluster has few classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveClassBalanced {
    /// B: batch size.
    pub batch: usize,
    /// P: images per class, if there are at least B/P classes.
    pub per_class: usize,
    /// What to do if a class has fewer images than are to be drawn from it.
    pub small_class: SmallClass,
}

/// What to do if a class has fewer images than are to be drawn from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmallClass {
    /// Repeat its images.
    #[default]
    Duplicate,
    /// Draw images from classes that are not in the batch yet; if there are none left, the batch is smaller.
    SampleOther,
    /// Accept a smaller batch.
    Smaller,
}

impl Default for AdaptiveClassBalanced {
    fn default() -> Self {
        Self { batch: 80, per_class: 4, small_class: SmallClass::default() }
    }
}

impl BatchSampler for AdaptiveClassBalanced {
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>> {
        let mut images: Vec<Deck> = pairable_classes(labels)?.into_iter().map(Deck::new).collect();
        let mut classes = Deck::new((0..images.len() as u32).collect());
        let mut rng = streams.rng();
        let batches = 0..batches_in(labels.len(), self.batch);
        Ok(batches.map(|_| self.draw(&mut classes, &mut images, &mut rng)).collect())
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn check(&self) -> Result<()> {
        check_batch(self.batch, self.per_class)
    }
}

impl AdaptiveClassBalanced {
    fn draw(&self, classes: &mut Deck, images: &mut [Deck], rng: &mut ChaCha8Rng) -> Vec<u32> {
        let count = classes.len().min(self.batch / self.per_class);
        // If the batch size is not divisible by the number of classes, one more image is drawn from each of the first ones.
        let share = |nth: usize| self.batch / count + usize::from(nth < self.batch % count);
        let chosen = classes.deal(count, rng);
        let mut batch = Vec::with_capacity(self.batch);
        for (nth, &class) in chosen.iter().enumerate() {
            let hand = images[class as usize].deal(share(nth), rng);
            match self.small_class {
                SmallClass::Duplicate => batch.extend(hand.iter().cycle().take(share(nth))),
                SmallClass::SampleOther | SmallClass::Smaller => batch.extend(hand),
            }
        }
        if self.small_class == SmallClass::SampleOther {
            let others = (0..images.len() as u32).filter(|class| !chosen.contains(class)).collect();
            for class in Deck::new(others).deal(usize::MAX, rng) {
                let wanted = self.per_class.min(self.batch - batch.len());
                batch.extend(images[class as usize].deal(wanted, rng));
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the number of images of each class in the first batch of 12 images with 4 per class.
    fn check(sizes: &[usize], small_class: SmallClass, expected: &[usize]) {
        let labels: Vec<u32> = sizes.iter().enumerate().flat_map(|(class, &size)| vec![class as u32; size]).collect();
        let sampler = AdaptiveClassBalanced { batch: 12, per_class: 4, small_class };
        let batch = &sampler.epoch(&labels, &Streams::new(2)).unwrap()[0];
        let mut counts = vec![0; sizes.len()];
        batch.iter().for_each(|&image| counts[labels[image as usize] as usize] += 1);
        counts.sort_unstable();
        assert_eq!(counts, expected, "{sizes:?} {small_class:?}");
    }

    #[test]
    fn more_images_are_drawn_from_few_classes() {
        check(&[9, 9, 9], SmallClass::Duplicate, &[4, 4, 4]);
        check(&[9, 9], SmallClass::Duplicate, &[6, 6]);
        check(&[9, 9], SmallClass::Smaller, &[6, 6]);
    }

    #[test]
    fn small_classes_are_repeated_supplemented_or_accepted() {
        check(&[2, 2, 2, 2, 2], SmallClass::Duplicate, &[0, 0, 4, 4, 4]);
        check(&[2, 2, 2, 2, 2], SmallClass::SampleOther, &[2, 2, 2, 2, 2]);
        check(&[2, 2, 2, 2, 2, 2, 2], SmallClass::SampleOther, &[0, 2, 2, 2, 2, 2, 2]);
        check(&[2, 2, 2, 2, 2], SmallClass::Smaller, &[0, 0, 2, 2, 2]);
        check(&[3, 3], SmallClass::Duplicate, &[6, 6]);
        check(&[3, 3], SmallClass::SampleOther, &[3, 3]);
    }
}
