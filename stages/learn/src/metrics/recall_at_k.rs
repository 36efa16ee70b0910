//! Recall@k: whether there is a relevant image among the k nearest.
//!
//! **Formula** 1 if any of the first k neighbours is relevant, else 0. (It is the field's name for what statistics would call a
//! hit rate; it is not the share of relevant rows that were found.)
//!
//! **Source** Jégou, Douze and Schmid, *Product quantization for nearest neighbor search*, 2011; for metric learning Song et al.,
//! *Deep metric learning via lifted structured feature embedding*, 2016, §6.

use super::{PerQuery, Ranking};
use crate::error::Result;

/// Recall@k of every query.
///
/// # Errors
/// If fewer than `k` neighbours were searched.
pub fn recall_at_k(ranking: &Ranking<'_>, k: usize) -> Result<PerQuery> {
    ranking.reaches("recall@k", k)?;
    Ok(ranking.judge(|query| f64::from(query.hits().take(k).any(|hit| hit))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::{check_query, lists};

    #[test]
    fn counts_the_first_hit_only() {
        for (k, expected) in [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)] {
            check_query(|ranking| recall_at_k(ranking, k), &[0, 0, 1, 1], 2, expected);
        }
    }

    #[test]
    fn needs_k_neighbours() {
        let neighbours = lists(2, &[&[0, 1]]);
        let ranking = Ranking::new(&neighbours, &[1], &[1, 1], &[2]).expect("the lengths fit");
        assert_eq!(
            recall_at_k(&ranking, 3).expect_err("the lists are short").to_string(),
            "Cannot compute `recall@k`: it looks at 3 neighbours of each query, but 2 were searched"
        );
    }
}
