//! Mean of a few runs with Student's 95 % confidence interval.
//!
//! **Formula** x̄ ± t · s/√n, s the sample standard deviation, t the 0.975 quantile of Student's distribution with ν = n − 1. Its
//! distribution function is a finite series for whole ν: with θ = atan(t/√ν),
//! A = 2/π (θ + sin θ (cos θ + 2/3 cos³θ + …)) for odd ν, A = sin θ (1 + 1/2 cos²θ + 1·3/(2·4) cos⁴θ + …) for even ν.
//!
//! **Source** Student, *The probable error of a mean*, 1908; Abramowitz and Stegun, 26.7.3 and 26.7.4.

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// x̄.
    pub mean: f64,
    /// t · s/√n, half the width of the interval.
    pub half_width: f64,
}

/// Mean and interval of `values`, one per seed; `None` for fewer than two values.
pub fn mean_interval(values: &[f64]) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(Interval { mean, half_width: quantile_975(values.len() - 1) * (variance / n).sqrt() })
}

/// The t with P(|T| ≤ t) = 0.95, by bisection.
pub(super) fn quantile_975(freedom: usize) -> f64 {
    // t is 12.7 for one degree of freedom and decreases to 1.96.
    let (mut low, mut high) = (1.9, 13.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if central_probability(middle, freedom) < 0.95 { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// P(|T| ≤ t).
pub(super) fn central_probability(t: f64, freedom: usize) -> f64 {
    let theta = (t / (freedom as f64).sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let odd = freedom % 2 == 1;
    let (mut term, mut sum) = if odd { (cos, 0.0) } else { (1.0, 0.0) };
    // Odd: powers 1, 3 … ν − 2 of the cosine; even: 0, 2 … ν − 2.
    let mut power = if odd { 1 } else { 0 };
    while power + 2 <= freedom {
        sum += term;
        power += 2;
        term *= cos * cos * (power - 1) as f64 / power as f64;
    }
    if odd { std::f64::consts::FRAC_2_PI * (theta + sin * sum) } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_the_tables() {
        for (freedom, expected) in
            [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (30, 2.0423), (999, 1.9623)]
        {
            let found = quantile_975(freedom);
            assert!((found - expected).abs() < 6e-5, "{freedom}: {found} is not {expected}");
        }
    }

    #[test]
    fn of_three_seeds() {
        let found = mean_interval(&[1.0, 2.0, 3.0]).expect("three values");
        assert_eq!(found.mean, 2.0);
        assert!((found.half_width - 4.302_652_729_7 / 3.0f64.sqrt()).abs() < 1e-8);
        assert_eq!(mean_interval(&[1.0]), None);
    }
}
