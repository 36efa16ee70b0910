//! Batch samplers: draw the batches of an epoch.
//!
//! A sampler is a pure function of the labels of the images that it may draw, its parameters and a random stream. Indices
//! refer to those labels. The class-balanced samplers never draw an image that is the only one of its class, because a batch
//! could learn nothing from it.
//!
//! **Reading order** `sampler`, the trait; `deck`; [`class_balanced`]; then its siblings.
//!
//! To add a sampler, write its file, and add a line to [`SamplerConfig`] and one to [`SamplerConfig::as_sampler`].

mod adaptive;
mod class_balanced;
mod deck;
mod n_pairs;
mod random;
mod sampler;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adaptive::{AdaptiveClassBalanced, SmallClass};
pub use class_balanced::ClassBalanced;
pub use n_pairs::NPairs;
pub use random::Random;
pub use sampler::{BatchSampler, batches_in};

/// Batch sampler and its parameters, as in `{ kind = "class_balanced", batch = 80, per_class = 4 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SamplerConfig {
    /// The same number of images from each class of the batch.
    ClassBalanced(ClassBalanced),
    /// As `class_balanced`, but batches stay full if a cluster has few classes.
    AdaptiveClassBalanced(AdaptiveClassBalanced),
    /// Two images from each class of the batch.
    NPairs(NPairs),
    /// Random images.
    Random(Random),
}

impl SamplerConfig {
    /// The configured sampler.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::streams::Streams;

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
        fn every_batch_has_two_classes(
            mut labels in prop::collection::vec(0u32..12, 4..120),
            batch in prop::sample::select(vec![8usize, 16, 40]),
            seed in any::<u64>(),
        ) {
            labels.extend([0, 0, 1, 1]); // two classes with two images, which some samplers need
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
    fn too_few_images_are_an_error() {
        for (labels, message) in [
            (
                vec![],
                "Cannot draw batches from 0 images of 0 classes: at least two classes with two or more images are needed, but there are 0",
            ),
            (
                vec![3, 3, 3, 4],
                "Cannot draw batches from 4 images of 2 classes: at least two classes with two or more images are needed, but there are 1",
            ),
        ] {
            for config in &all(8)[..5] {
                let error = config.as_sampler().epoch(&labels, &Streams::new(0)).unwrap_err();
                assert_eq!(error.to_string(), message);
            }
        }
        let error = Random { batch: 8 }.epoch(&[1, 1], &Streams::new(0)).unwrap_err();
        insta::assert_snapshot!(error, @"Cannot draw batches from 2 images of 1 classes: a metric cannot be learned from a single class");
        let error = ClassBalanced { batch: 82, per_class: 4 }.check().unwrap_err();
        insta::assert_snapshot!(error, @"`batch` cannot be 82: it must be a multiple of `per_class`, which is 4, and at least twice as large");
        for error in [ClassBalanced { batch: 1 << 40, per_class: 4 }.check(), Random { batch: 1 << 40 }.check()] {
            assert_eq!(error.unwrap_err().to_string(), "`batch` cannot be 1099511627776: it must be at most 65536");
        }
        assert!(ClassBalanced { batch: 8, per_class: usize::MAX }.check().is_err());
    }

    #[test]
    fn unknown_keys_are_rejected() {
        let parse = |text: &str| serde_json::from_str::<SamplerConfig>(text);
        let parsed = parse(r#"{ "kind": "class_balanced", "per_class": 2 }"#).unwrap();
        assert_eq!(parsed, SamplerConfig::ClassBalanced(ClassBalanced { batch: 80, per_class: 2 }));
        let error = parse(r#"{ "kind": "class_balanced", "perclass": 2 }"#).unwrap_err();
        insta::assert_snapshot!(error, @"unknown field `perclass`, expected `batch` or `per_class`");
    }
}
