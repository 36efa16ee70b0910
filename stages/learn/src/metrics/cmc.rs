//! Cumulative match characteristic: the share of queries that are identified within the first k neighbours.
//!
//! **Formula** CMC@k of a query is 1 if any of the first k neighbours is relevant, else 0. The search must leave out neighbours with
//! the same identity and the same camera, and R must not count them ([`super::relevant_across_cameras`]); this is the only
//! difference from Recall@k.
//!
//! **Source** Zheng et al., *Scalable person re-identification: a benchmark* (Market-1501), 2015, §4.3.

use super::ranking::{PerQuery, Ranking};
use super::recall_at_k::recall_at_k;
use crate::error::Result;

/// CMC@k of every query.
///
/// # Errors
/// If fewer than `k` neighbours were searched for although the gallery has more.
pub fn cmc(ranking: &Ranking<'_>, k: usize) -> Result<PerQuery> {
    recall_at_k(ranking, k)
}

#[cfg(test)]
mod tests {
    use dnc_kernels::neighbours::Gallery;

    use super::*;
    use crate::metrics::{average_precision, relevant_across_cameras};

    #[test]
    fn images_of_the_same_camera_do_not_count() {
        // On a line, from the query at 0: the same identity and camera, another identity, the same identity under another camera.
        let (queries, gallery) = ([(1, Some(0))], [(1, Some(0)), (2, Some(1)), (1, Some(1))]);
        let search = Gallery::new(&[0.1, 0.2, 0.3], 1).expect("three rows");
        let junk = |query: usize, row: u32| gallery[row as usize] == queries[query];
        let neighbours = search.nearest(&[0.0], 3, junk).expect("one query");
        let relevant = relevant_across_cameras(&queries, &gallery);
        let ranking = Ranking::new(&neighbours, &[1], &[1, 2, 1], &relevant).expect("the lengths fit");
        assert_eq!(cmc(&ranking, 1).expect("k is searched").mean(), 0.0);
        assert_eq!(cmc(&ranking, 2).expect("k is searched").mean(), 1.0);
        assert_eq!(average_precision(&ranking).mean(), 0.5);
    }
}
