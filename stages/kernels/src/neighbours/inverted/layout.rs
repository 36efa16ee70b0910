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

/// Rows whose lists are found at a time.
const BLOCK: usize = 4096;

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
        let mut ordered = Vec::with_capacity(self.rows.len() * dim);
        for &row in &self.rows {
            ordered.extend_from_slice(&rows[row as usize * dim..][..dim]);
        }
        ordered
    }
}

/// Divides `rows`, `[n, dim]`, into `lists` lists. k-means clusters a regular sample of the rows; every row then belongs to the list of
/// its nearest centroid. A list can be empty.
///
/// # Errors
/// If `rows` is not a whole number of finite rows of `dim`, or there are no lists or more than rows.
pub fn divide(rows: &[f32], dim: usize, lists: usize, stop: Stop, seed: u64) -> Result<Layout> {
    Ok(divide_unless(rows, dim, lists, (stop, seed), || false)?.expect("nothing stops it"))
}

/// As [`divide`], but gives up once `stopped`, which it asks every few thousand rows, and after each iteration.
///
/// # Errors
/// As [`divide`].
pub fn divide_unless(
    rows: &[f32],
    dim: usize,
    lists: usize,
    (stop, seed): (Stop, u64),
    stopped: impl Fn() -> bool,
) -> Result<Option<Layout>> {
    check_rows(OPERATION, "rows", rows, dim)?;
    let count = rows.len() / dim;
    if lists == 0 || lists > count {
        return Err(shape_error(OPERATION, format!("{lists} lists of {count} rows: expected 1 to {count}")));
    }
    let step = (count / (lists * SAMPLE)).max(1);
    let sample: Vec<f32> = rows.chunks_exact(dim).step_by(step).flatten().copied().collect();
    let points = Points::new(&sample, dim)?;
    let Some(start) = points.plus_plus_unless(lists, seed, &stopped)? else { return Ok(None) };
    let unless_stopped = |_, _| if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let centroids = points.lloyd(&start, stop, unless_stopped)?.centroids;

    let Some(list_of) = nearest_lists(rows, dim, &centroids, stopped)? else { return Ok(None) };
    let mut ends = vec![0; lists];
    for &list in &list_of {
        ends[list as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total;
    }
    let mut ordered: Vec<u32> = (0..count as u32).collect();
    ordered.sort_by_key(|&row| list_of[row as usize]);
    Ok(Some(Layout { centroids, rows: ordered, ends }))
}

/// The list of each row, that of its nearest centroid, unless `stopped` between two blocks.
fn nearest_lists(rows: &[f32], dim: usize, centroids: &[f32], stopped: impl Fn() -> bool) -> Result<Option<Vec<u32>>> {
    let gallery = Gallery::new(centroids, dim)?;
    let mut list_of = Vec::with_capacity(rows.len() / dim);
    for block in rows.chunks(BLOCK * dim) {
        if stopped() {
            return Ok(None);
        }
        list_of.extend(gallery.nearest(block, 1, |_, _| false)?.ids);
    }
    Ok(Some(list_of))
}
