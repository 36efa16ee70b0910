//! Losses of metric learning: how bad the comparisons within a batch are.
//!
//! Read [`margin`] first, which is the papers' own, then its siblings. A loss takes normalised embeddings, labels and
//! the [`Selection`] that a miner made, or everything; nothing owns the miner. Each sums up its terms on the host together
//! with their derivatives (see [`comparisons`](crate::comparisons) for why) and gives back a scalar with a gradient.
//!
//! To add one: write its file, add a line to [`LossConfig`] and to [`LossConfig::as_loss`].

mod contrastive;
mod margin;
mod multi_similarity;
mod n_pairs;
mod proxy_anchor;
mod triplet;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use contrastive::Contrastive;
pub use margin::{Beta, Margin};
pub use multi_similarity::MultiSimilarity;
pub use n_pairs::NPairs;
pub use proxy_anchor::ProxyAnchor;
pub use triplet::Triplet;

use crate::comparisons::Comparisons;
use crate::error::{LearnError, Result};
use crate::miners::{BatchAll, MinerConfig, Selection};
use crate::parameters::{Init, Spec};

/// A loss and its hyper-parameters, as in `{ kind = "margin", beta = 1.2, margin = 0.2 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LossConfig {
    /// Pairs on the right side of a boundary between near and far, which may be learned.
    Margin(Margin),
    /// Positives nearer than negatives.
    Triplet(Triplet),
    /// One positive against the positives of all other classes.
    NPairs(NPairs),
    /// Positives near, negatives far.
    Contrastive(Contrastive),
    /// Pairs weighted by how they compare with the others of their anchor.
    MultiSimilarity(MultiSimilarity),
    /// A learned proxy a class, against all images of the batch.
    ProxyAnchor(ProxyAnchor),
}

/// A batch as a loss sees it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// L2-normalised embeddings in the learner's subspace, `[batch, dim]`.
    pub embeddings: &'a Tensor,
    /// Distances between them, `[batch, batch]`, which the miner has seen too.
    pub distances: &'a Comparisons,
    /// The class of each, counted from 0.
    pub labels: &'a [u32],
    /// What the loss learns, as [`Loss::learned`] asked for it.
    pub learned: Option<&'a Tensor>,
}

/// What a loss makes of a batch.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The scalar to descend on; its gradient reaches the embeddings and what is learned.
    pub objective: Tensor,
    /// Its value.
    pub value: f64,
    /// How many triplets or pairs it was summed over.
    pub terms: usize,
    /// How many of them are informative: those whose loss is above zero. Where a loss is soft, so that none is ever quite zero,
    /// those on the wrong side of its boundary, as its file says; their share too falls as training goes on.
    pub informative: usize,
}

/// A tensor that a loss learns beside the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// Coefficients, `[1]` or `[classes]`.
    Coefficients(Spec),
    /// Points in the embedding space, `[classes, dim]`. They enter the loss as embeddings do: in the learner's subspace
    /// and L2-normalised.
    Points(Spec),
}

impl Learned {
    /// The tensor that the model must hold.
    pub fn spec(&self) -> &Spec {
        match self {
            Learned::Coefficients(spec) | Learned::Points(spec) => spec,
        }
    }
}

/// How bad the comparisons within a batch are.
pub trait Loss {
    /// What it learns, for a data set of `classes` classes and embeddings of `dimension` coordinates.
    fn learned(&self, _classes: usize, _dimension: usize) -> Option<Learned> {
        None
    }

    /// Whether a miner's selection changes it.
    fn takes_selection(&self) -> bool {
        true
    }

    /// The miner that goes with it where none is configured.
    fn usual_miner(&self) -> MinerConfig {
        MinerConfig::BatchAll(BatchAll {})
    }

    /// From which distance on it does not push a negative, where that is a number.
    fn reach(&self) -> Option<f64> {
        None
    }

    /// Sums up the loss of a batch over the miner's selection.
    ///
    /// # Errors
    /// Labels or learned tensor do not fit the batch, or the device fails.
    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput>;

    /// Refuses hyper-parameters that cannot be meant.
    ///
    /// # Errors
    /// Names the parameter.
    fn check(&self) -> Result<()>;
}

impl LossConfig {
    /// The loss that is configured.
    pub fn as_loss(&self) -> &dyn Loss {
        match self {
            LossConfig::Margin(loss) => loss,
            LossConfig::Triplet(loss) => loss,
            LossConfig::NPairs(loss) => loss,
            LossConfig::Contrastive(loss) => loss,
            LossConfig::MultiSimilarity(loss) => loss,
            LossConfig::ProxyAnchor(loss) => loss,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig::Margin(Margin::default())
    }
}

impl Batch<'_> {
    /// The learned tensor, whose first axis must cover every label that occurs; `[1]` covers all.
    fn learned(&self, name: &'static str) -> Result<&Tensor> {
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

/// A coefficient a class or one for all, that begins at `value`.
fn coefficients(name: &str, count: usize, value: f64) -> Learned {
    Learned::Coefficients(Spec::weight(name, [count], Init::Constant(value as f32)))
}

/// `ln(1 + Σ eˣ)` over `exponents`, and the weight `eˣ / (1 + Σ eˣ)` of each, which is its derivative. Stable for
/// exponents of any size.
fn log_one_plus_sum_exp(exponents: &[f64]) -> (f64, Vec<f64>) {
    let largest = exponents.iter().copied().fold(0.0, f64::max);
    let powers: Vec<f64> = exponents.iter().map(|x| (x - largest).exp()).collect();
    let sum = (-largest).exp() + powers.iter().sum::<f64>();
    (largest + sum.ln(), powers.into_iter().map(|power| power / sum).collect())
}
