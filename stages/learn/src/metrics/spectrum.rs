//! Spectrum of an embedding: how many of its d dimensions carry variance, which dividing the embedding space is meant to increase.
//!
//! **Formula** with σ₁ ≥ … ≥ σ_d the singular values of the centred embeddings and s_i = σ_i / Σσ:
//! - spectral decay ρ = KL(U ‖ s) = Σ_i 1/d · ln(1 / (d s_i)), U uniform: 0 if all directions carry the same variance, and larger
//!   the more it is concentrated in few;
//! - effective rank = exp(−Σ_i s_i ln s_i), between 1 and d.
//!
//! **Shapes** embeddings `[images, dim]`.
//!
//! **Source** Roth et al., *Revisiting training strategies and generalization performance in deep metric learning*, 2020, §5
//! (ρ); Roy and Vetterli, *The effective rank*, 2007, eq. 5.
//!
//! `Deviation:` Roth et al. do not centre the embeddings, and leave out the first singular value, which is then mostly their mean.
//! Here the mean is subtracted and all singular values are used.

use faer::{Accum, Mat, MatRef, Par, Side, linalg::matmul::matmul};
use rayon::prelude::*;

use super::ranking::metric_error;
use crate::error::Result;

/// Lower bound on the shares: a direction without any variance would make ρ infinite.
const SMALLEST_SHARE: f64 = 1e-12;

/// Distribution of the variance of an embedding over directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// s_i: the singular values as shares of their sum, largest first, `[dim]`.
    pub shares: Vec<f64>,
    /// ρ, the spectral decay.
    pub decay: f64,
    /// Effective rank, between 1 and d.
    pub effective_rank: f64,
}

/// The spectrum of `embeddings`.
///
/// # Errors
/// If `embeddings` is not a whole number of rows of `dim` values, all rows are equal, or a value is not finite.
pub fn spectrum(embeddings: &[f32], dim: usize) -> Result<Spectrum> {
    if dim == 0 || embeddings.is_empty() || !embeddings.len().is_multiple_of(dim) {
        return Err(metric_error(
            "spectrum",
            format!("{} values are not a whole number of rows of {dim}", embeddings.len()),
        ));
    }
    // Both products have the same eigenvalues but for zeros, and the smaller one is enough.
    let count = embeddings.len() / dim;
    let product = if count < dim { gram(embeddings, dim) } else { scatter(embeddings, dim) };
    let variances = product.self_adjoint_eigenvalues(Side::Lower).map_err(|_| {
        metric_error("spectrum", "the singular values did not converge; check that every value is finite")
    })?;
    // Largest first; rounding may leave a zero slightly negative.
    let mut singular: Vec<f64> = variances.iter().rev().map(|variance| variance.max(0.0).sqrt()).collect();
    singular.resize(dim, 0.0);
    let sum: f64 = singular.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return Err(metric_error("spectrum", "all rows are equal, or a value is not finite"));
    }
    let shares: Vec<f64> = singular.iter().map(|value| value / sum).collect();
    let d = dim as f64;
    let decay = shares.iter().map(|share| -(d * share.max(SMALLEST_SHARE)).ln() / d).sum();
    let entropy: f64 = shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
    Ok(Spectrum { shares, decay, effective_rank: entropy.exp() })
}

/// Xᵀ X of the centred rows X, `[dim, dim]`, in double precision. Each strip of columns sums over the rows in their order, so that
/// the result does not depend on the number of threads.
fn scatter(embeddings: &[f32], dim: usize) -> Mat<f64> {
    const ROWS: usize = 1024;
    const STRIP: usize = 64;
    let mean = mean_row(embeddings, dim);
    let strip = |first: usize| {
        let mut strip = Mat::<f64>::zeros(dim, STRIP.min(dim - first));
        for rows in embeddings.chunks(ROWS * dim) {
            let centred: Vec<f64> =
                rows.iter().enumerate().map(|(index, value)| f64::from(*value) - mean[index % dim]).collect();
            let centred = MatRef::from_row_major_slice(&centred, rows.len() / dim, dim);
            let columns = centred.subcols(first, strip.ncols());
            matmul(&mut strip, Accum::Add, centred.transpose(), columns, 1.0, Par::Seq);
        }
        strip
    };
    let strips: Vec<Mat<f64>> = (0..dim).into_par_iter().step_by(STRIP).map(strip).collect();
    Mat::from_fn(dim, dim, |row, column| strips[column / STRIP][(row, column % STRIP)])
}

