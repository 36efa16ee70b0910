//! What an artifact holds, so that a port only takes what it can read.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of artifact. The tables' columns are in `tables`, a file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Decoded images with their labels and splits.
    Images,
    /// The plan of each augmentation.
    Views,
    /// Embedding vectors, a row an image.
    Embeddings,
    /// Which cluster each training image belongs to.
    Assignments,
    /// Named tensors of a network, and the optimiser's moments beside them.
    Model,
    /// Loss terms, step by step.
    History,
    /// Named values, sorted.
    Metrics,
    /// Per query what a paired test needs.
    Queries,
    /// Any files: what a `command` reads or writes without saying more.
    Files,
}

impl Kind {
    /// Every kind, in the order of the pipeline.
    pub const ALL: [Kind; 9] = [
        Kind::Images,
        Kind::Views,
        Kind::Embeddings,
        Kind::Assignments,
        Kind::Model,
        Kind::History,
        Kind::Metrics,
        Kind::Queries,
        Kind::Files,
    ];

    /// The name in manifests and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Views => "views",
            Kind::Embeddings => "embeddings",
            Kind::Assignments => "assignments",
            Kind::Model => "model",
            Kind::History => "history",
            Kind::Metrics => "metrics",
            Kind::Queries => "queries",
            Kind::Files => "files",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
