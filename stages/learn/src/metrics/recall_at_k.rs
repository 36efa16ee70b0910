//! Recall@k: whether there is a relevant image among the k nearest neighbours.
//!
//! **Formula** 1 if any of the first k neighbours is relevant, else 0. (Metric learning calls this
//! recall; it is a hit rate, not the share of relevant rows that were found.)
//!
//! **Source** Jégou, Douze and Schmid, *Product quantization for nearest neighbor search*, 2011; for metric learning Song et al.,
//! *Deep metric learning via lifted structured feature embedding*, 2016, §6.

use super::ranking::{PerQuery, Ranking};
use crate::error::Result;

/// Recall@k of every query.
///
/// # Errors
/// If fewer than `k` neighbours were searched for although the gallery has more.
pub fn recall_at_k(ranking: &Ranking<'_>, k: usize) -> Result<PerQuery> {
    ranking.check_length("recall@k", k)?;
    Ok(ranking.per_query(|query| f64::from(query.hits().take(k).any(|hit| hit))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::{check_query, lists};

    #[test]
    fn is_one_from_the_first_hit_on() {
        for (k, expected) in [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)] {
            check_query(|ranking| recall_at_k(ranking, k), &[0, 0, 1, 1], 2, expected);
        }
    }

    #[test]
    fn needs_k_neighbours() {
        let neighbours = lists(2, &[&[0, 1]]);
        let ranking = Ranking::new(&neighbours, &[1], &[1, 1], &[2]).expect("the lengths fit");
        assert_eq!(recall_at_k(&ranking, 3).expect("the gallery has no more"), PerQuery(vec![Some(1.0)]));
        let ranking = Ranking::new(&neighbours, &[1], &[1, 1, 1], &[3]).expect("the lengths fit");
        assert_eq!(
            recall_at_k(&ranking, 3).expect_err("the lists are too short").to_string(),
            "Cannot compute `recall@k`: it needs 3 neighbours of each query, but 2 were searched for"
        );
    }
}
