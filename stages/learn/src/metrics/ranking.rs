//! Ranked neighbours with their labels: the input of every retrieval metric.
//!
//! A neighbour is *relevant* to a query if both have the same label. The lists exclude rows that do not count (the query itself, or
//! the same identity under the same camera). The number R of the remaining relevant rows is passed separately, because a list of
//! k neighbours does not show it. A query with R = 0 cannot be answered: it has no value and does not count in the mean.
//!
//! **Shapes** neighbours `[queries, k]`, query labels and R `[queries]`, gallery labels `[gallery]`.

use std::{collections::HashMap, hash::Hash};

use dnc_kernels::neighbours::Neighbours;
use rayon::prelude::*;

use crate::error::{LearnError, Result};

/// Neighbours of all queries, with labels.
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
    /// R, the number of relevant rows of the gallery; at least 1.
    pub relevant: usize,
}

impl Query<'_> {
    /// For each neighbour in order, whether it is relevant.
    pub fn hits(&self) -> impl Iterator<Item = bool> {
        self.neighbours.iter().map(|row| self.gallery_labels[*row as usize] == self.label)
    }
}

/// The value of a metric for each query; `None` for a query without relevant rows.
#[derive(Clone, Debug, PartialEq)]
pub struct PerQuery(pub Vec<Option<f64>>);

impl PerQuery {
    /// Mean over the queries that can be answered, summed in their order; NaN if there are none.
    pub fn mean(&self) -> f64 {
        let answered = self.0.iter().flatten().count();
        self.0.iter().flatten().sum::<f64>() / answered as f64
    }
}

impl<'a> Ranking<'a> {
    /// Combines neighbours and labels; `relevant` is the R of each query, as counted by one of the functions below.
    ///
    /// # Errors
    /// If the lengths differ, or a neighbour is not a row of the gallery.
    pub fn new(
        neighbours: &'a Neighbours,
        query_labels: &'a [u32],
        gallery_labels: &'a [u32],
        relevant: &'a [u32],
    ) -> Result<Self> {
        let queries = neighbours.len();
        for (what, found) in [("query_labels", query_labels.len()), ("relevant", relevant.len())] {
            if found != queries {
                return Err(metric_error("ranking", format!("`{what}` has {found} entries for {queries} queries")));
            }
        }
        match neighbours.lists().flatten().find(|row| **row as usize >= gallery_labels.len()) {
            Some(row) => Err(metric_error(
                "ranking",
                format!("neighbour {row} is not among the {} rows of the gallery", gallery_labels.len()),
            )),
            None => Ok(Self { neighbours, query_labels, gallery_labels, relevant }),
        }
    }

    /// The value of `metric` for every query that can be answered.
    pub fn per_query(&self, metric: impl Fn(Query<'a>) -> f64 + Sync) -> PerQuery {
        let value = |query: usize| {
            let relevant = self.relevant[query] as usize;
            let (neighbours, _) = self.neighbours.of(query);
            let query =
                Query { neighbours, label: self.query_labels[query], gallery_labels: self.gallery_labels, relevant };
            (relevant > 0).then(|| metric(query))
        };
        PerQuery((0..self.neighbours.len()).into_par_iter().map(value).collect())
    }

    /// Checks that at least `wanted` neighbours were searched for, or all that the gallery has.
    pub(super) fn check_length(&self, metric: &'static str, wanted: usize) -> Result<()> {
        match wanted.min(self.gallery_labels.len()) <= self.neighbours.k {
            true => Ok(()),
            false => Err(metric_error(
                metric,
                format!("it needs {wanted} neighbours of each query, but {} were searched for", self.neighbours.k),
            )),
        }
    }

    /// The largest R.
    pub(super) fn most_relevant(&self) -> usize {
        self.relevant.iter().max().map_or(0, |most| *most as usize)
    }
}

/// R of each row if all rows query each other: the number of other rows with its label.
pub fn relevant_within(labels: &[u32]) -> Vec<u32> {
    relevant_between(labels, labels).into_iter().map(|count| count - 1).collect()
}

/// R of each query against a separate gallery: the number of rows with its label.
pub fn relevant_between(query_labels: &[u32], gallery_labels: &[u32]) -> Vec<u32> {
    let counts = counts(gallery_labels.iter().copied());
    query_labels.iter().map(|label| counts.get(label).copied().unwrap_or(0)).collect()
}

/// R of each query, given as (label, camera), against a gallery of the same form: the number of rows with its label under another
/// camera. An unknown camera is another than every camera.
pub fn relevant_across_cameras(queries: &[(u32, Option<u16>)], gallery: &[(u32, Option<u16>)]) -> Vec<u32> {
    let labels = counts(gallery.iter().map(|(label, _)| *label));
    let both = counts(gallery.iter().filter(|(_, camera)| camera.is_some()).copied());
    let count =
        |query: &(u32, Option<u16>)| labels.get(&query.0).copied().unwrap_or(0) - both.get(query).copied().unwrap_or(0);
    queries.iter().map(count).collect()
}

fn counts<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashMap<T, u32> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// An error about the input of a metric.
pub(super) fn metric_error(metric: &'static str, problem: impl Into<String>) -> LearnError {
    LearnError::Metric { metric, problem: problem.into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Neighbours from lists, the shorter ones padded.
    pub(in crate::metrics) fn lists(k: usize, lists: &[&[u32]]) -> Neighbours {
        let padded = |list: &&[u32]| {
            let mut list = list.to_vec();
            list.resize(k, Neighbours::NONE);
            list
        };
        let ids: Vec<u32> = lists.iter().flat_map(padded).collect();
        Neighbours { k, distances: vec![0.0; ids.len()], ids }
    }

    /// Checks a metric on one query with label 1. `hits` holds 1 for each relevant neighbour; `relevant` is R.
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
    fn relevant_rows_are_counted() {
        assert_eq!(relevant_within(&[3, 5, 3, 3, 9]), [2, 0, 2, 2, 0]);
        assert_eq!(relevant_between(&[3, 4], &[3, 3, 5]), [2, 0]);
        let seen = |rows: &[(u32, i32)]| -> Vec<(u32, Option<u16>)> {
            rows.iter().map(|&(label, camera)| (label, camera.try_into().ok())).collect()
        };
        let gallery = seen(&[(1, 0), (1, 0), (1, 1), (3, 0), (1, -1)]);
        assert_eq!(relevant_across_cameras(&seen(&[(1, 0), (1, 7), (2, 0), (1, -1)]), &gallery), [2, 4, 0, 4]);
    }

    #[test]
    fn a_query_without_relevant_rows_has_no_value() {
        let neighbours = lists(1, &[&[0], &[1]]);
        let ranking = Ranking::new(&neighbours, &[7, 8], &[7, 7], &[2, 0]).expect("the lengths fit");
        let values = ranking.per_query(|query| query.relevant as f64);
        assert_eq!(values, PerQuery(vec![Some(2.0), None]));
        assert_eq!(values.mean(), 2.0);
    }

    #[test]
    fn rejects_inconsistent_lengths() {
        let neighbours = lists(1, &[&[0], &[2]]);
        let check = |query_labels: &[u32], gallery: &[u32], expected: &str| {
            let error =
                Ranking::new(&neighbours, query_labels, gallery, &[1, 1]).expect_err("the lengths are inconsistent");
            assert_eq!(error.to_string(), format!("Cannot compute `ranking`: {expected}"));
        };
        check(&[1], &[1, 1, 1], "`query_labels` has 1 entries for 2 queries");
        check(&[1, 1], &[1, 1], "neighbour 2 is not among the 2 rows of the gallery");
    }
}
