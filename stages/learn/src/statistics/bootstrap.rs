//! Paired bootstrap: confidence interval of the mean difference between two runs over queries.
//!
//! **Formula** With the differences dᵢ of n queries, each draw takes n of them with replacement. The 95 % interval is that between
//! the 2.5 % and 97.5 % quantiles of the draws' means, and p = 2 · min(#{mean ≤ 0} + 1, #{mean ≥ 0} + 1) / (draws + 1), at most 1.
//!
//! **Implementation** Each draw has its own random stream, so the result depends neither on the order nor on the number of threads;
//! it draws queries for all metrics at once. Queries on which both runs agree, often nearly all, are not stored: an index beyond the
//! end of the rows stands for one of them. A single metric has rows of one value, eight times as many of which fit into the cache.
//!
//! **Source** Efron and Tibshirani, *An introduction to the bootstrap*, 1993, §13.3 and 15.4.

use rand::RngCore;
use rayon::prelude::*;

use super::paired::{Block, CHUNK, Difference, add, blocks};
use crate::streams::Streams;

/// Resamples the queries of `differences`, `[metrics, queries]`, `draws` times, and returns one result per metric.
///
/// The means of draws are computed from `f32` differences; the rounding error is far below the variation between draws.
///
/// # Panics
/// If there is no query or no draw, or the metrics have different numbers of queries.
pub fn paired_bootstrap(differences: &[Vec<f64>], draws: usize, streams: &Streams) -> Vec<Difference> {
    assert!(draws > 0, "a bootstrap needs at least one draw");
    let streams = streams.named("bootstrap");
    let mut means = Vec::with_capacity(differences.len());
    for Block { rows, queries, metrics } in blocks(differences) {
        means.extend(match metrics {
            1 => means_of_draws(&rows.iter().map(|row| [row[0]]).collect::<Vec<_>>(), queries, draws, &streams),
            _ => means_of_draws(&rows, queries, draws, &streams),
        });
    }
    means.truncate(differences.len());
    let mean = |metric: &Vec<f64>| metric.iter().sum::<f64>() / metric.len() as f64;
    differences.iter().zip(means).map(|(metric, means)| summary(mean(metric), means)).collect()
}

/// The result for one metric: its observed mean, and the interval and p-value from the means of all draws.
fn summary(mean: f64, mut means: Vec<f64>) -> Difference {
    means.sort_unstable_by(f64::total_cmp);
    let draws = means.len();
    let below = means.iter().filter(|mean| **mean <= 0.0).count();
    let above = means.iter().filter(|mean| **mean >= 0.0).count();
    let quantile = |share: f64| means[(share * (draws - 1) as f64).round() as usize];
    Difference {
        mean,
        interval: (quantile(0.025), quantile(0.975)),
        p: (2.0 * (below.min(above) + 1) as f64 / (draws + 1) as f64).min(1.0),
    }
}

/// The means of all draws for each lane; lanes beyond the metrics of a block are zero.
fn means_of_draws<const WIDTH: usize>(
    rows: &[[f32; WIDTH]],
    queries: usize,
    draws: usize,
    streams: &Streams,
) -> Vec<Vec<f64>> {
    let draw = |number: usize| mean_of_draw(rows, queries, &mut streams.at(number as u64).rng());
    let drawn: Vec<[f64; WIDTH]> = (0..draws).into_par_iter().map(draw).collect();
    (0..WIDTH).map(|lane| drawn.iter().map(|means| means[lane]).collect()).collect()
}

/// The mean difference of one draw for each metric: as many queries as there are, drawn with replacement.
fn mean_of_draw<const WIDTH: usize>(rows: &[[f32; WIDTH]], queries: usize, rng: &mut impl RngCore) -> [f64; WIDTH] {
    /// Number of independent partial sums, so that additions do not wait for each other.
    const PARTIAL_SUMS: usize = 4;
    if rows.is_empty() {
        return [0.0; WIDTH];
    }
    // Maps a 32-bit word to a query number; all are equally likely up to a deviation of queries / 2³².
    let row = |word: &[u8; 4]| {
        let query = (u64::from(u32::from_le_bytes(*word)) * queries as u64) >> 32;
        rows.get(query as usize).unwrap_or(&[0.0; WIDTH])
    };
    let mut bytes = [0; 4 * CHUNK];
    let mut sums = [0.0; WIDTH];
    for start in (0..queries).step_by(CHUNK) {
        let bytes = &mut bytes[..4 * CHUNK.min(queries - start)];
        rng.fill_bytes(bytes);
        let mut partial = [[0.0; WIDTH]; PARTIAL_SUMS];
        for words in bytes.as_chunks::<4>().0.chunks(PARTIAL_SUMS) {
            for (sum, word) in partial.iter_mut().zip(words) {
                sum.iter_mut().zip(row(word)).for_each(|(sum, difference)| *sum += difference);
            }
        }
        partial.into_iter().for_each(|chunk| add(&mut sums, chunk));
    }
    sums.map(|sum| sum / queries as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(differences: Vec<f64>, draws: usize, seed: u64) -> Difference {
        paired_bootstrap(&[differences], draws, &Streams::new(seed))[0]
    }

    #[test]
    fn the_interval_is_that_of_the_normal_distribution_for_many_queries() {
        // 200 wins, 100 losses and 700 ties: mean 0.1, variance 0.3 − 0.01.
        let differences = [vec![1.0; 200], vec![-1.0; 100], vec![0.0; 700]].concat();
        let found = one(differences, 4000, 1);
        let half_width = 1.96 * (0.29f64 / 1000.0).sqrt();
        assert!((found.mean - 0.1).abs() < 1e-12 && found.p < 0.001, "{found:?}");
        assert!((found.interval.0 - (0.1 - half_width)).abs() < 0.004, "{found:?}");
        assert!((found.interval.1 - (0.1 + half_width)).abs() < 0.004, "{found:?}");
    }

    #[test]
    fn equal_runs_have_no_difference() {
        let found = one(vec![0.0; 50], 100, 2);
        assert_eq!(found, Difference { mean: 0.0, interval: (0.0, 0.0), p: 1.0 });
    }

    #[test]
    fn every_metric_has_its_own_result() {
        let metric = |shift: usize| (0..500).map(|query| ((query + shift) % 5) as f64 - 1.9).collect::<Vec<f64>>();
        let together = paired_bootstrap(&(0..10).map(metric).collect::<Vec<_>>(), 200, &Streams::new(4));
        assert_eq!(together.len(), 10);
        // No query is a tie, so a single metric has the same draws.
        assert_eq!(together[9], one(metric(9), 200, 4));
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let differences = vec![(0..3000).map(|i| f64::from(i % 7 - 3) * 0.1).collect()];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| paired_bootstrap(&differences, 300, &Streams::new(3)))
        };
        assert_eq!(run(1), run(3));
    }
}
