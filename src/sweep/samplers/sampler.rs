//! The trait of samplers.

use dnc_learn::streams::Streams;

use crate::sweep::space::Point;

/// Proposes the settings of trials.
pub trait Sampler {
    /// Number of trials, from the first, whose results must be known before trial `number` is proposed.
    fn needs(&self, number: usize) -> usize {
        let _ = number;
        0
    }

    /// A point for trial `number`, given the trials that it [`needs`](Sampler::needs). Each `attempt` gives another one.
    fn propose(&self, number: usize, attempt: u32, told: &[Told]) -> Point;
}

/// A trial that a sampler learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its settings.
    pub point: Point,
    /// How good it is, more being better; `None` if it failed.
    pub score: Option<f64>,
}

/// A number from 0 to below 1 that is random for each stream.
pub(super) fn uniform(stream: &Streams) -> f64 {
    // The 53 bits of a float's mantissa.
    (stream.seed() >> 11) as f64 / (1_u64 << 53) as f64
}
