//! How the rows of a batch compare with each other: a matrix of distances or similarities, once on the device with its
//! gradient and once on the host.
//!
//! Miners choose on the host and losses sum up there, entry by entry as their formulas say, together with the
//! derivative by each entry. A batch of 80 has 6,400 entries: one copy each way and plain loops cost less than the dozens
//! of gathers that the same loss takes in tensor operations, on a GPU too, and they count informative terms on the way.

use candle_core::{Device, Tensor};

use crate::error::{LearnError, Result};

/// A matrix of comparisons between the rows of one tensor (down) and of another (across).
#[derive(Clone, Debug)]
pub struct Comparisons {
    tensor: Tensor,
    values: Vec<f32>,
    columns: usize,
}

/// Derivatives of a loss by the entries of a [`Comparisons`], summed up term by term.
#[derive(Clone, Debug)]
pub struct Slopes {
    values: Vec<f64>,
    columns: usize,
}

impl Comparisons {
    /// Euclidean distances within a batch: embeddings `[batch, dim]`, result `[batch, batch]`.
    ///
    /// # Errors
    /// `embeddings` is no matrix, or the device fails.
    pub fn distances(embeddings: &Tensor) -> Result<Self> {
        Self::of(dnc_kernels::pairwise_distances(embeddings, embeddings)?)
    }

    /// Inner products, which are cosines for normalised rows: rows `[m, dim]`, others `[n, dim]`, result `[m, n]`.
    ///
    /// # Errors
    /// The rows differ in length, or the device fails.
    pub fn similarities(rows: &Tensor, others: &Tensor) -> Result<Self> {
        Self::of(dnc_kernels::linear(rows, others, None)?)
    }

    /// Comparisons that were made elsewhere, as a matrix.
    pub(crate) fn of(tensor: Tensor) -> Result<Self> {
        let (_, columns) = tensor.dims2()?;
        let values: Vec<f32> = tensor.detach().flatten_all()?.to_vec1()?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(LearnError::NotFinite { what: "comparisons of the batch's embeddings" });
        }
        Ok(Self { tensor, values, columns })
    }

    /// How many rows are compared.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    /// With how many others each is compared.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All comparisons of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// One comparison.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.row(row)[column])
    }

    /// Derivatives by these entries, all zero.
    pub fn slopes(&self) -> Slopes {
        Slopes { values: vec![0.0; self.values.len()], columns: self.columns }
    }

    /// The tensor with its gradient, beside the derivatives by it: an argument of [`scalar`].
    pub fn with<'a>(&'a self, slopes: &'a Slopes) -> (&'a Tensor, &'a [f64]) {
        (&self.tensor, &slopes.values)
    }

    /// Refuses labels that are not one a row.
    pub(crate) fn check_labels(&self, labels: &[u32]) -> Result<()> {
        if labels.len() == self.rows() {
            return Ok(());
        }
        let wanted = format!("one label for each of {} images", self.rows());
        Err(LearnError::Shape { name: "labels".into(), wanted, found: vec![labels.len()] })
    }
}

impl Slopes {
    /// Adds to the derivative by one entry.
    pub fn add(&mut self, row: usize, column: usize, slope: f64) {
        self.values[row * self.columns + column] += slope;
    }

    /// Divides all derivatives, as for a mean.
    pub fn divide(&mut self, by: f64) {
        self.values.iter_mut().for_each(|slope| *slope /= by);
    }
}

/// A scalar tensor that equals `value` and whose derivatives by the tensors in `parts` are the slopes beside them.
///
/// It is `Σ ⟨tensor, slopes⟩`, which has those derivatives, moved to the value that it should have.
///
/// # Errors
/// A tensor and its slopes differ in size, or the device fails.
pub fn scalar(value: f64, parts: &[(&Tensor, &[f64])]) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), candle_core::DType::F32, parts.first().map_or(&Device::Cpu, |(t, _)| t.device()))?;
    for (tensor, slopes) in parts {
        let slopes: Vec<f32> = slopes.iter().map(|&slope| slope as f32).collect();
        let slopes = Tensor::from_vec(slopes, tensor.shape(), tensor.device())?;
        sum = (sum + (*tensor * slopes)?.sum_all()?)?;
    }
    let moved = (&sum - sum.detach())?;
    Ok((moved + value)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    #[test]
    fn a_scalar_has_the_value_and_the_slopes_that_it_is_given() {
        let x = Var::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let matrix = Comparisons::of(x.as_tensor().clone()).unwrap();
        let mut slopes = matrix.slopes();
        slopes.add(0, 1, 3.0);
        slopes.add(0, 1, 1.0);
        slopes.add(1, 0, -2.0);
        slopes.divide(2.0);
        let loss = scalar(7.5, &[matrix.with(&slopes)]).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 7.5);
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 2.0], [-1.0, 0.0]]);
    }

    #[test]
    fn labels_are_counted_at_the_door() {
        let matrix = Comparisons::distances(&Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap());
        let error = matrix.unwrap().check_labels(&[0, 1]).unwrap_err();
        insta::assert_snapshot!(error, @"`labels` has shape [2], but one label for each of 3 images is wanted");
    }
}
