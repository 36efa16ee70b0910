//! Random search: every trial is drawn independently, uniformly or log-uniformly.
//!
//! **Source** Bergstra and Bengio, *Random search for hyper-parameter optimization*, JMLR 2012.

use dnc_learn::streams::Streams;

use super::sampler::{Sampler, Told, uniform};
use crate::sweep::space::{Point, Space};

pub(super) struct Random {
    keys: usize,
    streams: Streams,
}

impl Random {
    pub(super) fn new(space: &Space, streams: &Streams) -> Self {
        Self { keys: space.dimensions.len(), streams: streams.named("random") }
    }
}

impl Sampler for Random {
    fn propose(&self, number: usize, attempt: u32, _told: &[Told]) -> Point {
        let trial = self.streams.at(number as u64).at(attempt.into());
        (0..self.keys).map(|key| uniform(&trial.at(key as u64))).collect()
    }
}