/// X Xᵀ of the centred rows X, `[rows, rows]`, in double precision.
fn gram(embeddings: &[f32], dim: usize) -> Mat<f64> {
    const STRIP: usize = 64;
    let count = embeddings.len() / dim;
    let mean = mean_row(embeddings, dim);
    let centred = Mat::from_fn(dim, count, |i, row| f64::from(embeddings[row * dim + i]) - mean[i]);
    let strip = |first: usize| {
        let columns = centred.subcols(first, STRIP.min(count - first));
        let mut strip = Mat::<f64>::zeros(count, columns.ncols());
        matmul(&mut strip, Accum::Replace, centred.transpose(), columns, 1.0, Par::Seq);
        strip
    };
    let strips: Vec<Mat<f64>> = (0..count).into_par_iter().step_by(STRIP).map(strip).collect();
    Mat::from_fn(count, count, |row, column| strips[column / STRIP][(row, column % STRIP)])
}

/// The mean of all rows, `[dim]`.
fn mean_row(embeddings: &[f32], dim: usize) -> Vec<f64> {
    let count = embeddings.len() / dim;
    let mut mean = vec![0.0; dim];
    for row in embeddings.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / count as f64);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_spectrum_has_no_decay() {
        // ± unit vectors around a mean far from the origin, which is subtracted.
        let rows: Vec<f32> = (0..8)
            .flat_map(|row| (0..4).map(move |i| 5.0 + if row / 2 == i { 1.0 - 2.0 * (row % 2) as f32 } else { 0.0 }))
            .collect();
        let found = spectrum(&rows, 4).expect("well formed");
        assert!(found.decay.abs() < 1e-12 && (found.effective_rank - 4.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn unused_directions_increase_the_decay() {
        // Singular values in the ratio 3 : 1 along two of three directions.
        let found = spectrum(&[3.0, 0.0, 0.0, -3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0], 3).expect("well formed");
        let rank = (-(0.75f64 * 0.75f64.ln()) - 0.25 * 0.25f64.ln()).exp();
        let decay = -((3.0f64 * 0.75).ln() + (3.0f64 * 0.25).ln() + (3.0 * SMALLEST_SHARE).ln()) / 3.0;
        assert!((found.effective_rank - rank).abs() < 1e-9, "{found:?}");
        assert!((found.decay - decay).abs() < 1e-6, "{found:?} {decay}");
    }

    #[test]
    fn fewer_rows_than_dimensions_have_the_spectrum_of_the_scatter_matrix() {
        let (count, dim) = (70, 150);
        let rows: Vec<f32> = (0..count * dim).map(|i| ((i * 37 % 101) as f32).sin() + (i % dim) as f32).collect();
        let found = spectrum(&rows, dim).expect("well formed");
        let expected = scatter(&rows, dim).self_adjoint_eigenvalues(Side::Lower).expect("finite");
        let expected: Vec<f64> = expected.iter().rev().take(count - 1).map(|variance| variance.sqrt()).collect();
        let sum: f64 = expected.iter().sum();
        for (found, expected) in found.shares.iter().zip(expected) {
            assert!((found - expected / sum).abs() < 1e-9, "{found} {}", expected / sum);
        }
        assert_eq!(found.shares.len(), dim);
    }

    #[test]
    fn agrees_with_a_plain_scatter_matrix() {
        let (count, dim) = (1500, 70);
        let rows: Vec<f32> = (0..count * dim).map(|i| ((i * 37 % 101) as f32).sin() + (i % dim) as f32).collect();
        let found = scatter(&rows, dim);
        let mean = |i: usize| (0..count).map(|row| f64::from(rows[row * dim + i])).sum::<f64>() / count as f64;
        for (i, j) in [(0, 0), (3, 66), (69, 69), (64, 1)] {
            let expected: f64 = (0..count)
                .map(|row| (f64::from(rows[row * dim + i]) - mean(i)) * (f64::from(rows[row * dim + j]) - mean(j)))
                .sum();
            assert!((found[(i, j)] - expected).abs() < 1e-8, "{} is not {expected}", found[(i, j)]);
        }
    }

    #[test]
    fn rejects_inputs_without_a_spectrum() {
        let check = |rows: &[f32], expected: &str| {
            let error = spectrum(rows, 2).expect_err("there is no spectrum");
            assert_eq!(error.to_string(), format!("Cannot compute `spectrum`: {expected}"));
        };
        check(&[1.0, 2.0, 1.0, 2.0], "all rows are equal, or a value is not finite");
        check(&[1.0, 2.0, 1.0], "3 values are not a whole number of rows of 2");
    }
}
