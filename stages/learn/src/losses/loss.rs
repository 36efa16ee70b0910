//! The loss trait, and the inputs and outputs of a loss.
//!
//! A step calls [`Loss::references`], lets the miner select from the result, calls [`Loss::forward`], and, for a loss that keeps
//! state, [`Loss::next_state`].

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::error::{LearnError, Result};
use crate::miners::{BatchAll, MinerConfig, Selection};
use crate::pairwise::PairwiseMatrix;
use crate::spec::{Initialisation, Spec};
use crate::weights::NamedTensor;

/// Prefix of the names of state tensors in a model; the learner and the tensor's own name follow.
const STATE: &str = "loss.state.";

/// A loss function over the pairs, triplets or proxies of a batch.
pub trait Loss {
    /// The tensor that the loss learns, for a data set of `classes` classes and embeddings of `dimension` coordinates.
    fn learned(&self, _classes: usize, _dimension: usize) -> Option<Learned> {
        None
    }

    /// Whether the loss is computed on the selection of a miner.
    fn uses_miner(&self) -> bool {
        true
    }

    /// The miner to use if none is configured.
    fn default_miner(&self) -> MinerConfig {
        MinerConfig::BatchAll(BatchAll {})
    }

    /// The distance from which on a negative adds nothing to the loss, if there is such a fixed distance.
    fn max_negative_distance(&self) -> Option<f64> {
        None
    }

    /// The embeddings that each image of the batch is compared with: by default, those of the batch.
    ///
    /// # Errors
    /// If the state does not match the batch, or the device fails.
    fn references(&self, batch: &EmbeddedBatch<'_>) -> Result<References> {
        Ok(References { distances: PairwiseMatrix::distances(batch.embeddings)?, labels: batch.labels.to_vec() })
    }

    /// The state of this learner after the step on `batch`; `None` for a loss without state.
    ///
    /// # Errors
    /// If the state does not match the batch, or the device fails.
    fn next_state(&self, _batch: &EmbeddedBatch<'_>) -> Result<Option<LossState>> {
        Ok(None)
    }

    /// Computes the loss of a batch on the miner's selection.
    ///
    /// # Errors
    /// If the labels or the learned tensor do not match the batch, or the device fails.
    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput>;

    /// Checks the hyper-parameters.
    ///
    /// # Errors
    /// If one is out of range; the error names it.
    fn check(&self) -> Result<()>;
}

/// Tensors that a loss keeps from step to step, by name: one set per learner. They are not trained. A model stores them next to
/// its parameters, so that an interrupted training resumes with them; a new round starts without.
pub type LossState = BTreeMap<String, Tensor>;

/// A batch after the projection onto the learner's subspace.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedBatch<'a> {
    /// L2-normalised embeddings in the learner's subspace, `[batch, dim]`.
    pub embeddings: &'a Tensor,
    /// The class of each image, counted from 0.
    pub labels: &'a [u32],
    /// The number of each image among the training images.
    pub images: &'a [u32],
    /// Number of optimiser steps taken before this one, over all rounds.
    pub step: u64,
    /// The state of the loss for this learner.
    pub state: &'a LossState,
}

/// The embeddings that the images of a batch are compared with. The first ones are those of the batch, in its order.
#[derive(Clone, Debug)]
pub struct References {
    /// Distances from the images of the batch, `[batch, references]`.
    pub distances: PairwiseMatrix,
    /// The class of each reference.
    pub labels: Vec<u32>,
}

/// The input of a loss.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// L2-normalised embeddings in the learner's subspace, `[batch, dim]`.
    pub embeddings: &'a Tensor,
    /// Distances to the [`References`], `[batch, references]`, on which the miner has made its selection.
    pub distances: &'a PairwiseMatrix,
    /// The class of each reference, counted from 0.
    pub labels: &'a [u32],
    /// The tensor that [`Loss::learned`] asked for.
    pub learned: Option<&'a Tensor>,
}

/// The output of a loss.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The scalar to minimise; its gradient reaches the embeddings and the learned tensor.
    pub objective: Tensor,
    /// Its value.
    pub value: f64,
    /// Number of triplets or pairs that the loss was computed on.
    pub terms: usize,
    /// Number of informative ones among them: those with a loss above zero. For a smooth loss, which never reaches zero, those
    /// on the wrong side of the boundary that its file defines. Their share falls as training proceeds.
    pub informative: usize,
}

/// A tensor that a loss learns in addition to the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// Coefficients, `[1]` or `[classes]`.
    Coefficients(Spec),
    /// Points in the embedding space, `[classes, dim]`. They enter the loss as embeddings do: projected onto the learner's
    /// subspace and L2-normalised.
    Points(Spec),
}

impl Learned {
    /// One coefficient per class, or one for all classes, with the initial value `value`.
    pub(super) fn coefficients(name: &str, count: usize, value: f64) -> Self {
        Learned::Coefficients(Spec::weight(name, [count], Initialisation::Constant(value as f32)))
    }

    /// The tensor that the model has to hold.
    pub fn spec(&self) -> &Spec {
        match self {
            Learned::Coefficients(spec) | Learned::Points(spec) => spec,
        }
    }
}

impl Batch<'_> {
    /// The learned tensor. Its first axis must cover every label of the batch, unless its shape is `[1]`.
    pub(super) fn learned(&self, name: &'static str) -> Result<&Tensor> {
        let tensor = self.learned.ok_or_else(|| LearnError::NoTensor { name: name.into() })?;
        let classes = tensor.dims().first().copied().unwrap_or(0);
        let largest = self.labels.iter().max().map_or(0, |&label| label as usize);
        if largest < classes || tensor.dims() == [1] {
            return Ok(tensor);
        }
        let wanted = format!("a row for class {largest}");
        Err(LearnError::Shape { name: name.into(), wanted, found: tensor.dims().to_vec() })
    }
}

/// The prefix of the state tensors of `learner` in a model.
pub(crate) fn state_prefix(learner: usize) -> String {
    format!("{STATE}{learner}.")
}

/// Whether `tensor` belongs to the state of a loss.
pub(crate) fn is_state(tensor: &NamedTensor) -> bool {
    tensor.name.starts_with(STATE)
}

/// Removes the state of the loss from the tensors of a model: what a loss remembers refers to the division of its round.
pub fn drop_state(tensors: &mut Vec<NamedTensor>) {
    tensors.retain(|tensor| !is_state(tensor));
}

/// `ln(1 + Σ eˣ)` over `exponents`, and the weight `eˣ / (1 + Σ eˣ)` of each, which is the derivative with respect to it.
/// Numerically stable for exponents of any size.
pub(super) fn log_one_plus_sum_exp(exponents: &[f64]) -> (f64, Vec<f64>) {
    let largest = exponents.iter().copied().fold(0.0, f64::max);
    let powers: Vec<f64> = exponents.iter().map(|x| (x - largest).exp()).collect();
    let sum = (-largest).exp() + powers.iter().sum::<f64>();
    (largest + sum.ln(), powers.into_iter().map(|power| power / sum).collect())
}
