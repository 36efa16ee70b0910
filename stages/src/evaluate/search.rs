//! Which images are queries, and which gallery each query is searched in.
//!
//! - By default, each image of a split is a query and is searched among all other images of the split (leave-one-out).
//! - Images of the split `query` are searched among those of the split `gallery`.
//! - With random galleries, one image of each class is drawn as gallery and all others are queries, several times.
//! - If images have cameras, gallery images of the query's class and camera are ignored (person re-identification).
//!
//! **Source** Song et al., *Deep metric learning via lifted structured feature embedding*, 2016, §6 (leave-one-out); Liu et al.,
//! *DeepFashion*, 2016 (query and gallery); Liu et al., *Deep relative distance learning*, 2016, §5.2 (random galleries of VehicleID);
//! Zheng et al., *Scalable person re-identification*, 2015, §4.3 (cameras).

use std::collections::BTreeMap;

use dnc_learn::metrics::{relevant_across_cameras, relevant_between, relevant_within};
use dnc_learn::streams::Streams;
use dnc_tables::Split;
use rand::Rng;

use super::embedded::EmbeddedImages;
use super::error::EvaluateError;
use super::parameters::Evaluate;
use crate::api::{Context, StageError};

/// Queries and the gallery that they are searched in.
pub(super) struct Search {
    pub(super) split: Split,
    pub(super) queries: EmbeddedImages,
    /// `None` if the queries are searched among each other.
    gallery: Option<EmbeddedImages>,
}

impl Search {
    pub(super) fn gallery(&self) -> &EmbeddedImages {
        self.gallery.as_ref().unwrap_or(&self.queries)
    }

    /// Whether cameras are used.
    pub(super) fn uses_cameras(&self) -> bool {
        self.queries.cameras.is_some()
    }

    /// Whether a query ignores a row of the gallery: the query itself or, with cameras, the same class and camera.
    pub(super) fn ignores(&self, query: usize, row: usize) -> bool {
        if self.gallery.is_none() && query == row {
            return true;
        }
        let (queries, gallery) = (&self.queries, self.gallery());
        match (&queries.cameras, &gallery.cameras) {
            (Some(here), Some(there)) => {
                let is_same = here[query].is_some() && here[query] == there[row];
                is_same && queries.labels[query] == gallery.labels[row]
            }
            _ => false,
        }
    }

    /// For each query, the number of gallery rows of its class that it does not ignore.
    pub(super) fn relevant(&self) -> Vec<u32> {
        let pairs = |side: &EmbeddedImages| {
            let cameras = side.cameras.as_ref()?;
            Some(side.labels.iter().copied().zip(cameras.iter().copied()).collect::<Vec<_>>())
        };
        match (pairs(&self.queries), pairs(self.gallery())) {
            (Some(queries), Some(gallery)) => {
                let mut relevant = relevant_across_cameras(&queries, &gallery);
                if self.gallery.is_none() {
                    // An image without a camera counts itself.
                    let alone = relevant.iter_mut().zip(&queries).filter(|(_, (_, camera))| camera.is_none());
                    alone.for_each(|(count, _)| *count -= 1);
                }
                relevant
            }
            _ if self.gallery.is_none() => relevant_within(&self.queries.labels),
            _ => relevant_between(&self.queries.labels, &self.gallery().labels),
        }
    }
}

/// The searches that evaluate a split; several with random galleries.
pub(super) fn searches(
    stage: &Evaluate,
    context: &Context<'_>,
    embedded: &EmbeddedImages,
    split: Split,
) -> Result<Vec<Search>, StageError> {
    let rows = embedded.rows_of(split);
    if split == Split::Query {
        let gallery = embedded.rows_of(Split::Gallery);
        if gallery.is_empty() {
            return Err(EvaluateError::NoGallery.into());
        }
        return Ok(vec![Search { split, queries: embedded.select(&rows), gallery: Some(embedded.select(&gallery)) }]);
    }
    let Some(repetitions) = stage.random_galleries else {
        return Ok(vec![Search { split, queries: embedded.select(&rows), gallery: None }]);
    };
    let streams = context.streams()?.named("evaluate").named("gallery");
    let mut searches = Vec::new();
    for repetition in 0..repetitions {
        context.check_cancelled()?;
        let gallery = one_of_each_class(embedded, &rows, &streams.at(repetition.into()));
        let queries: Vec<usize> = rows.iter().copied().filter(|row| gallery.binary_search(row).is_err()).collect();
        searches.push(Search { split, queries: embedded.select(&queries), gallery: Some(embedded.select(&gallery)) });
    }
    Ok(searches)
}

/// Draws one of `rows` for each class; returns them in ascending order.
fn one_of_each_class(embedded: &EmbeddedImages, rows: &[usize], streams: &Streams) -> Vec<usize> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    rows.iter().for_each(|&row| classes.entry(embedded.labels[row]).or_default().push(row));
    let mut rng = streams.rng();
    let mut drawn: Vec<usize> = classes.values().map(|rows| rows[rng.random_range(0..rows.len())]).collect();
    drawn.sort_unstable();
    drawn
}
