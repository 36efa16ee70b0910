//! N-pairs: two images of each of B/2 classes.
//!
//! Source: Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", section 3.2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BatchSampler, ClassBalanced};
use crate::error::Result;
use crate::streams::Streams;

/// Two images of each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NPairs {
    /// B: images a batch.
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
