//! Samplers: which settings a sweep tries.
//!
//! A proposal is a function of the sampler's seed, the number of the trial and the results of earlier trials, in the order of
//! their numbers. A sweep that goes on after a kill therefore proposes what an uninterrupted one would have.
//!
//! To add a sampler: write its file with an `impl Sampler`, and add a line to [`Method`] and to its [`sampler`](Method::sampler).

mod grid;
mod random;
mod sampler;
mod sobol;
mod tpe;

use std::collections::HashSet;

use dnc_learn::streams::Streams;

use super::space::{Point, Space};
use grid::Grid;
use random::Random;
pub use sampler::{Sampler, Told};
pub use sobol::MOST_KEYS;
use sobol::Sobol;
use tpe::Tpe;
pub use tpe::TpeSettings;

/// How settings are proposed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Every combination of values.
    Grid,
    /// Independent draws.
    Random,
    /// Draws that fill the space evenly.
    Sobol,
    /// Draws near the best trials so far.
    Tpe(TpeSettings),
}

impl Method {
    /// The names in sweeps.
    pub const NAMES: [&'static str; 4] = ["grid", "random", "sobol", "tpe"];

    /// The name in sweeps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
            Self::Sobol => "sobol",
            Self::Tpe(_) => "tpe",
        }
    }

    /// The sampler of a space.
    pub fn sampler<'s>(self, space: &'s Space, seed: u64) -> Box<dyn Sampler + 's> {
        let streams = Streams::new(seed).named("sweep");
        match self {
            Self::Grid => Box::new(Grid { space }),
            Self::Random => Box::new(Random::new(space, &streams)),
            Self::Sobol => Box::new(Sobol::new(space, &streams)),
            Self::Tpe(settings) => Box::new(Tpe::new(space, &streams, settings)),
        }
    }
}

/// Attempts to find a setting that was not tried. In a space with few settings, most draws repeat one.
const ATTEMPTS: u32 = 200;

/// The point of trial `number`, given the trials that the sampler needs. Its setting is none of those `tried`, unless a continuous range
/// is so narrow that it has fewer values of a few digits than there are trials.
///
/// A space without continuous ranges has a setting that was not tried.
pub fn propose(
    space: &Space,
    sampler: &dyn Sampler,
    number: usize,
    tried: &HashSet<Vec<String>>,
    told: &[Told],
) -> Point {
    let is_new = |point: &Point| !tried.contains(&space.texts(point));
    let draw = |attempt: u32| space.snap(&sampler.propose(number, attempt, told));
    if let Some(new) = (0..ATTEMPTS).map(draw).find(is_new) {
        return new;
    }
    let Some(size) = space.size() else { return draw(0) };
    let mut all = (0..size).map(|number| space.grid_point(number));
    all.find(is_new).expect("the caller asks for as many trials as there are")
}

#[cfg(test)]
mod tests;
