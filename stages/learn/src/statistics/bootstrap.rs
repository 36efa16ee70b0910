//! Paired bootstrap: how far the mean difference between two runs might lie from what these queries show.
//!
//! **Formula** With the differences dᵢ of n queries, each draw takes n of them with replacement; the 95 % interval are the 2.5 % and
//! 97.5 % quantiles of the draws' means, and p = 2 · min(#{mean ≤ 0} + 1, #{mean ≥ 0} + 1) / (draws + 1), at most 1.
//!
//! **How** Each draw has its own stream, so neither order nor threads matter. Queries on which both runs agree, mostly nearly
//! all, add nothing: they are sorted to the end and are drawn without being looked up.
//!
//! **Source** Efron and Tibshirani, *An introduction to the bootstrap*, 1993, §13.3 and 15.4.

use rand::RngCore;
use rayon::prelude::*;

use crate::streams::Streams;

/// A mean difference with what the bootstrap says about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDifference {
    /// The mean of the differences.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// How often chance alone would give as much, on both sides.
    pub p: f64,
}

/// Resamples `differences` `draws` times.
///
/// Means of draws are in `f64` of differences in `f32`: their rounding is far below what a draw varies.
///
/// # Panics
/// If there is no difference or no draw.
pub fn paired_bootstrap(differences: &[f64], draws: usize, streams: &Streams) -> PairedDifference {
    assert!(!differences.is_empty() && draws > 0, "a bootstrap needs differences and draws");
    let n = differences.len() as f64;
    let unequal: Vec<f32> = differences.iter().filter(|d| **d != 0.0).map(|d| *d as f32).collect();
    let streams = streams.named("bootstrap");
    let draw = |number: usize| mean_of_draw(&unequal, differences.len(), &mut streams.at(number as u64).rng());
    let mut means: Vec<f64> = (0..draws).into_par_iter().map(draw).collect();
    means.sort_unstable_by(f64::total_cmp);
    let below = means.iter().filter(|mean| **mean <= 0.0).count();
    let above = means.iter().filter(|mean| **mean >= 0.0).count();
    let quantile = |share: f64| means[(share * (draws - 1) as f64).round() as usize];
    PairedDifference {
        mean: differences.iter().sum::<f64>() / n,
        interval: (quantile(0.025), quantile(0.975)),
        p: (2.0 * (below.min(above) + 1) as f64 / (draws + 1) as f64).min(1.0),
    }
}

/// The mean of `count` differences drawn with replacement; those beyond `unequal` are zero.
fn mean_of_draw(unequal: &[f32], count: usize, rng: &mut impl RngCore) -> f64 {
    /// Random bytes that are made at once.
    const CHUNK: usize = 1024;
    let mut bytes = [0; 4 * CHUNK];
    let mut sum = 0.0;
    for start in (0..count).step_by(CHUNK) {
        let length = CHUNK.min(count - start);
        rng.fill_bytes(&mut bytes[..4 * length]);
        for word in bytes[..4 * length].as_chunks::<4>().0 {
            // A number below `count`, even up to count / 2³².
            let index = (u64::from(u32::from_le_bytes(*word)) * count as u64) >> 32;
            sum += unequal.get(index as usize).map_or(0.0, |d| f64::from(*d));
        }
    }
    sum / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_normal_distribution_of_many_queries() {
        // 200 wins, 100 losses and 700 ties: mean 0.1, variance 0.3 − 0.01.
        let differences: Vec<f64> = (0..1000)
            .map(|i| {
                if i < 200 {
                    1.0
                } else if i < 300 {
                    -1.0
                } else {
                    0.0
                }
            })
            .collect();
        let found = paired_bootstrap(&differences, 4000, &Streams::new(1));
        let half_width = 1.96 * (0.29f64 / 1000.0).sqrt();
        assert!((found.mean - 0.1).abs() < 1e-12 && found.p < 0.001, "{found:?}");
        assert!((found.interval.0 - (0.1 - half_width)).abs() < 0.004, "{found:?}");
        assert!((found.interval.1 - (0.1 + half_width)).abs() < 0.004, "{found:?}");
    }

    #[test]
    fn no_difference_is_no_difference() {
        let found = paired_bootstrap(&[0.0; 50], 100, &Streams::new(2));
        assert_eq!(found, PairedDifference { mean: 0.0, interval: (0.0, 0.0), p: 1.0 });
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let differences: Vec<f64> = (0..3000).map(|i| f64::from(i % 7 - 3) * 0.1).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| paired_bootstrap(&differences, 300, &Streams::new(3)))
        };
        assert_eq!(run(1), run(3));
    }
}
