//! R-precision: the share of relevant images among the R nearest neighbours.
//!
//! **Formula** r / R, r the number of relevant rows among the first R neighbours, R the total number of relevant rows.
//!
//! **Source** Musgrave, Belongie and Lim, *A metric learning reality check*, 2020, §3.2, arXiv 2003.08505.

use super::ranking::{PerQuery, Ranking};
use crate::error::Result;

/// R-precision of every query.
///
/// # Errors
/// If fewer neighbours were searched for than the largest R.
pub fn r_precision(ranking: &Ranking<'_>) -> Result<PerQuery> {
    ranking.check_length("R-precision", ranking.most_relevant())?;
    Ok(ranking
        .per_query(|query| query.hits().take(query.relevant).filter(|hit| *hit).count() as f64 / query.relevant as f64))
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
