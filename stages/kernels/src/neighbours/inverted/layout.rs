//! The division of rows into lists by k-means.

use std::ops::ControlFlow;

use super::super::{Gallery, OPERATION};
use crate::{
    distance::check_rows,
    error::{Result, shape_error},
    kmeans::{Points, Stop},
};

/// Rows per list that k-means looks at; more do not move the centroids by much.
const SAMPLE: usize = 128;

/// Which rows belong to which list.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The centroid of each list, `[lists, dim]`.
    pub centroids: Vec<f32>,
    /// The rows in the order of the lists; ascending within a list.
    pub rows: Vec<u32>,
    /// Where each list ends in `rows`.
    pub ends: Vec<u32>,
}

impl Layout {
    /// `rows`, `[n, dim]`, in the order of the lists.
    pub fn ordered(&self, rows: &[f32], dim: usize) -> Vec<f32> {
        self.rows.iter().flat_map(|&row| &rows[row as usize * dim..][..dim]).copied().collect()
    }
}

/// Divides `rows`, `[n, dim]`, into `lists` lists. k-means clusters a regular sample of the rows; every row then belongs to the list of
/// its nearest centroid. A list can be empty.
///
/// # Errors
/// If `rows` is not a whole number of finite rows of `dim`, or there are no lists or more than rows.
pub fn divide(rows: &[f32], dim: usize, lists: usize, stop: Stop, seed: u64) -> Result<Layout> {
    check_rows(OPERATION, "rows", rows, dim)?;
    let count = rows.len() / dim;
    if lists == 0 || lists > count {
        return Err(shape_error(OPERATION, format!("{lists} lists of {count} rows: expected 1 to {count}")));
    }
    let step = (count / (lists * SAMPLE)).max(1);
    let sample: Vec<f32> = rows.chunks_exact(dim).step_by(step).flatten().copied().collect();
    let points = Points::new(&sample, dim)?;
    let start = points.plus_plus(lists, seed)?;
    let centroids = points.lloyd(&start, stop, |_, _| ControlFlow::Continue(()))?.centroids;

    let nearest = Gallery::new(&centroids, dim)?.nearest(rows, 1, |_, _| false)?;
    let mut ends = vec![0; lists];
    for &list in &nearest.ids {
        ends[list as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total;
    }
    let mut ordered: Vec<u32> = (0..count as u32).collect();
    ordered.sort_by_key(|&row| nearest.ids[row as usize]);
    Ok(Layout { centroids, rows: ordered, ends })
}
