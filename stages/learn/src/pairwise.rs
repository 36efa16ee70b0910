//! A matrix of distances or similarities between the rows of two tensors: once on the device with its gradient, and once on
//! the host.
//!
//! Miners select on the host. Losses sum their terms there too, entry by entry as in their formulas, together with the
//! derivative with respect to each entry. A batch of 80 has 6,400 entries: one copy each way and plain loops cost less than
//! the dozens of gathers that the same loss takes as tensor operations, on a GPU as well, and they count the informative
//! terms on the way.

use candle_core::{Device, Tensor};

use crate::checks::finite_values;
use crate::error::{LearnError, Result};

/// A matrix of distances or similarities between the rows of one tensor (down) and those of another (across).
#[derive(Clone, Debug)]
pub struct PairwiseMatrix {
    tensor: Tensor,
    values: Vec<f32>,
    columns: usize,
}

/// Derivatives of a loss with respect to the entries of a [`PairwiseMatrix`], summed up term by term.
#[derive(Clone, Debug)]
pub struct EntryDerivatives {
    values: Vec<f64>,
    columns: usize,
}

impl PairwiseMatrix {
    /// Euclidean distances within a batch: embeddings `[batch, dim]`, result `[batch, batch]`.
    ///
    /// # Errors
    /// If `embeddings` is not a matrix, or the device fails.
    pub fn distances(embeddings: &Tensor) -> Result<Self> {
        Self::of(dnc_kernels::pairwise_distances(embeddings, embeddings)?)
    }

    /// Inner products, which are cosines for normalised rows: rows `[m, dim]`, others `[n, dim]`, result `[m, n]`.
    ///
    /// # Errors
    /// If the rows differ in length, or the device fails.
    pub fn similarities(rows: &Tensor, others: &Tensor) -> Result<Self> {
        Self::of(dnc_kernels::linear(rows, others, None)?)
    }

    /// Distances within a batch, followed by those to other embeddings: embeddings `[batch, dim]`, others `[n, dim]`, result
    /// `[batch, batch + n]`.
    ///
    /// # Errors
    /// If the rows differ in length, or the device fails.
    pub fn distances_and_to(embeddings: &Tensor, others: &Tensor) -> Result<Self> {
        let within = dnc_kernels::pairwise_distances(embeddings, embeddings)?; // [batch, batch]
        let across = dnc_kernels::pairwise_distances(embeddings, others)?; // [batch, n]
        Self::of(Tensor::cat(&[within, across], 1)?)
    }

    /// A matrix that was computed elsewhere.
    pub(crate) fn of(tensor: Tensor) -> Result<Self> {
        let (_, columns) = tensor.dims2()?;
        let values = finite_values(&tensor.detach(), "distances or similarities between the batch's embeddings")?;
        Ok(Self { tensor, values, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All entries of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// One entry.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.row(row)[column])
    }

    /// Derivatives with respect to the entries, all zero.
    pub fn zero_derivatives(&self) -> EntryDerivatives {
        EntryDerivatives { values: vec![0.0; self.values.len()], columns: self.columns }
    }

    /// The tensor with its gradient and the derivatives with respect to it: an argument of [`scalar`].
    pub fn with<'a>(&'a self, derivatives: &'a EntryDerivatives) -> (&'a Tensor, &'a [f64]) {
        (&self.tensor, &derivatives.values)
    }

    /// Checks that there is one label per row.
    pub(crate) fn check_row_labels(&self, labels: &[u32]) -> Result<()> {
        check_labels(labels, self.rows())
    }

    /// Checks that there is one label per column.
    pub(crate) fn check_column_labels(&self, labels: &[u32]) -> Result<()> {
        check_labels(labels, self.columns)
    }
}

fn check_labels(labels: &[u32], images: usize) -> Result<()> {
    if labels.len() == images {
        return Ok(());
    }
    let wanted = format!("one label for each of {images} images");
    Err(LearnError::Shape { name: "labels".into(), wanted, found: vec![labels.len()] })
}

impl EntryDerivatives {
    /// Adds to the derivative with respect to one entry.
    pub fn add(&mut self, row: usize, column: usize, derivative: f64) {
        self.values[row * self.columns + column] += derivative;
    }

    /// Divides all derivatives, as for a mean.
    pub fn divide(&mut self, by: f64) {
        self.values.iter_mut().for_each(|derivative| *derivative /= by);
    }
}

/// A scalar tensor with the given value, whose derivatives with respect to the tensors in `parts` are the ones beside them.
///
/// It is `Σ ⟨tensor, derivatives⟩`, which has those derivatives, shifted to `value`.
///
/// # Errors
/// If a tensor and its derivatives differ in size, or the device fails.
pub fn scalar(value: f64, parts: &[(&Tensor, &[f64])]) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), candle_core::DType::F32, parts.first().map_or(&Device::Cpu, |(t, _)| t.device()))?;
    for (tensor, derivatives) in parts {
        let derivatives: Vec<f32> = derivatives.iter().map(|&derivative| derivative as f32).collect();
        let derivatives = Tensor::from_vec(derivatives, tensor.shape(), tensor.device())?;
        sum = (sum + (*tensor * derivatives)?.sum_all()?)?;
    }
    let moved = (&sum - sum.detach())?;
    Ok((moved + value)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    #[test]
    fn a_scalar_has_the_given_value_and_derivatives() {
        let x = Var::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let matrix = PairwiseMatrix::of(x.as_tensor().clone()).unwrap();
        let mut derivatives = matrix.zero_derivatives();
        derivatives.add(0, 1, 3.0);
        derivatives.add(0, 1, 1.0);
        derivatives.add(1, 0, -2.0);
        derivatives.divide(2.0);
        let loss = scalar(7.5, &[matrix.with(&derivatives)]).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 7.5);
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 2.0], [-1.0, 0.0]]);
    }

    #[test]
    fn the_number_of_labels_is_checked() {
        let matrix = PairwiseMatrix::distances(&Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap());
        let error = matrix.unwrap().check_column_labels(&[0, 1]).unwrap_err();
        insta::assert_snapshot!(error, @"`labels` has shape [2], expected one label for each of 3 images");
    }
}
