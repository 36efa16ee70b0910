//! Student's paired t-test: whether two groups of runs with the same seeds differ by more than chance. The effects that a seed has
//! on both sides alike, such as the order of the images and the initial weights, cancel out.
//!
//! **Formula** d̄ ± t · s/√n over the differences d_i = b_i − a_i, with Student's t of n − 1 degrees of freedom; p is the two-sided
//! probability of t = |d̄| / (s/√n).
//!
//! **Source** Student, *The probable error of a mean*, 1908.

use super::interval::{Interval, central_probability, mean_interval, quantile_975};
use super::paired::Difference;

/// Numbers that differ by no more than this, relative to the largest value, are the same: the rest is rounding.
const SAME: f64 = 1e-12;

/// The mean of `b − a` over seeds, where `a[i]` and `b[i]` have the same seed; `None` for fewer than two seeds, or if all
/// differences are the same and not zero: so few values say nothing about the spread.
///
/// # Panics
/// If `a` and `b` have different lengths.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<Difference> {
    assert_eq!(a.len(), b.len(), "a pair has two values");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let Interval { mean, half_width } = mean_interval(&differences)?;
    let rounding = SAME * a.iter().chain(b).fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if half_width <= rounding {
        return (mean.abs() <= rounding).then_some(Difference { mean: 0.0, interval: (0.0, 0.0), p: 1.0 });
    }
    let freedom = differences.len() - 1;
    let p = 1.0 - central_probability(mean.abs() / half_width * quantile_975(freedom), freedom);
    Some(Difference { mean, interval: (mean - half_width, mean + half_width), p: p.clamp(0.0, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pairs() {
        // Values of scipy.stats.ttest_rel(b, a).
        let check = |a: &[f64], b: &[f64], expected: (f64, f64, f64, f64)| {
            let found = paired_t(a, b).expect("there are two of each");
            let (low, high) = found.interval;
            for (found, expected) in
                [(found.mean, expected.0), (low, expected.1), (high, expected.2), (found.p, expected.3)]
            {
                assert!((found - expected).abs() < 1e-5, "{a:?} {b:?}: {found} is not {expected}");
            }
        };
        check(&[1.0, 2.0, 3.0], &[2.0, 3.0, 5.0], (1.333333, -0.100884, 2.767551, 0.057191));
        check(&[0.40, 0.42], &[0.45, 0.44], (0.035, -0.155593, 0.225593, 0.257762));
        let (a, b) = ([0.2657, 0.2601, 0.2710, 0.2633, 0.2688], [0.2685, 0.2671, 0.2702, 0.2719, 0.2741]);
        check(&a, &b, (0.00458, -0.0000095, 0.0091695, 0.050294));
        check(&[0.5, 0.25], &[0.5, 0.25], (0.0, 0.0, 0.0, 1.0));
        assert_eq!(paired_t(&[0.5, 0.25], &[0.75, 0.5]), None);
        assert_eq!(paired_t(&[1.0], &[2.0]), None);
        // Equal but for rounding: 0.42 − 0.40 is not the same float as 0.44 − 0.42.
        assert_eq!(paired_t(&[0.40, 0.42], &[0.42, 0.44]), None);
        let same = Difference { mean: 0.0, interval: (0.0, 0.0), p: 1.0 };
        assert_eq!(paired_t(&[0.1 + 0.2, 0.5], &[0.3, 0.5]), Some(same));
    }
}
