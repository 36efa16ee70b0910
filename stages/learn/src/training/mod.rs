//! Training: the batches of an epoch, and one optimiser step of one learner.
//!
//! **Reading order** [`epoch_batches`], then [`Method`].
//!
//! Source: DC19, algorithm 1; DC21.

mod batches;
mod method;

pub use batches::{LearnerBatch, epoch_batches};
pub use method::{Method, StepInput, StepStatistics};

#[cfg(test)]
mod tests;
