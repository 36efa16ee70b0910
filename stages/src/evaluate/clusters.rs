//! Whether clusters of the embeddings are the classes: k-means with as many clusters as classes, and how much the two say of each
//! other.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{Break, Continue};

use dnc_kernels::kmeans::{Points, Stop};
use dnc_learn::metrics::{ami, nmi};

use super::embedded::Embedded;
use super::rows::Rows;
use crate::context::Context;
use crate::error::StageError;
use crate::tables::Split;

/// Iterations of k-means, if it does not settle before: as many as the papers' own evaluations give faiss.
const ITERATIONS: usize = 20;

pub(super) fn judge(context: &Context<'_>, split: Split, images: &Embedded, rows: &mut Rows) -> Result<(), StageError> {
    let failed = |source| StageError::compute("cluster the embeddings for the metric `nmi`", source);
    let classes = images.labels.iter().collect::<BTreeSet<_>>().len();
    let seed = context.streams()?.named("evaluate").named("nmi").seed();
    let points = Points::new(&images.vectors, images.dim).map_err(failed)?;
    let centroids = points.plus_plus(classes, seed).map_err(failed)?;
    let stop = Stop { iterations: ITERATIONS, tolerance: 0.0 };
    let unless_cancelled = |_, _| if context.check_cancelled().is_ok() { Continue(()) } else { Break(()) };
    let clustering = points.lloyd(&centroids, stop, unless_cancelled).map_err(failed)?;
    context.check_cancelled()?;
    let compared = |source| StageError::compute("compare clusters with classes", source);
    rows.metric(split, "nmi", None, nmi(&clustering.assignments, &images.labels).map_err(compared)?);
    rows.metric(split, "ami", None, ami(&clustering.assignments, &images.labels).map_err(compared)?);
    Ok(())
}
