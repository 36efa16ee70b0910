//! Ranked neighbours judged by labels: what every retrieval metric looks at.
//!
//! A neighbour is *relevant* to a query if both have one label. The lists come without what does not count (the query itself, the
//! same identity under the same camera), and the number of relevant rows that remain, R, is given beside them because
//! a list of k neighbours does not show it. A query with R = 0 cannot be answered: it has no value and no part in the mean.
//!
//! **Shapes** neighbours `[queries, k]`, query labels and R `[queries]`, gallery labels `[gallery]`.

use std::{collections::HashMap, hash::Hash};

use dnc_kernels::neighbours::Neighbours;
use rayon::prelude::*;

use crate::error::{LearnError, Result};

/// Neighbours with the labels that judge them.
#[derive(Clone, Copy, Debug)]
pub struct Ranking<'a> {
    neighbours: &'a Neighbours,
    query_labels: &'a [u32],
    gallery_labels: &'a [u32],
    relevant: &'a [u32],
}

/// One query of a [`Ranking`].
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    neighbours: &'a [u32],
    label: u32,
    gallery_labels: &'a [u32],
    /// R, how many rows of the gallery are relevant; at least 1.
    pub relevant: usize,
}

impl Query<'_> {
    /// Whether the first neighbour is relevant, the second, and so on.
    pub fn hits(&self) -> impl Iterator<Item = bool> {
        self.neighbours.iter().map(|row| self.gallery_labels[*row as usize] == self.label)
    }
}

/// A metric's value for each query; none where no row is relevant.
#[derive(Clone, Debug, PartialEq)]
pub struct PerQuery(pub Vec<Option<f64>>);

impl PerQuery {
    /// The mean over the queries that can be answered, summed in their order; NaN if there is none.
    pub fn mean(&self) -> f64 {
        let answered = self.0.iter().flatten().count();
        self.0.iter().flatten().sum::<f64>() / answered as f64
    }
}

impl<'a> Ranking<'a> {
    /// Joins neighbours and labels; `relevant` is R of each query, as one of the functions below counts it.
    ///
    /// # Errors
    /// If the lengths differ, or a neighbour is no row of the gallery.
    pub fn new(
        neighbours: &'a Neighbours,
        query_labels: &'a [u32],
        gallery_labels: &'a [u32],
        relevant: &'a [u32],
    ) -> Result<Self> {
        let queries = neighbours.len();
        for (what, found) in [("query_labels", query_labels.len()), ("relevant", relevant.len())] {
            if found != queries {
                return Err(misfit("ranking", format!("`{what}` has {found} entries for {queries} queries")));
            }
        }
        match neighbours.lists().flatten().find(|row| **row as usize >= gallery_labels.len()) {
            Some(row) => {
                Err(misfit("ranking", format!("neighbour {row} has no label among {} of them", gallery_labels.len())))
            }
            None => Ok(Self { neighbours, query_labels, gallery_labels, relevant }),
        }
    }

