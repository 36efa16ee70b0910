//! What an embedding is for.

use clap::ValueEnum;

/// What the embedding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    /// Retrieval among the images of unseen classes
    Retrieval,
    /// Many classes with few images each, as in Stanford Online Products
    Sop,
    /// Re-identification: queries are searched in a gallery, across cameras if the images have any
    Reid,
    /// Few-shot classification of unseen classes
    FewShot,
}
