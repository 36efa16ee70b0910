//! Uniformity: how evenly the embeddings are spread over the hypersphere. Lower is better; the minimum is about −2t.
//!
//! **Formula** logarithm of the mean of exp(−t ‖x − y‖₂²) over all pairs x ≠ y, t = 2, on normalised embeddings. There are n²/2
//! pairs, so pass a sample of a few thousand rows: the mean over its pairs estimates that over all.
//!
//! **Shapes** embeddings `[images, dim]`.
//!
//! **Source** Wang and Isola, *Understanding contrastive representation learning through alignment and uniformity on the
//! hypersphere*, 2020, §4.1, eq. 4.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::ranking::metric_error;
use crate::error::Result;

/// t of the formula, as in the paper.
const TEMPERATURE: f64 = 2.0;

/// Uniformity of all rows; NaN for fewer than two.
///
/// # Errors
/// If `embeddings` is not a whole number of rows of `dim` values.
pub fn uniformity(embeddings: &[f32], dim: usize) -> Result<f64> {
    Ok(uniformity_unless(embeddings, dim, &AtomicBool::new(false))?.expect("nothing stops it"))
}

/// As [`uniformity`], but gives up once `stopped`: there are very many pairs.
///
/// # Errors
/// As [`uniformity`].
pub fn uniformity_unless(embeddings: &[f32], dim: usize, stopped: &AtomicBool) -> Result<Option<f64>> {
    if dim == 0 || !embeddings.len().is_multiple_of(dim) {
        return Err(metric_error(
            "uniformity",
            format!("{} values are not a whole number of rows of {dim}", embeddings.len()),
        ));
    }
    let rows: Vec<&[f32]> = embeddings.chunks_exact(dim).collect();
    let kernel = |index: usize| -> f64 {
        if stopped.load(Ordering::Relaxed) {
            return 0.0;
        }
        rows[..index].iter().map(|other| (-TEMPERATURE * squared_distance(rows[index], other)).exp()).sum()
    };
    let sums: Vec<f64> = (0..rows.len()).into_par_iter().map(kernel).collect();
    let pairs = rows.len() as f64 * (rows.len() as f64 - 1.0) / 2.0;
    let mean = sums.iter().sum::<f64>() / pairs;
    Ok((!stopped.load(Ordering::Relaxed)).then(|| mean.ln()))
}

/// ‖a − b‖², summed in a fixed number of lanes, so that the result does not depend on the instruction set.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += (a - b) * (a - b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() + f64::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        let mean = ((-2.0f64).exp() + (-8.0f64).exp() + (-2.0f64).exp()) / 3.0;
        let found = uniformity(&[0.0, 1.0, 2.0], 1).expect("well formed");
        assert!((found - mean.ln()).abs() < 1e-12);
        assert_eq!(uniformity(&[0.5; 12], 3).expect("well formed"), 0.0);
        assert!(uniformity(&[0.5; 3], 3).expect("well formed").is_nan());
        assert!(uniformity(&[0.5; 4], 3).is_err());
        let stopped = uniformity_unless(&[0.0, 1.0, 2.0], 1, &AtomicBool::new(true));
        assert_eq!(stopped.expect("well formed"), None);
    }

    #[test]
    fn distances_of_any_length() {
        for length in [0, 1, 7, 8, 9, 100] {
            let (a, b): (Vec<f32>, Vec<f32>) = (0..length).map(|i| (i as f32, 0.5 * i as f32)).unzip();
            let expected: f64 = (0..length).map(|i| 0.25 * f64::from(i) * f64::from(i)).sum();
            assert!((squared_distance(&a, &b) - expected).abs() <= 1e-5 * expected);
        }
    }
}
