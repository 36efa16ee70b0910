//! Who is searched for among whom.
//!
//! Images of a split are searched among all others of it; queries in the gallery; with random galleries, an image of each class
//! is drawn and all others are searched among those, several times over. With cameras, what shows the query's class under the
//! query's camera does not count (person re-identification).
//!
//! **Source** Song et al., *Deep metric learning via lifted structured feature embedding*, 2016, §6 (all others); Liu et al.,
//! *DeepFashion*, 2016 (query and gallery); Liu et al., *Deep relative distance learning*, 2016, §5.2 (random galleries of VehicleID);
//! Zheng et al., *Scalable person re-identification*, 2015, §4.3 (cameras).

use std::collections::BTreeMap;

use dnc_learn::metrics::{relevant_across_cameras, relevant_between, relevant_within};
use dnc_learn::streams::Streams;
use rand::Rng;

use super::Evaluate;
use super::embedded::Embedded;
use crate::context::Context;
use crate::error::StageError;
use crate::tables::Split;

/// Images that are searched for, and those among which they are.
pub(super) struct Search {
    pub(super) split: Split,
    pub(super) queries: Embedded,
    /// `None` where the queries are searched among each other.
    gallery: Option<Embedded>,
}

impl Search {
    pub(super) fn gallery(&self) -> &Embedded {
        self.gallery.as_ref().unwrap_or(&self.queries)
    }

    /// Whether a row of the gallery does not count for a query: it is the query itself or, with cameras, the same class under
    /// the same camera.
    pub(super) fn skips(&self, query: usize, row: usize) -> bool {
        if self.gallery.is_none() && query == row {
            return true;
        }
        let (queries, gallery) = (&self.queries, self.gallery());
        match (&queries.cameras, &gallery.cameras) {
            (Some(here), Some(there)) => queries.labels[query] == gallery.labels[row] && here[query] == there[row],
            _ => false,
        }
    }

    /// How many rows of the gallery are of each query's class, without those that do not count.
    pub(super) fn relevant(&self) -> Vec<u32> {
        let pairs = |side: &Embedded| {
            let cameras = side.cameras.as_ref()?;
            Some(side.labels.iter().copied().zip(cameras.iter().copied()).collect::<Vec<_>>())
        };
        match (pairs(&self.queries), pairs(self.gallery())) {
            (Some(queries), Some(gallery)) => relevant_across_cameras(&queries, &gallery),
            _ if self.gallery.is_none() => relevant_within(&self.queries.labels),
            _ => relevant_between(&self.queries.labels, &self.gallery().labels),
        }
    }
}

/// The searches that a split is judged by; several where galleries are drawn.
pub(super) fn searches(
    stage: &Evaluate,
    context: &Context<'_>,
    embedded: &Embedded,
    split: Split,
) -> Result<Vec<Search>, StageError> {
    let rows = embedded.rows(split);
    if split == Split::Query {
        let gallery = embedded.rows(Split::Gallery);
        if gallery.is_empty() {
            return Err(StageError::input("There are queries but no gallery that they could be searched in"));
        }
        return Ok(vec![Search { split, queries: embedded.only(&rows), gallery: Some(embedded.only(&gallery)) }]);
    }
    let Some(repetitions) = stage.random_galleries else {
        return Ok(vec![Search { split, queries: embedded.only(&rows), gallery: None }]);
    };
    let streams = context.streams()?.named("evaluate").named("gallery");
    let drawn = (0..repetitions).map(|repetition| {
        let gallery = one_of_each_class(embedded, &rows, &streams.at(repetition.into()));
        let queries: Vec<usize> = rows.iter().copied().filter(|row| gallery.binary_search(row).is_err()).collect();
        Search { split, queries: embedded.only(&queries), gallery: Some(embedded.only(&gallery)) }
    });
    Ok(drawn.collect())
}

/// A row of each class among `rows`, in their order.
fn one_of_each_class(embedded: &Embedded, rows: &[usize], streams: &Streams) -> Vec<usize> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    rows.iter().for_each(|&row| classes.entry(embedded.labels[row]).or_default().push(row));
    let mut rng = streams.rng();
    let mut drawn: Vec<usize> = classes.values().map(|rows| rows[rng.random_range(0..rows.len())]).collect();
    drawn.sort_unstable();
    drawn
}
