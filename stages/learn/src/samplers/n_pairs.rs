//! N-pairs: two images from each of B/2 classes.
//!
//! Source: Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", section 3.2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::class_balanced::ClassBalanced;
use super::sampler::BatchSampler;
use crate::error::Result;
use crate::streams::Streams;

/// Two images from each class of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NPairs {
    /// B: batch size.
    pub batch: usize,
}

impl Default for NPairs {
    fn default() -> Self {
        Self { batch: 80 }
    }
}

impl NPairs {
    fn balanced(&self) -> ClassBalanced {
        ClassBalanced { batch: self.batch, per_class: 2 }
    }
}

impl BatchSampler for NPairs {
    fn epoch(&self, labels: &[u32], streams: &Streams) -> Result<Vec<Vec<u32>>> {
        self.balanced().epoch(labels, streams)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn check(&self) -> Result<()> {
        self.balanced().check()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_batch_has_one_pair_per_class() {
        // Twelve classes of 2 to 5 images.
        let labels: Vec<u32> = (0..12).flat_map(|class| vec![class; 2 + class as usize % 4]).collect();
        let batches = NPairs { batch: 20 }.epoch(&labels, &Streams::new(0)).unwrap();
        assert_eq!(batches.len(), labels.len() / 20);
        for batch in batches {
            assert_eq!(BTreeSet::from_iter(&batch).len(), 20, "no image twice");
            let mut of_class = BTreeMap::<u32, usize>::new();
            batch.iter().for_each(|&image| *of_class.entry(labels[image as usize]).or_default() += 1);
            assert_eq!(of_class.len(), 10);
            assert!(of_class.values().all(|&count| count == 2), "{of_class:?}");
        }
    }
}
