//! What an artifact holds, and everything that follows from it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an artifact holds, so that a port accepts only what it can read. The columns of each kind are in the file of its
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Decoded images with their labels and splits.
    Images,
    /// What a data set contains, what was left out, and what is suspicious.
    Summary,
    /// The parameters of each augmented view.
    Views,
    /// Embedding vectors, one row per image.
    Embeddings,
    /// Embeddings ordered for approximate search.
    Index,
    /// The cluster of each training image.
    Assignments,
    /// Named tensors of a network, and the state of its optimiser.
    Model,
    /// Loss terms of each training step.
    History,
    /// Metrics of a model.
    Metrics,
    /// The results of each query, for paired tests.
    Queries,
    /// What each query finds when the images are perturbed.
    Nuisances,
    /// Any files: what a `command` reads or writes without a schema.
    Files,
}

impl ArtifactKind {
    /// Every kind, in the order of the pipeline.
    pub const ALL: [ArtifactKind; 12] = [
        ArtifactKind::Images,
        ArtifactKind::Summary,
        ArtifactKind::Views,
        ArtifactKind::Embeddings,
        ArtifactKind::Index,
        ArtifactKind::Assignments,
        ArtifactKind::Model,
        ArtifactKind::History,
        ArtifactKind::Metrics,
        ArtifactKind::Queries,
        ArtifactKind::Nuisances,
        ArtifactKind::Files,
    ];

    /// The name in manifests and messages, which is also the name of the main table.
    pub fn name(self) -> &'static str {
        match self {
            ArtifactKind::Images => "images",
            ArtifactKind::Summary => "summary",
            ArtifactKind::Views => "views",
            ArtifactKind::Embeddings => "embeddings",
            ArtifactKind::Index => "index",
            ArtifactKind::Assignments => "assignments",
            ArtifactKind::Model => "model",
            ArtifactKind::History => "history",
            ArtifactKind::Metrics => "metrics",
            ArtifactKind::Queries => "queries",
            ArtifactKind::Nuisances => "nuisances",
            ArtifactKind::Files => "files",
        }
    }

    /// Whether its bytes are dropped from the store when they are no longer needed, under `retain = "last"`: large, and
    /// cheap to make again relative to their size.
    pub fn is_large(self) -> bool {
        matches!(self, ArtifactKind::Model | ArtifactKind::Embeddings | ArtifactKind::Index)
    }

    /// Whether a run reports it: its table is copied into the run's folder, and the node that writes it is a goal of the
    /// run even if another node reads it.
    pub fn is_reported(self) -> bool {
        matches!(self, ArtifactKind::Metrics | ArtifactKind::Queries)
    }

    /// Whether it contains warnings that every run shows, also if the node that found them is a hit. Its table is copied into the
    /// run's folder.
    pub fn has_warnings(self) -> bool {
        self == ArtifactKind::Summary
    }

    /// Whether it divides the images among learners. With a single learner there is nothing to divide, and the plan leaves
    /// such an input empty where the stage can do without it.
    pub fn is_division(self) -> bool {
        self == ArtifactKind::Assignments
    }

    /// Whether a port of this kind accepts an artifact of `other`: the same kind, or any if the port takes plain files.
    pub fn accepts(self, other: ArtifactKind) -> bool {
        self == other || self == ArtifactKind::Files
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
