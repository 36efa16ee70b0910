//! NMI and AMI: agreement between the classes and k-means clusters of the embeddings.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{Break, Continue};

use dnc_kernels::kmeans::{Points, Stop};
use dnc_learn::metrics::{ami, nmi};
use dnc_tables::Split;

use super::embedded::EmbeddedImages;
use super::results::Results;
use crate::api::{Context, StageError};

/// Maximum number of k-means iterations, as in the evaluations of the papers with faiss.
const ITERATIONS: usize = 20;

/// Clusters the images into as many clusters as they have classes and adds NMI and AMI.
pub(super) fn add_metrics(
    context: &Context<'_>,
    split: Split,
    images: &EmbeddedImages,
    results: &mut Results,
) -> Result<(), StageError> {
    let failed = |source| StageError::compute("cluster the embeddings for the metrics `nmi` and `ami`", source);
    let classes = images.labels.iter().collect::<BTreeSet<_>>().len();
    let seed = context.streams()?.named("evaluate").named("nmi").seed();
    let points = Points::on(&images.vectors, images.dim, context.device()?).map_err(failed)?;
    let stopped = || context.check_cancelled().is_err();
    let centroids = points.plus_plus_unless(classes, seed, stopped).map_err(failed)?.ok_or(StageError::Cancelled)?;
    let stop = Stop { iterations: ITERATIONS, tolerance: 0.0 };
    let unless_cancelled = |_, _| if context.check_cancelled().is_ok() { Continue(()) } else { Break(()) };
    let clustering = points.lloyd(&centroids, stop, unless_cancelled).map_err(failed)?;
    context.check_cancelled()?;
    let failed = |source| StageError::compute("compare the clusters with the classes", source);
    results.add(split, "nmi", None, nmi(&clustering.assignments, &images.labels).map_err(failed)?);
    results.add(split, "ami", None, ami(&clustering.assignments, &images.labels).map_err(failed)?);
    Ok(())
}
