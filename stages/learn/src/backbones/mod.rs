//! Backbones: networks that turn images into features.
//!
//! Read in this order: the trait and the list here; `conv_norm`, the layer that convolutional backbones are made of;
//! `conv_net`, a chain of blocks of it, and the files that describe one (`resnet`, `efficientnet_lite`, `small`); then
//! `bn_inception` and `vit`, which run in their own ways. To add a backbone, write its file and add a line to
//! [`BACKBONES`].

mod bn_inception;
mod conv_net;
mod conv_norm;
mod efficientnet_lite;
mod plain;
mod preprocessing;
mod resnet;
mod small;
mod stochastic_depth;
mod vit;

use candle_core::Tensor;
use dnc_kernels::{global_avg_pool, global_max_pool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{LearnError, Result};
use crate::parameters::{Parameters, Spec};
use crate::weights::NamedTensor;
pub use preprocessing::{ChannelOrder, Preprocessing};
pub use stochastic_depth::StochasticDepth;

/// A network that turns images into features.
pub trait Backbone: Send + Sync {
    /// Number F of features of an image.
    fn feature_dim(&self) -> usize;

    /// What the published weights expect of an image.
    fn preprocessing(&self) -> Preprocessing;

    /// The pooling that the network was published with.
    fn pooling(&self) -> Pooling {
        Pooling::Average
    }

    /// The [`StochasticDepth::rate`] that the network was published with; none where it has no blocks to skip.
    fn stochastic_depth(&self) -> Option<f64> {
        None
    }

    /// The same network in Python.
    fn in_python(&self) -> InPython;

    /// One of its tensors as its code in Python takes it, where that depends on the side of the images.
    ///
    /// # Errors
    /// If the tensor is not of the network's shape.
    fn for_python(&self, tensor: NamedTensor, _crop: usize) -> Result<NamedTensor> {
        Ok(tensor)
    }

    /// All tensors of the network.
    fn specs(&self) -> Vec<Spec>;

    /// Features of `images`: `[batch, height, width, 3]` to `[batch, F]`. A network without blocks to skip disregards `depth`.
    ///
    /// # Errors
    /// If `parameters` lack a tensor, the images are too small for the network, or it has no such pooling.
    fn forward(
        &self,
        parameters: &Parameters,
        images: &Tensor,
        pooling: Pooling,
        depth: Option<StochasticDepth<'_>>,
    ) -> Result<Tensor>;

    /// The same network for inference: parameters with every batch-norm folded into the convolution before it, for
    /// [`forward`](Self::forward) alone. They are not trained, and their names are not for files.
    fn fold(&self, parameters: &Parameters) -> Result<Parameters>;
}

/// A network as its published code knows it: for a model that leaves for PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InPython {
    /// An expression that builds it, in which `{dimension}`, `{crop}` and `{pooling}` (`avg`, `max` or `token`) stand for the
    /// model's; none if there is no such code.
    pub build: Option<&'static str>,
    /// Its module that pools the map of features; none if the expression has the pooling.
    pub pool: Option<&'static str>,
    /// The name of the linear layer after the features, which is where an embedding goes.
    pub linear: &'static str,
}

/// How the map of features of an image becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all places.
    Average,
    /// Maximum over all places.
    Max,
    /// The class token of a transformer.
    ClassToken,
}

/// A function that builds a backbone.
type Build = fn() -> Box<dyn Backbone>;

/// Every backbone under its name in a manifest.
pub const BACKBONES: [(&str, Build); 9] = [
    ("bn_inception", || Box::new(bn_inception::bn_inception())),
    ("efficientnet_lite0", || Box::new(efficientnet_lite::efficientnet_lite0())),
    ("plain", || Box::new(plain::plain())),
    ("resnet18", || Box::new(resnet::resnet18())),
    ("resnet34", || Box::new(resnet::resnet34())),
    ("resnet50", || Box::new(resnet::resnet50())),
    ("small", || Box::new(small::small())),
    ("vit_small_patch14_dinov2", || Box::new(vit::vit_small_patch14_dinov2())),
    ("vit_small_patch16", || Box::new(vit::vit_small_patch16())),
];

/// The backbone called `name`.
///
/// # Errors
/// If there is none; the error names the nearest one.
pub fn backbone(name: &str) -> Result<Box<dyn Backbone>> {
    if let Some((_, build)) = BACKBONES.iter().find(|(known, _)| *known == name) {
        return Ok(build());
    }
    let known = BACKBONES.map(|(known, _)| known);
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let near_enough = nearest.filter(|nearest| strsim::jaro_winkler(name, nearest) > 0.7);
    Err(LearnError::UnknownBackbone {
        name: name.to_owned(),
        known: known.map(|known| format!("`{known}`")).join(", "),
        hint: near_enough.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default(),
    })
}

/// Pools the map of a convolutional network: `[batch, height, width, F]` to `[batch, F]`.
fn pool(map: &Tensor, pooling: Pooling) -> Result<Tensor> {
    match pooling {
        Pooling::Average => Ok(global_avg_pool(map)?),
        Pooling::Max => Ok(global_max_pool(map)?),
        Pooling::ClassToken => Err(LearnError::NoTensor { name: "cls_token".into() }),
    }
}
