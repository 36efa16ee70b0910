//! A model: a backbone, and the linear layer that embeds its features.
//!
//! Formula: `e = W · dropout(f(x)) + b`; it is not normalised here, because subspaces come before the norm.
//! Shapes: images `[batch, height, width, 3]`, f `[batch, F]`, W `[d, F]`, b `[d]`, e `[batch, d]`.
//! Source: DC21, section 3.1; dropout from Srivastava et al. 2014.

use candle_core::Tensor;
use dnc_kernels::linear;
use rand::Rng;

use crate::backbones::{Backbone, Pooling, backbone};
use crate::error::{LearnError, Result};
use crate::parameters::{Parameters, Spec};
use crate::streams::Streams;

/// A backbone and the size of the embedding of its features.
pub struct Model {
    /// The network before the pooling.
    pub backbone: Box<dyn Backbone>,
    /// How its map of features becomes one vector.
    pub pooling: Pooling,
    /// Number d of coordinates of an embedding.
    pub dimension: usize,
    /// Share of the features that is dropped while training; the papers have 0.01.
    pub dropout: f64,
}

impl Model {
    /// The backbone called `name` with its own pooling, and no dropout.
    ///
    /// # Errors
    /// If there is no such backbone.
    pub fn new(name: &str, dimension: usize) -> Result<Self> {
        let backbone = backbone(name)?;
        let pooling = backbone.pooling();
        Ok(Self { backbone, pooling, dimension, dropout: 0.0 })
    }

    /// All tensors of the model: the backbone's and the embedding layer's.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = self.backbone.specs();
        specs.extend(Spec::embedding(self.backbone.feature_dim(), self.dimension));
        specs
    }

    /// Features of `images`, `[batch, height, width, 3]` as the backbone's preprocessing gives them: `[batch, F]`.
    ///
    /// # Errors
    /// If `parameters` are not this model's or the images are too small.
    pub fn features(&self, parameters: &Parameters, images: &Tensor) -> Result<Tensor> {
        self.backbone.forward(parameters, images, self.pooling)
    }

    /// Embeddings of `features` `[batch, F]`, neither masked nor normalised: `[batch, d]`. While training, `training` is
    /// the stream of this step, from which the dropped features are drawn.
    ///
    /// # Errors
    /// If `features` are not `[batch, F]`.
    pub fn embed(&self, parameters: &Parameters, features: &Tensor, training: Option<&Streams>) -> Result<Tensor> {
        let (weight, bias) = (parameters.tensor("embedding.weight")?, parameters.tensor("embedding.bias")?);
        let features = match training {
            Some(streams) if self.dropout > 0.0 => dropout(features, self.dropout, streams)?,
            _ => features.clone(),
        };
        linear(&features, &weight, Some(&bias))
            .map_err(|source| LearnError::Layer { layer: "embedding".into(), source })
    }

    /// The parameters to embed with: every batch-norm folded into its convolution, nothing trained.
    ///
    /// # Errors
    /// If `parameters` are not this model's.
    pub fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        let mut folded = self.backbone.fold(parameters)?;
        for (name, role, value) in parameters.iter() {
            if crate::parameters::Group::of(name) != crate::parameters::Group::Backbone {
                folded.insert(name, role, &value)?;
            }
        }
        Ok(folded)
    }
}

/// Drops each number with probability `rate` and scales the others by `1 / (1 − rate)`, so that the mean stays.
fn dropout(x: &Tensor, rate: f64, streams: &Streams) -> Result<Tensor> {
    let mut rng = streams.named("dropout").rng();
    let kept = (1.0 / (1.0 - rate)) as f32;
    let mask = (0..x.elem_count()).map(|_| if rng.random::<f64>() < rate { 0.0 } else { kept }).collect::<Vec<_>>();
    Ok((x * Tensor::from_vec(mask, x.shape(), x.device())?)?)
}
