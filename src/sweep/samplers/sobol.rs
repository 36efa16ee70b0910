//! Sobol sequence with Owen scrambling: of the first 2ⁿ trials, each of the 2ⁿ equal parts of every key's range has one.
//!
//! **Source** Sobol 1967; Owen, *Randomly permuted (t,m,s)-nets and (t,s)-sequences*, 1995; the crate `sobol_burley` after Burley,
//! *Practical hash-based Owen scrambling*, JCGT 2020.

use dnc_learn::streams::Streams;

use super::sampler::{Sampler, Told};
use crate::sweep::space::{Point, Space};

/// The most keys that a space may have.
pub const MOST_KEYS: usize = sobol_burley::NUM_DIMENSIONS as usize;

pub(super) struct Sobol {
    keys: u32,
    seed: u32,
}

impl Sobol {
    pub(super) fn new(space: &Space, streams: &Streams) -> Self {
        // The upper half is as random as the lower one.
        let seed = (streams.named("sobol").seed() >> 32) as u32;
        Self { keys: space.dimensions.len() as u32, seed }
    }
}

impl Sampler for Sobol {
    /// A setting that was tried, which only a space with few settings has, is passed over.
    fn propose(&self, number: usize, attempt: u32, _told: &[Told]) -> Point {
        let index = number as u32 + attempt;
        (0..self.keys).map(|key| sobol_burley::sample(index, key, self.seed).into()).collect()
    }
}
