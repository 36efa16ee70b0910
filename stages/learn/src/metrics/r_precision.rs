//! R-precision: the share of relevant images among the R nearest.
//!
//! **Formula** r / R, r the number of relevant rows among the first R neighbours, R the number of relevant rows at all.
//!
//! **Source** Musgrave, Belongie and Lim, *A metric learning reality check*, 2020, §3.2, arXiv 2003.08505.

use super::{PerQuery, Ranking};
use crate::error::Result;

/// R-precision of every query.
///
/// # Errors
/// If fewer neighbours were searched than the largest R.
pub fn r_precision(ranking: &Ranking<'_>) -> Result<PerQuery> {
    ranking.reaches("R-precision", ranking.most_relevant())?;
    Ok(ranking
        .judge(|query| query.hits().take(query.relevant).filter(|hit| *hit).count() as f64 / query.relevant as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::check_query;

    #[test]
    fn counts_hits_among_the_first_r() {
        check_query(r_precision, &[1, 0, 1, 1], 2, 0.5);
        check_query(r_precision, &[1, 0, 1, 1], 4, 0.75);
        check_query(r_precision, &[0, 1], 1, 0.0);
    }
}
