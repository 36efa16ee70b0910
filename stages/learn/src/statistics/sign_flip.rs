//! Sign-flip permutation test: how often the difference would be as large if the two runs were exchangeable.
//!
//! **Formula** If neither run is better, dᵢ and −dᵢ are equally likely. Each draw flips every sign at random;
//! p = (#{|Σ ±dᵢ| ≥ |Σ dᵢ|} + 1) / (draws + 1).
//!
//! **Source** Good, *Permutation, parametric and bootstrap tests of hypotheses*, 2005, §3.2.

use rand::RngCore;
use rayon::prelude::*;

use crate::streams::Streams;

/// Sums this near to each other, relative to Σ|dᵢ|, are the same but for rounding.
const SAME: f64 = 1e-12;

/// p of `differences` having mean 0, on both sides.
pub fn sign_flip_test(differences: &[f64], draws: usize, streams: &Streams) -> f64 {
    let unequal: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let least = unequal.iter().sum::<f64>().abs() - SAME * unequal.iter().map(|d| d.abs()).sum::<f64>();
    let streams = streams.named("sign flip");
    let flipped = |number: usize| {
        let mut rng = streams.at(number as u64).rng();
        let sum = |chunk: &[f64]| -> f64 {
            let signs = rng.next_u64();
            chunk.iter().enumerate().map(|(i, d)| f64::from_bits(d.to_bits() ^ ((signs >> i) & 1) << 63)).sum()
        };
        unequal.chunks(64).map(sum).sum::<f64>()
    };
    let extreme = (0..draws).into_par_iter().filter(|number| flipped(*number).abs() >= least).count();
    (extreme + 1) as f64 / (draws + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_signs_as_extreme() {
        let check = |differences: &[f64], expected: f64| {
            let found = sign_flip_test(differences, 4000, &Streams::new(1));
            assert!((found - expected).abs() < 0.02, "{differences:?}: {found} is not {expected}");
        };
        // Of 2⁵ signs two are as extreme; of 1 + 1 − 1's eight, all: |sum| is 1 or 3.
        check(&[1.0; 5], 2.0 / 32.0);
        check(&[1.0, 1.0, -1.0, 0.0], 1.0);
        check(&[0.0; 9], 1.0);
        check(&[3.0, 1.0], 0.5);
        check(&[1.0; 80], 0.0);
    }
}
