//! Tree-structured Parzen estimator (TPE): draws settings that are likely among the best trials and unlikely among the others.
//!
//! The first trials, from a Sobol sequence, are independent of results. Then the trials so far are divided into the best share γ
//! and the rest, and each key has two densities: l of the best and g of the rest. Of several draws from l, the one with the
//! largest l/g is taken, for each key by itself.
//!
//! **Formula** for numbers, with centres xᵢ and the prior's centre ½ in the unit interval, l(x) = 1/(n + 1) Σ k((x − xᵢ)/σᵢ), where σᵢ is the larger
//! distance to a neighbouring centre, at least 1/min(100, n + 2) and at most 1, and σ = 1 for the prior; for V unordered values,
//! l(v) = 1/(n + 1) (1/V + Σ k(v, vᵢ)), where k is (n + 2)/(n + 1 + V) for the centre's own value and 1/(n + 1 + V) for others.
//!
//! **Source** Bergstra, Bardenet, Bengio and Kégl, *Algorithms for hyper-parameter optimization*, NIPS 2011, section 4;
//! bandwidths as in its reference implementation, hyperopt; γ = 0.1 and the kernel of unordered values as in Optuna (Akiba et al., KDD 2019).
//!
//! Deviation: the kernel k is logistic instead of Gaussian, with the same standard deviation: its distribution function and the
//! inverse have closed forms. The first trials are from a Sobol sequence instead of independent draws. Failed trials are among
//! the rest, so that settings that diverge are avoided.

use std::f64::consts::PI;

use dnc_learn::streams::Streams;

use super::sampler::{Sampler, Told, uniform};
use super::sobol::Sobol;
use crate::sweep::space::{Point, Range, Space};

/// Share of the trials that are the best.
const GAMMA: f64 = 0.1;
/// Number of draws from l.
const CANDIDATES: u64 = 24;

/// `[tpe]` in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TpeSettings {
    /// Number of first trials that do not depend on results.
    pub startup: usize,
    /// Number of trials that are proposed from the same results, and so can run at once.
    pub batch: usize,
}

impl Default for TpeSettings {
    fn default() -> Self {
        Self { startup: 10, batch: 1 }
    }
}

pub(super) struct Tpe<'s> {
    space: &'s Space,
    first: Sobol,
    streams: Streams,
    settings: TpeSettings,
}

impl<'s> Tpe<'s> {
    pub(super) fn new(space: &'s Space, streams: &Streams, settings: TpeSettings) -> Self {
        Self { space, first: Sobol::new(space, streams), streams: streams.named("tpe"), settings }
    }
}

impl Sampler for Tpe<'_> {
    fn needs(&self, number: usize) -> usize {
        let TpeSettings { startup, batch } = self.settings;
        number.checked_sub(startup).map_or(0, |after| startup + after / batch * batch)
    }

    fn propose(&self, number: usize, attempt: u32, told: &[Told]) -> Point {
        let (best, rest) = divide(told);
        if best.is_empty() {
            return self.first.propose(number, attempt, told);
        }
        let trial = self.streams.at(number as u64).at(attempt.into());
        let coordinate = |(key, range): (usize, &Range)| {
            let of_key = |trials: &[&Told]| trials.iter().map(|told| told.point[key]).collect::<Vec<f64>>();
            let (l, g) = (Density::new(range, of_key(&best)), Density::new(range, of_key(&rest)));
            let draws = (0..CANDIDATES).map(|draw| l.draw(&trial.at(key as u64).at(draw)));
            let ratio = |&x: &f64| l.at(x).ln() - g.at(x).ln();
            draws.max_by(|a, b| ratio(a).total_cmp(&ratio(b))).expect("there are several draws")
        };
        self.space.dimensions.iter().map(|dimension| &dimension.range).enumerate().map(coordinate).collect()
    }
}

