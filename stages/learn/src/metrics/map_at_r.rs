//! MAP@R: mean average precision over the R nearest neighbours, which rewards relevant images for being early in the list.
//!
//! **Formula** 1/R Σ_{i ≤ R} P(i) · [i-th neighbour is relevant], P(i) the share of relevant rows among the first i.
//!
//! **Source** Musgrave, Belongie and Lim, *A metric learning reality check*, 2020, §3.2, eq. 3 and 4, arXiv 2003.08505.

use super::average_precision::precision_at_hits;
use super::ranking::{PerQuery, Ranking};
use crate::error::Result;

/// Average precision at R of every query.
///
/// # Errors
/// If fewer neighbours were searched for than the largest R.
pub fn map_at_r(ranking: &Ranking<'_>) -> Result<PerQuery> {
    ranking.check_length("MAP@R", ranking.most_relevant())?;
    Ok(ranking.per_query(|query| precision_at_hits(query.hits().take(query.relevant)) / query.relevant as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::check_query;

    /// Table 2 of the paper: rankings of ten rows with R = 10, which MAP@R distinguishes, but Recall@1 and NMI do not.
    #[test]
    fn matches_the_table_of_the_paper() {
        check_query(map_at_r, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 0.1);
        check_query(map_at_r, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1], 10, 0.12);
        check_query(map_at_r, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0], 10, 0.2);
        check_query(map_at_r, &[1; 10], 10, 1.0);
    }

    #[test]
    fn ignores_what_comes_after_r() {
        check_query(map_at_r, &[0, 1, 1, 1], 2, 0.25);
    }
}
