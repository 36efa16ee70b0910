//! Normalised mutual information of a clustering and labels.
//!
//! **Formula** 2 I(A; B) / (H(A) + H(B)), I the mutual information and H the entropy: normalised by the arithmetic mean, which is
//! scikit-learn's default and usual in metric learning. 1 if both labellings have a single class.
//!
//! **Source** Manning, Raghavan and Schütze, *Introduction to information retrieval*, 2008, §16.3, eq. 16.2.

use super::contingency::Contingency;
use crate::error::Result;

/// NMI of two labellings of the same items, between 0 and 1.
///
/// # Errors
/// If they have different lengths.
pub fn nmi<A: Copy + Ord, B: Copy + Ord>(a: &[A], b: &[B]) -> Result<f64> {
    let table = Contingency::new("NMI", a, b)?;
    if table.trivial() {
        return Ok(1.0);
    }
    Ok((table.mutual_information() / table.mean_entropy()).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_small_labellings() {
        let check = |a: &[i32], b: &[u32], expected: f64| {
            let found = nmi(a, b).expect("the lengths fit");
            assert!((found - expected).abs() < 1e-12, "{a:?} {b:?}: {found} is not {expected}");
            assert!((nmi(b, a).expect("the lengths fit") - found).abs() < 1e-12, "symmetric");
        };
        check(&[0, 0, 1, 1], &[5, 5, 2, 2], 1.0);
        check(&[0, 0, 1, 1], &[0, 1, 0, 1], 0.0);
        check(&[0, 0, 0, 0], &[0, 1, 0, 1], 0.0);
        check(&[7, 7], &[1, 1], 1.0);
        check(&[], &[], 1.0);
        // I = ln 2 against entropies ln 2 and 2 ln 2.
        check(&[0, 0, 1, 1], &[0, 1, 2, 3], 2.0 / 3.0);
    }

    #[test]
    fn rejects_different_lengths() {
        assert_eq!(
            nmi(&[1], &[1, 2]).expect_err("the lengths differ").to_string(),
            "Cannot compute `NMI`: one labelling has 1 items and the other 2"
        );
    }
}