/// The best trials, and the rest. Of equally good ones, the earlier is the better.
fn divide(told: &[Told]) -> (Vec<&Told>, Vec<&Told>) {
    let mut order: Vec<&Told> = told.iter().collect();
    let score = |told: &Told| told.score.unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let succeeded = order.iter().filter(|told| told.score.is_some()).count();
    let best = (GAMMA * told.len() as f64).ceil() as usize;
    let rest = order.split_off(best.min(succeeded));
    (order, rest)
}

/// The density of one key.
enum Density {
    /// Probability of each unordered value.
    Values(Vec<f64>),
    /// Kernels of a number, equally weighted.
    Numbers(Vec<Kernel>),
}

/// A logistic distribution, cut to the unit interval.
struct Kernel {
    centre: f64,
    scale: f64,
}

impl Density {
    fn new(range: &Range, mut coordinates: Vec<f64>) -> Self {
        let total = coordinates.len() as f64 + 1.0;
        if let Range::Levels { texts, ordered: false } = range {
            let values = texts.len() as f64;
            // The prior's part, and what every centre gives each value.
            let elsewhere = 1.0 / (total + values);
            let mut probabilities = vec![(1.0 / values + coordinates.len() as f64 * elsewhere) / total; texts.len()];
            // Coordinates are those in the middle of a value.
            coordinates.iter().for_each(|x| probabilities[(x * values) as usize] += elsewhere);
            return Self::Values(probabilities);
        }
        const PRIOR: f64 = 0.5;
        coordinates.push(PRIOR);
        coordinates.sort_by(f64::total_cmp);
        let least = 1.0 / 100.0_f64.min(total + 1.0);
        let deviation = |index: usize, x: f64| {
            let below = index.checked_sub(1).map_or(0.0, |before| coordinates[before]);
            let above = coordinates.get(index + 1).copied().unwrap_or(1.0);
            (x - below).max(above - x).clamp(least, 1.0)
        };
        let prior = coordinates.iter().position(|&x| x == PRIOR);
        let kernels = coordinates.iter().enumerate().map(|(index, &centre)| {
            let deviation = if prior == Some(index) { 1.0 } else { deviation(index, centre) };
            Kernel { centre, scale: deviation * 3.0_f64.sqrt() / PI }
        });
        Self::Numbers(kernels.collect())
    }

    fn draw(&self, stream: &Streams) -> f64 {
        let (which, place) = (uniform(&stream.named("which")), uniform(&stream.named("place")));
        match self {
            Self::Values(probabilities) => {
                let mut sum = 0.0;
                let drawn = probabilities.iter().position(|probability| {
                    sum += probability;
                    which < sum
                });
                let count = probabilities.len();
                (drawn.unwrap_or(count - 1) as f64 + 0.5) / count as f64
            }
            Self::Numbers(kernels) => {
                kernels[((which * kernels.len() as f64) as usize).min(kernels.len() - 1)].quantile(place)
            }
        }
    }

    fn at(&self, x: f64) -> f64 {
        match self {
            Self::Values(probabilities) => {
                let count = probabilities.len();
                probabilities[((x * count as f64) as usize).min(count - 1)]
            }
            Self::Numbers(kernels) => {
                kernels.iter().map(|kernel| kernel.density(x)).sum::<f64>() / kernels.len() as f64
            }
        }
    }
}

impl Kernel {
    /// The distribution function before it is cut.
    fn cumulative(&self, x: f64) -> f64 {
        1.0 / (1.0 + ((self.centre - x) / self.scale).exp())
    }

    fn density(&self, x: f64) -> f64 {
        let below = self.cumulative(x);
        below * (1.0 - below) / self.scale / (self.cumulative(1.0) - self.cumulative(0.0))
    }

    fn quantile(&self, share: f64) -> f64 {
        let (low, high) = (self.cumulative(0.0), self.cumulative(1.0));
        let below = low + share * (high - low);
        (self.centre + self.scale * (below / (1.0 - below)).ln()).clamp(0.0, 1.0)
    }
}
