//! Adjusted mutual information: mutual information corrected for chance, so that many clusters are no advantage.
//!
//! **Formula** (I − E[I]) / (½(H(A) + H(B)) − E[I]), with the expectation over all labellings of the same class sizes,
//! E[I] = Σ_ij Σ_m m/n · ln(n m / (a_i b_j)) · a_i! b_j! (n−a_i)! (n−b_j)! / (n! m! (a_i−m)! (b_j−m)! (n−a_i−b_j+m)!),
//! m from max(1, a_i + b_j − n) to min(a_i, b_j). The terms depend only on the sizes, so each pair of sizes is computed
//! once: 11,316 classes and as many clusters take milliseconds.
//!
//! **Source** Vinh, Epps and Bailey, *Information theoretic measures for clusterings comparison*, 2010, eq. 24a and 2.

use std::collections::BTreeMap;

use super::contingency::Contingency;
use crate::error::Result;

/// AMI of two labellings of the same items: 1 if they are equal, about 0 if they are independent.
///
/// # Errors
/// If they have different lengths.
pub fn ami<A: Copy + Ord, B: Copy + Ord>(a: &[A], b: &[B]) -> Result<f64> {
    let table = Contingency::new("AMI", a, b)?;
    if table.trivial() {
        return Ok(1.0);
    }
    let expected = expected_mutual_information(&table);
    let span = table.mean_entropy() - expected;
    // If chance explains everything, 0/0 becomes 0 instead of a quotient of rounding errors.
    let span = if span < 0.0 { span.min(-f64::EPSILON) } else { span.max(f64::EPSILON) };
    Ok((table.mutual_information() - expected) / span)
}

fn expected_mutual_information(table: &Contingency) -> f64 {
    let sizes = |margin: &[u64]| {
        let mut sizes: BTreeMap<u64, f64> = BTreeMap::new();
        margin.iter().for_each(|size| *sizes.entry(*size).or_default() += 1.0);
        sizes
    };
    let n = table.items as usize;
    // ln m! for every m up to n.
    let mut factorial = vec![0.0; n + 1];
    for m in 1..=n {
        factorial[m] = factorial[m - 1] + (m as f64).ln();
    }
    let (rows, columns) = (sizes(&table.rows), sizes(&table.columns));
    let mut expected = 0.0;
    for (a, row_count) in &rows {
        for (b, column_count) in &columns {
            let (a, b) = (*a as usize, *b as usize);
            let fixed = factorial[a] + factorial[b] + factorial[n - a] + factorial[n - b] - factorial[n];
            let mut sum = 0.0;
            for m in (a + b).saturating_sub(n).max(1)..=a.min(b) {
                let log_probability =
                    fixed - factorial[m] - factorial[a - m] - factorial[b - m] - factorial[n + m - a - b];
                let (share, ratio) = (m as f64 / n as f64, n as f64 / a as f64 * (m as f64 / b as f64));
                sum += share * ratio.ln() * log_probability.exp();
            }
            expected += row_count * column_count * sum;
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_small_labellings() {
        let check = |a: &[i32], b: &[u32], expected: f64| {
            let found = ami(a, b).expect("the lengths fit");
            assert!((found - expected).abs() < 1e-9, "{a:?} {b:?}: {found} is not {expected}");
        };
        check(&[0, 0, 1, 1], &[5, 5, 2, 2], 1.0);
        check(&[0, 0, 0, 0], &[0, 1, 0, 1], 0.0);
        check(&[0, 0, 0, 0], &[4, 4, 4, 4], 1.0);
        // Values of scikit-learn's adjusted_mutual_info_score.
        check(&[0, 0, 1, 1, 2, 2], &[0, 0, 1, 2, 2, 2], 0.502_360_702_720_273_8);
        check(&[0, 0, 1, 1], &[0, 1, 0, 1], -0.5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_expectation_is_the_mean_over_all_permutations(a in prop::collection::vec(0u8..3, 2..6), b in prop::collection::vec(0u8..3, 6)) {
            let b = &b[..a.len()];
            let (mut sum, mut orders) = (0.0, 0.0);
            permutations(&mut b.to_vec(), 0, &mut |b| {
                sum += Contingency::new("AMI", &a, b).expect("the lengths fit").mutual_information();
                orders += 1.0;
            });
            let expected = expected_mutual_information(&Contingency::new("AMI", &a, b).expect("the lengths fit"));
            prop_assert!((expected - sum / orders).abs() < 1e-12, "{} is not {}", expected, sum / orders);
        }
    }

    fn permutations(items: &mut Vec<u8>, from: usize, visit: &mut impl FnMut(&[u8])) {
        if from == items.len() {
            return visit(items);
        }
        for other in from..items.len() {
            items.swap(from, other);
            permutations(items, from + 1, visit);
            items.swap(from, other);
        }
    }
}
