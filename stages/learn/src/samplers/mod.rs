//! Batch samplers: which images make the batches of an epoch.
//!
//! A sampler is a pure function of the labels of the images that it may take, its parameters and a random stream. Indices
//! count within those labels. Images that a batch could learn nothing from, because their class has no second image,
//! are never taken by the balanced samplers.
//!
//! To add one: write its file, add a line to [`SamplerConfig`] and to [`SamplerConfig::as_sampler`].

mod adaptive;
mod class_balanced;
mod deck;
mod n_pairs;
mod random;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adaptive::{AdaptiveClassBalanced, SmallClass};
pub use class_balanced::ClassBalanced;
pub use n_pairs::NPairs;
pub use random::Random;

use crate::error::{LearnError, Result};
use crate::streams::Streams;

/// A batch sampler and its parameters, as in `{ kind = "class_balanced", batch = 80, per_class = 4 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SamplerConfig {
    /// The same number of images of each class.
    ClassBalanced(ClassBalanced),
    /// The same, but full batches also where there are few classes.
    AdaptiveClassBalanced(AdaptiveClassBalanced),
    /// Two images of each class.
    NPairs(NPairs),
    /// Any images.
    Random(Random),
}

/// Which images make the batches of an epoch.
pub trait BatchSampler {
    /// The batches of one epoch over images with these labels: as many as fit into one pass, at least one.
    ///
    /// # Errors
    /// No batch can be drawn that a metric could be learned from.
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>>;

    /// How many images a batch has, or at most has.
    fn batch(&self) -> usize;

    /// Refuses parameters that cannot be meant.
    ///
    /// # Errors
    /// Names the parameter.
    fn check(&self) -> Result<()>;
}

impl SamplerConfig {
    /// The sampler that is configured.
    pub fn as_sampler(&self) -> &dyn BatchSampler {
        match self {
            SamplerConfig::ClassBalanced(sampler) => sampler,
            SamplerConfig::AdaptiveClassBalanced(sampler) => sampler,
            SamplerConfig::NPairs(sampler) => sampler,
            SamplerConfig::Random(sampler) => sampler,
        }
    }
}

impl Default for SamplerConfig {
    fn default() -> Self {
        SamplerConfig::ClassBalanced(ClassBalanced::default())
    }
}

/// How many batches an epoch over so many images has.
pub fn batches_in(images: usize, batch: usize) -> usize {
    (images / batch.max(1)).max(1)
}

/// The images of each class that has at least two, classes in ascending order.
///
/// # Errors
/// There are fewer than two such classes.
fn pairable_classes(labels: &[u32]) -> Result<Vec<Vec<u32>>> {
    let mut images_of = BTreeMap::<u32, Vec<u32>>::new();
    for (image, &label) in labels.iter().enumerate() {
        images_of.entry(label).or_default().push(image as u32);
    }
    let classes = images_of.len();
    let pairable: Vec<_> = images_of.into_values().filter(|images| images.len() >= 2).collect();
    if pairable.len() < 2 {
        let reason = format!("{} of them have two images or more, and two such classes are needed", pairable.len());
        return Err(LearnError::Batches { images: labels.len(), classes, reason });
    }
    Ok(pairable)
}

/// Refuses a batch that holds no two classes of `per_class` images each, or no whole number of them.
fn check_batch(batch: usize, per_class: usize) -> Result<()> {
    let refuse = |parameter, value: usize, reason: String| {
        Err(LearnError::Config { parameter, value: value.to_string(), reason })
    };
    if per_class < 2 {
        return refuse("per_class", per_class, "a class needs two images in a batch to have a positive pair".into());
    }
    if batch < 2 * per_class || !batch.is_multiple_of(per_class) {
        return refuse(
            "batch",
            batch,
            format!("it must be a multiple of `per_class`, {per_class}, and hold two classes"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all(batch: usize) -> Vec<SamplerConfig> {
        let adaptive = |small_class| {
            SamplerConfig::AdaptiveClassBalanced(AdaptiveClassBalanced { batch, per_class: 2, small_class })
        };
        vec![
            SamplerConfig::ClassBalanced(ClassBalanced { batch, per_class: 4 }),
            adaptive(SmallClass::Duplicate),
            adaptive(SmallClass::SampleOther),
            adaptive(SmallClass::Smaller),
            SamplerConfig::NPairs(NPairs { batch }),
            SamplerConfig::Random(Random { batch }),
        ]
    }

    proptest! {
        #[test]
        fn every_batch_can_be_learned_from(
            mut labels in prop::collection::vec(0u32..12, 4..120),
            batch in prop::sample::select(vec![8usize, 16, 40]),
            seed in any::<u64>(),
        ) {
            labels.extend([0, 0, 1, 1]); // two classes with two images, which every sampler may ask for
            for config in all(batch) {
                let sampler = config.as_sampler();
                let streams = Streams::new(seed);
                let batches = sampler.epoch(&labels, &streams).unwrap();
                prop_assert_eq!(&batches, &sampler.epoch(&labels, &streams).unwrap());
                prop_assert_eq!(batches.len(), batches_in(labels.len(), batch));
                for images in batches {
                    prop_assert!(images.len() <= batch);
                    prop_assert!(images.iter().all(|&image| (image as usize) < labels.len()));
                    let classes: BTreeSet<u32> = images.iter().map(|&image| labels[image as usize]).collect();
                    prop_assert!(classes.len() >= 2, "{config:?}: {classes:?}");
                }
            }
        }
    }

    #[test]
    fn too_little_is_told() {
        for (labels, message) in [
            (
                vec![],
                "Cannot draw batches from 0 images of 0 classes: 0 of them have two images or more, and two such classes are needed",
            ),
            (
                vec![3, 3, 3, 4],
                "Cannot draw batches from 4 images of 2 classes: 1 of them have two images or more, and two such classes are needed",
            ),
        ] {
            for config in &all(8)[..5] {
                let error = config.as_sampler().epoch(&labels, &Streams::new(0)).unwrap_err();
                assert_eq!(error.to_string(), message);
            }
        }
        let error = Random { batch: 8 }.epoch(&[1, 1], &Streams::new(0)).unwrap_err();
        insta::assert_snapshot!(error, @"Cannot draw batches from 2 images of 1 classes: a metric needs two classes");
        let error = ClassBalanced { batch: 82, per_class: 4 }.check().unwrap_err();
        insta::assert_snapshot!(error, @"`batch` cannot be 82: it must be a multiple of `per_class`, 4, and hold two classes");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let parse = |text: &str| serde_json::from_str::<SamplerConfig>(text);
        let parsed = parse(r#"{ "kind": "class_balanced", "per_class": 2 }"#).unwrap();
        assert_eq!(parsed, SamplerConfig::ClassBalanced(ClassBalanced { batch: 80, per_class: 2 }));
        let error = parse(r#"{ "kind": "class_balanced", "perclass": 2 }"#).unwrap_err();
        insta::assert_snapshot!(error, @"unknown field `perclass`, expected `batch` or `per_class`");
    }
}