    /// The value of `metric` for every query that can be answered.
    pub fn judge(&self, metric: impl Fn(Query<'a>) -> f64 + Sync) -> PerQuery {
        let value = |query: usize| {
            let relevant = self.relevant[query] as usize;
            let (neighbours, _) = self.neighbours.of(query);
            let query =
                Query { neighbours, label: self.query_labels[query], gallery_labels: self.gallery_labels, relevant };
            (relevant > 0).then(|| metric(query))
        };
        PerQuery((0..self.neighbours.len()).into_par_iter().map(value).collect())
    }

    /// Refuses lists shorter than `wanted`, unless they were cut short by the end of the gallery.
    pub(super) fn reaches(&self, metric: &'static str, wanted: usize) -> Result<()> {
        match wanted <= self.neighbours.k {
            true => Ok(()),
            false => Err(misfit(
                metric,
                format!("it looks at {wanted} neighbours of each query, but {} were searched", self.neighbours.k),
            )),
        }
    }

    /// The largest R.
    pub(super) fn most_relevant(&self) -> usize {
        self.relevant.iter().max().map_or(0, |most| *most as usize)
    }
}

/// R of each row when all rows query each other: the others of its label.
pub fn relevant_within(labels: &[u32]) -> Vec<u32> {
    relevant_between(labels, labels).into_iter().map(|count| count - 1).collect()
}

/// R of each query against a gallery apart: the rows of its label.
pub fn relevant_between(query_labels: &[u32], gallery_labels: &[u32]) -> Vec<u32> {
    let counts = counts(gallery_labels.iter().copied());
    query_labels.iter().map(|label| counts.get(label).copied().unwrap_or(0)).collect()
}

/// R of each query, given as (label, camera), against such a gallery: the rows of its label under another camera.
pub fn relevant_across_cameras(queries: &[(u32, u16)], gallery: &[(u32, u16)]) -> Vec<u32> {
    let labels = counts(gallery.iter().map(|(label, _)| *label));
    let both = counts(gallery.iter().copied());
    let count = |query: &(u32, u16)| labels.get(&query.0).copied().unwrap_or(0) - both.get(query).copied().unwrap_or(0);
    queries.iter().map(count).collect()
}

fn counts<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashMap<T, u32> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// An error about what a metric was given.
pub(super) fn misfit(metric: &'static str, problem: impl Into<String>) -> LearnError {
    LearnError::Metric { metric, problem: problem.into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Neighbours given as lists; shorter ones end early.
    pub(in crate::metrics) fn lists(k: usize, lists: &[&[u32]]) -> Neighbours {
        let padded = |list: &&[u32]| {
            let mut list = list.to_vec();
            list.resize(k, Neighbours::NONE);
            list
        };
        let ids: Vec<u32> = lists.iter().flat_map(padded).collect();
        Neighbours { k, distances: vec![0.0; ids.len()], ids }
    }

    /// Checks a metric on one query of label 1; a list holds 1 for a relevant neighbour, R comes from `relevant`.
    pub(in crate::metrics) fn check_query(
        metric: impl Fn(&Ranking<'_>) -> Result<PerQuery>,
        hits: &[u32],
        relevant: u32,
        expected: f64,
    ) {
        let order: Vec<u32> = (0..hits.len() as u32).collect();
        let neighbours = lists(hits.len(), &[&order]);
        let relevant = [relevant];
        let ranking = Ranking::new(&neighbours, &[1], hits, &relevant).expect("the lengths fit");
        let found = metric(&ranking).expect("the lists are long enough").0[0].expect("some row is relevant");
        assert!((found - expected).abs() < 1e-12, "{hits:?}, R = {relevant:?}: {found} is not {expected}");
    }

    #[test]
    fn counts_what_is_relevant() {
        assert_eq!(relevant_within(&[3, 5, 3, 3, 9]), [2, 0, 2, 2, 0]);
        assert_eq!(relevant_between(&[3, 4], &[3, 3, 5]), [2, 0]);
        assert_eq!(relevant_across_cameras(&[(1, 0), (1, 7), (2, 0)], &[(1, 0), (1, 0), (1, 1), (3, 0)]), [1, 3, 0]);
    }

    #[test]
    fn a_query_without_relevant_rows_has_no_value() {
        let neighbours = lists(1, &[&[0], &[1]]);
        let ranking = Ranking::new(&neighbours, &[7, 8], &[7, 7], &[2, 0]).expect("the lengths fit");
        let values = ranking.judge(|query| query.relevant as f64);
        assert_eq!(values, PerQuery(vec![Some(2.0), None]));
        assert_eq!(values.mean(), 2.0);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let neighbours = lists(1, &[&[0], &[2]]);
        let check = |query_labels: &[u32], gallery: &[u32], expected: &str| {
            let error = Ranking::new(&neighbours, query_labels, gallery, &[1, 1]).expect_err("something does not fit");
            assert_eq!(error.to_string(), format!("Cannot compute `ranking`: {expected}"));
        };
        check(&[1], &[1, 1, 1], "`query_labels` has 1 entries for 2 queries");
        check(&[1, 1], &[1, 1], "neighbour 2 has no label among 2 of them");
    }
}
