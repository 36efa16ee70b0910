//! Average precision; its mean over queries is the mAP of re-identification.
//!
//! **Formula** 1/R Σ_i P(i) · [i-th neighbour is relevant] over the whole list, P(i) the share of relevant rows among the first i.
//! Relevant rows beyond the end of the list add nothing: a list of the whole gallery gives the mAP of the literature, a shorter
//! one a lower bound.
//!
//! **Source** Zheng et al., *Scalable person re-identification: a benchmark* (Market-1501), 2015, §4.3.
//!
//! `Deviation:` Market-1501's script averages P just before and at each hit (the trapezoidal rule). Here P is taken at the hit, as
//! in information retrieval and in later re-identification libraries.

use super::ranking::{PerQuery, Ranking};

/// Average precision of every query.
pub fn average_precision(ranking: &Ranking<'_>) -> PerQuery {
    ranking.per_query(|query| precision_at_hits(query.hits()) / query.relevant as f64)
}

/// Σ_i P(i) · [i-th is a hit].
pub(super) fn precision_at_hits(hits: impl Iterator<Item = bool>) -> f64 {
    let (mut found, mut sum) = (0.0, 0.0);
    for (rank, _) in hits.zip(1u32..).map(|(hit, rank)| (rank, hit)).filter(|(_, hit)| *hit) {
        found += 1.0;
        sum += found / f64::from(rank);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ranking::tests::check_query;

    #[test]
    fn is_the_mean_precision_at_the_hits() {
        let ap = |ranking: &Ranking<'_>| Ok(average_precision(ranking));
        check_query(ap, &[1, 0, 1], 2, (1.0 + 2.0 / 3.0) / 2.0);
        check_query(ap, &[0, 0, 1, 1], 2, (1.0 / 3.0 + 2.0 / 4.0) / 2.0);
        check_query(ap, &[1, 0], 4, 0.25);
    }
}
