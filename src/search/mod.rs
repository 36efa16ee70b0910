//! Image search: the nearest images of a run to any picture, by the run's own model.
//!
//! A picture goes through what the run's images went through: the decoding of its `decode` stage, then the resizing, cropping and
//! normalisation of its `evaluate` stage. An image of the run therefore finds itself at distance 0. Neighbours are exact, unless an
//! index is asked for.
//!
//! **Reading order** [`hit`] (what is searched and what is found), [`RunModel`] (embeds pictures), [`Searcher`], `subspaces`
//! (distances with a weight per learner), `files` (pictures outside of the run, whose embeddings are kept in the store), `indexed`
//! (approximate search), [`Crop`].

mod crop;
mod error;
mod files;
mod hit;
mod indexed;
mod run_model;
mod searcher;
mod subspaces;

pub use crop::Crop;
pub use error::SearchError;
pub use hit::{Hit, Within};
pub use run_model::RunModel;
pub use searcher::Searcher;
pub use subspaces::Space;
