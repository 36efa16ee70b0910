//! Sign-flip permutation test: how often the difference would be at least as large if the two runs were exchangeable.
//!
//! **Formula** If neither run is better, dᵢ and −dᵢ are equally likely. Each draw flips every sign at random, and
//! p = (#{|Σ ±dᵢ| ≥ |Σ dᵢ|} + 1) / (draws + 1).
//!
//! **Source** Good, *Permutation, parametric and bootstrap tests of hypotheses*, 2005, §3.2.

use rand::RngCore;
use rayon::prelude::*;

use super::paired::{Block, LANES, add, blocks};
use crate::streams::Streams;

/// Sums that differ by no more than this, relative to Σ|dᵢ|, count as equal, because of `f32` rounding.
const SAME: f64 = 1e-6;

/// Two-sided p-value of each metric of `differences`, `[metrics, queries]`, for the hypothesis that its mean is 0.
///
/// # Panics
/// If there is no query, or the metrics have different numbers of queries.
pub fn sign_flip_test(differences: &[Vec<f64>], draws: usize, streams: &Streams) -> Vec<f64> {
    let streams = streams.named("sign flip");
    let mut p = Vec::with_capacity(differences.len());
    for (block, metrics) in blocks(differences).iter().zip(differences.chunks(LANES)) {
        let least = |metric: &Vec<f64>| {
            metric.iter().sum::<f64>().abs() - SAME * metric.iter().map(|difference| difference.abs()).sum::<f64>()
        };
        let least: Vec<f64> = metrics.iter().map(least).collect();
        let flipped = |number: usize| flipped(block, &mut streams.at(number as u64).rng());
        let drawn: Vec<[f64; LANES]> = (0..draws).into_par_iter().map(flipped).collect();
        p.extend(least.iter().enumerate().map(|(lane, least)| {
            let extreme = drawn.iter().filter(|sums| sums[lane].abs() >= *least).count();
            (extreme + 1) as f64 / (draws + 1) as f64
        }));
    }
    p
}

/// The sum of all differences with random signs, for each metric.
fn flipped(block: &Block, rng: &mut impl RngCore) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for rows in block.rows.chunks(64) {
        let signs = rng.next_u64();
        let mut chunk = [0.0; LANES];
        for (bit, row) in rows.iter().enumerate() {
            let sign = ((signs >> bit) as u32 & 1) << 31;
            let signed = row.map(|difference| f32::from_bits(difference.to_bits() ^ sign));
            chunk.iter_mut().zip(signed).for_each(|(sum, difference)| *sum += difference);
        }
        add(&mut sums, chunk);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_the_share_of_sums_that_are_as_extreme() {
        let check = |differences: &[f64], expected: f64| {
            let found = sign_flip_test(&[differences.to_vec()], 4000, &Streams::new(1))[0];
            assert!((found - expected).abs() < 0.02, "{differences:?}: {found} is not {expected}");
        };
        // For five ones, 2 of the 2⁵ sums are as extreme; for 1 + 1 − 1, all eight are: |sum| is 1 or 3.
        check(&[1.0; 5], 2.0 / 32.0);
        check(&[1.0, 1.0, -1.0, 0.0], 1.0);
        check(&[0.0; 9], 1.0);
        check(&[3.0, 1.0], 0.5);
        check(&[0.1, 0.7], 0.5);
        check(&[1.0; 80], 0.0);
    }

    #[test]
    fn every_metric_has_its_own_p() {
        let found =
            sign_flip_test(&[vec![1.0; 5], vec![0.0; 5], vec![3.0, 1.0, 0.0, 0.0, 0.0]], 4000, &Streams::new(2));
        for (found, expected) in found.iter().zip([2.0 / 32.0, 1.0, 0.5]) {
            assert!((found - expected).abs() < 0.02, "{found} is not {expected}");
        }
    }
}
