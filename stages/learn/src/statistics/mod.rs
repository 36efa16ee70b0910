//! Whether a difference between two runs is more than chance.
//!
//! **Reading order** [`mean_interval`] over seeds; [`paired_bootstrap`] and [`sign_flip_test`] over queries; [`Verdict`] in a word.

mod bootstrap;
mod interval;
mod sign_flip;
mod verdict;

pub use bootstrap::{PairedDifference, paired_bootstrap};
pub use interval::{Interval, mean_interval};
pub use sign_flip::sign_flip_test;
pub use verdict::Verdict;

use crate::{
    error::{LearnError, Result},
    metrics::PerQuery,
};

/// How much better `b` does than `a` on each query that both answer.
///
/// # Errors
/// If they are not about the same number of queries, or share no answered one.
pub fn differences(a: &PerQuery, b: &PerQuery) -> Result<Vec<f64>> {
    let misfit = |problem| LearnError::Metric { metric: "paired comparison", problem };
    if a.0.len() != b.0.len() {
        return Err(misfit(format!("one run has {} queries and the other {}", a.0.len(), b.0.len())));
    }
    let differences: Vec<f64> = a.0.iter().zip(&b.0).filter_map(|(a, b)| Some((*b)? - (*a)?)).collect();
    match differences.is_empty() {
        true => Err(misfit("no query is answered in both runs".into())),
        false => Ok(differences),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_what_both_answer() {
        let (a, b) = (PerQuery(vec![Some(1.0), None, Some(0.5)]), PerQuery(vec![Some(0.0), Some(1.0), Some(0.75)]));
        assert_eq!(differences(&a, &b).expect("two queries are answered in both"), [-1.0, 0.25]);
        assert!(differences(&a, &PerQuery(vec![None; 3])).is_err());
        assert_eq!(
            differences(&a, &PerQuery(vec![])).expect_err("the lengths differ").to_string(),
            "Cannot compute `paired comparison`: one run has 3 queries and the other 0"
        );
    }
}
