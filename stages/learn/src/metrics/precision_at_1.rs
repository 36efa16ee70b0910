//! Precision@1: whether the nearest image is relevant.
//!
//! **Formula** 1 if the first neighbour is relevant, else 0; the same number as Recall@1.
//!
//! **Source** Musgrave, Belongie and Lim, *A metric learning reality check*, 2020, §3.2.

use super::{PerQuery, Ranking, recall_at_k};
use crate::error::Result;

/// Precision@1 of every query.
///
/// # Errors
/// If no neighbour was searched.
pub fn precision_at_1(ranking: &Ranking<'_>) -> Result<PerQuery> {
    recall_at_k(ranking, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::check_query;

    #[test]
    fn looks_at_the_first() {
        check_query(precision_at_1, &[1, 0], 1, 1.0);
        check_query(precision_at_1, &[0, 1], 1, 0.0);
    }
}
