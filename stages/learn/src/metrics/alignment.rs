//! Alignment: how close images of the same class are to each other. Lower is better.
//!
//! **Formula** mean of ‖x − y‖₂^α over all pairs x ≠ y with the same label, α = 2, on normalised embeddings.
//!
//! **Shapes** embeddings `[images, dim]`, labels `[images]`.
//!
//! **Source** Wang and Isola, *Understanding contrastive representation learning through alignment and uniformity on the
//! hypersphere*, 2020, §4.1, eq. 3.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::{ranking::metric_error, uniformity::squared_distance};
use crate::error::Result;

/// Mean squared distance within classes; NaN if no class has two images.
///
/// # Errors
/// If `embeddings` does not have one row of `dim` values per label.
pub fn alignment(embeddings: &[f32], dim: usize, labels: &[u32]) -> Result<f64> {
    Ok(alignment_unless(embeddings, dim, labels, &AtomicBool::new(false))?.expect("nothing stops it"))
}

/// As [`alignment`], but gives up once `stopped`: large classes have very many pairs.
///
/// # Errors
/// As [`alignment`].
pub fn alignment_unless(embeddings: &[f32], dim: usize, labels: &[u32], stopped: &AtomicBool) -> Result<Option<f64>> {
    if labels.len() * dim != embeddings.len() {
        let problem = format!("{} values are not {} rows of {dim}", embeddings.len(), labels.len());
        return Err(metric_error("alignment", problem));
    }
    let mut classes: BTreeMap<u32, Vec<&[f32]>> = BTreeMap::new();
    labels
        .iter()
        .zip(embeddings.chunks_exact(dim))
        .for_each(|(label, row)| classes.entry(*label).or_default().push(row));
    let classes: Vec<Vec<&[f32]>> = classes.into_values().collect();
    let within = |rows: &Vec<&[f32]>| {
        let mut total = (0.0, 0.0);
        for (index, row) in rows.iter().enumerate() {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let pairs = rows[..index].iter();
            total = pairs.fold(total, |(sum, count), other| (sum + squared_distance(row, other), count + 1.0));
        }
        total
    };
    let sums: Vec<(f64, f64)> = classes.par_iter().map(within).collect();
    let (sum, pairs) = sums.iter().fold((0.0, 0.0), |total, class| (total.0 + class.0, total.1 + class.1));
    Ok((!stopped.load(Ordering::Relaxed)).then_some(sum / pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_mean_over_pairs_of_the_same_class() {
        // Class 1 holds 0, 1 and 3 (squares 1, 9, 4), class 2 holds 5 and 9 (16), class 3 has one image.
        let found = alignment(&[0.0, 5.0, 1.0, 3.0, 9.0, 7.0], 1, &[1, 2, 1, 1, 2, 3]).expect("well formed");
        assert_eq!(found, 30.0 / 4.0);
        assert!(alignment(&[1.0, 2.0], 1, &[1, 2]).expect("well formed").is_nan());
        assert!(alignment(&[1.0, 2.0], 1, &[1]).is_err());
        let stopped = alignment_unless(&[1.0, 2.0], 1, &[1, 1], &AtomicBool::new(true));
        assert_eq!(stopped.expect("well formed"), None);
    }
}
