//! Welch's t-test: whether the means of two groups of runs differ by more than chance, without pairing their seeds.
//!
//! **Formula** (b̄ − ā) ± t · √(s_a²/n_a + s_b²/n_b), with Student's t of
//! ν = (s_a²/n_a + s_b²/n_b)² / (s_a⁴/(n_a²(n_a−1)) + s_b⁴/(n_b²(n_b−1))) degrees of freedom; p is the two-sided probability of
//! t = |b̄ − ā| / √(…).
//!
//! **Source** Welch, *The generalization of 'Student's' problem when several different population variances are involved*, 1947.
//!
//! `Deviation:` ν is rounded down to a whole number, which makes the interval slightly wider.

use super::interval::{central_probability, quantile_975};
use super::paired::Difference;

/// A ν this close below a whole number is treated as that number, because the gap is a rounding error.
const WHOLE: f64 = 1e-9;

/// The difference of the means of `b` and `a`, each with one value per seed; `None` for fewer than two values of either.
pub fn welch(a: &[f64], b: &[f64]) -> Option<Difference> {
    let ((mean_a, error_a), (mean_b, error_b)) = (mean_and_error(a)?, mean_and_error(b)?);
    let (mean, error) = (mean_b - mean_a, error_a + error_b);
    if error == 0.0 {
        // Neither group varies: there is no uncertainty.
        return Some(Difference { mean, interval: (mean, mean), p: if mean == 0.0 { 1.0 } else { 0.0 } });
    }
    let of_one = |error: f64, values: &[f64]| error.powi(2) / (values.len() - 1) as f64;
    let freedom = ((error.powi(2) / (of_one(error_a, a) + of_one(error_b, b))) + WHOLE).floor().max(1.0) as usize;
    let half_width = quantile_975(freedom) * error.sqrt();
    let p = 1.0 - central_probability(mean.abs() / error.sqrt(), freedom);
    Some(Difference { mean, interval: (mean - half_width, mean + half_width), p: p.clamp(0.0, 1.0) })
}

/// The mean of `values` and its squared standard error, s²/n.
fn mean_and_error(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    Some((mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_groups() {
        // Values of scipy.stats.ttest_ind(b, a, equal_var=False).
        let check = |a: &[f64], b: &[f64], expected: (f64, f64, f64, f64)| {
            let found = welch(a, b).expect("there are two of each");
            let (low, high) = found.interval;
            for (found, expected) in
                [(found.mean, expected.0), (low, expected.1), (high, expected.2), (found.p, expected.3)]
            {
                assert!((found - expected).abs() < 1e-4, "{a:?} {b:?}: {found} is not {expected}");
            }
        };
        check(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], (1.0, -1.2669, 3.2669, 0.2879));
        check(&[0.70, 0.71, 0.72], &[0.80, 0.81, 0.82], (0.1, 0.07733, 0.12267, 0.00025));
        check(&[0.5, 0.5], &[0.5, 0.5], (0.0, 0.0, 0.0, 1.0));
        check(&[0.5, 0.5], &[0.6, 0.6], (0.1, 0.1, 0.1, 0.0));
        assert_eq!(welch(&[1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn swapping_the_groups_negates_the_difference() {
        let (a, b) = ([0.3, 0.35, 0.31, 0.4], [0.5, 0.2]);
        let (one, other) = (welch(&a, &b).expect("two of each"), welch(&b, &a).expect("two of each"));
        assert_eq!((one.mean, one.p), (-other.mean, other.p));
        assert_eq!(one.interval, (-other.interval.1, -other.interval.0));
    }
}
